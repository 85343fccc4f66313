"""Kernels for Helium (MVE of Armv8.1-M): vectors of 16 bytes, written instruction by instruction."""

from vmcu.kernels.mve.dense import dense_kernels
from vmcu.kernels.mve.depthwise import depthwise_kernels
from vmcu.kernels.mve.simple import lookup_kernel, pool_kernel
from vmcu.kernels.mve.sums import sum_kernel
from vmcu.kernels.mve.windows import window_kernels as conv_kernels

__all__ = ["conv_kernels", "dense_kernels", "depthwise_kernels", "lookup_kernel", "pool_kernel", "sum_kernel"]
