"""Kernels for Helium (MVE of Armv8.1-M): vectors of 16 bytes, written instruction by instruction."""
