"""Kernels for DSP cores (Armv7E-M): two products an instruction, written instruction by instruction."""
