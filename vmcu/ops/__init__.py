"""Operator families, one file each; `registry.OPS` lists them."""
