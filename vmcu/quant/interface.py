"""Between arrays as the model file declares them and tensors as they lie in the pool."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import fail
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Interface, Tensor
from vmcu.quant.requantise import saturate


def to_tensor(array: Array, port: Interface, tensor: Tensor) -> NDArray[np.int8]:
    """An array for input `port` as int8 rows.

    Args:
        array: of the port's ONNX shape, with or without a leading 1. Floats are quantised (round half
            to even, saturating); int8 is taken as it is; uint8 only where the port is uint8.

    Shapes: result `tensor.shape`.

    Raises:
        VmcuError: (INPUT) shape or type do not match.
    """
    where = f"input {port.name[:80]!r}"
    shape = port.layout.shape
    if array.shape not in (shape, (1, *shape)) and (1, *array.shape) != shape:
        raise fail(f"has shape {array.shape}, the model wants {shape}", where, "reshape the array")
    if np.issubdtype(array.dtype, np.floating):
        if not np.all(np.isfinite(array)):
            raise fail("contains NaN or infinity", where, "clean the data")
        quantised = quantise_real(array, tensor.scale, tensor.zero_point)
    elif array.dtype == np.int8 and port.dtype in ("int8", "float32"):
        quantised = array.astype(np.int8)
    elif array.dtype == np.uint8 and port.dtype == "uint8":
        quantised = (array.astype(np.int16) - 128).astype(np.int8)
    else:
        raise fail(f"has type {array.dtype}, the model takes {port.dtype}", where, "convert the array")
    flat = port.layout.to_memory(quantised.reshape(shape))
    return np.ascontiguousarray(flat).astype(np.int8).reshape(tensor.shape)


def from_tensor(data: NDArray[np.generic], port: Interface, tensor: Tensor) -> Array:
    """Tensor memory of output `port` as the array the model file declares (float32 is dequantised)."""
    values = port.layout.from_memory(np.asarray(data).reshape(-1))
    if port.dtype == "uint8":
        return (values.astype(np.int16) + 128).astype(np.uint8)
    if port.dtype == "float32":
        return ((values.astype(np.int32) - tensor.zero_point) * np.float32(tensor.scale)).astype(np.float32)
    return values.astype(port.dtype)


def quantise_real(real: Array, scale: float, zero_point: int) -> NDArray[np.int8]:
    """QuantizeLinear to int8: float32 division, round half to even, saturation."""
    q = np.rint(real.astype(np.float32) / np.float32(scale)) + zero_point
    return saturate(q, -128, 127)
