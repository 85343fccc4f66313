"""The reference against onnxruntime, operator by operator.

Every operator of the reference gets the inputs that onnxruntime computed, so that a rounding
difference is counted where it arises and not again in every layer after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.batch import Batch
from vmcu.errors import Exit, fail
from vmcu.ir.quantized import QuantizedGraph
from vmcu.quant.interface import from_tensor
from vmcu.verify.mismatch import Mismatch, compare

TOLERANCE_LSB = 1  # a float tie: onnxruntime rounds a float32 result, we round the exact one


def compare_onnxruntime(model: Path, graph: QuantizedGraph, batch: Batch) -> tuple[list[Mismatch], str]:
    """Every quantised tensor that both know; at most one LSB, counted.

    Of an optimised network the original is compared, with all its channels: a constant that was folded is ours and
    may be a tie away from onnxruntime's. `compare_original` shows that what is left of it is equal.

    Returns:
        The first operator off by more than one LSB, and how many values differ by one.

    Raises:
        VmcuError: onnxruntime is not installed or refuses the model; numerics are not `onnx`.
    """
    if graph.numerics != "onnx":
        raise fail("compares with other rounding", "--against onnxruntime", "use --numerics onnx")
    if graph.states:
        raise fail("supports no states", "--against onnxruntime", "use --golden")
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise fail("is not installed", "onnxruntime", "pip install onnxruntime", Exit.TOOL) from None
    graph = graph.original
    proto = onnx.load(str(model))
    outputs = {o.name for o in proto.graph.output}
    made = [n.output[0] for n in proto.graph.node if n.op_type == "QuantizeLinear"]
    for name in made:
        if name not in outputs:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    # Unoptimised: some fused x86 kernels saturate inside (their documentation says so) and are wrong.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    except Exception as error:
        raise fail(f"onnxruntime refuses it: {error}", f"'{model}'", "check the file") from None
    names = [o.name for o in session.get_outputs()]
    differing = total = 0
    for n, given in enumerate(batch.tensors):
        feeds = {p.name: from_tensor(given[p.tensor], p, graph.tensors[p.tensor]) for p in graph.inputs}
        theirs = dict(zip(names, session.run(None, feeds), strict=True))
        tensors: dict[str, Any] = dict(given)
        for op in graph.ops:
            if op.is_input:
                continue
            out = graph.tensors[op.output]
            mine = op.reference(tuple(tensors[i] for i in op.inputs), out)
            tensors[op.output] = mine
            expected = _as_rows(theirs.get(op.output), out.shape)
            if expected is None:
                continue
            gap = np.abs(mine.astype(np.int32) - expected)
            differing += int((gap > 0).sum())
            total += int(gap.size)
            if gap.max() > TOLERANCE_LSB:
                wrong = compare(f"{op.kind} {op.name}", n, expected, mine)
                assert wrong is not None
                return [wrong], f"{total:,} values"
            tensors[op.output] = expected.astype(np.int8)
    if not total:
        raise fail("no tensor of it can be compared with vmcu's", f"'{model}'", "use --golden")
    return [], f"{total:,} values, {differing:,} differ by 1 LSB (float ties)"


def _as_rows(array: Any, shape: tuple[int, int, int]) -> NDArray[np.int32] | None:
    """An ONNX tensor as our rows where that is beyond doubt: NCHW images and vectors."""
    if array is None or array.size != int(np.prod(shape)):
        return None
    if array.dtype == np.uint8:
        array = array.astype(np.int16) - 128
    if array.ndim == 4 and array.shape == (1, shape[2], shape[0], shape[1]):
        return np.asarray(array.transpose(0, 2, 3, 1).reshape(shape), np.int32)
    if array.ndim == 3 and array.shape == (1, shape[2], shape[0]) and shape[1] == 1:
        return np.asarray(array.transpose(0, 2, 1).reshape(shape), np.int32)
    if array.ndim <= 2 and max(shape) == array.size:
        return np.asarray(array.reshape(shape), np.int32)
    return None
