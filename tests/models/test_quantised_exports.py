"""PyTorch exports, quantised on the fly by onnxruntime in every usual way: vmcu's reference equals onnxruntime.

Two comparisons a model. In lockstep, each operator gets the same integers on both sides: it may differ by 1 LSB where
onnxruntime's float arithmetic meets a tie (a real value k + 1/2 steps, which float32 misses by some 1e-5 steps and
vmcu decides exactly), and nowhere else. End to end, a network without such a tie must be equal to the last bit. One
tie is a different integer for all that follows, and each further operator can round it up: hence the bound there.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
import pytest
from lockstep import Deviation, Lockstep, lockstep
from onnxruntime.quantization import QuantFormat
from quantising import (
    SCHEMES,
    input_shapes,
    onnxruntime_session,
    preprocessed,
    quantised,
    random_feeds,
    reference_of,
)

from vmcu.errors import Exit, VmcuError
from vmcu.ops.conv import Conv2D
from vmcu.quant.reference import Reference

EXPORTS = {path.stem: path for path in sorted((Path(__file__).parent / "exports").glob("*.onnx"))}
RUNS = 3

TIE_LSB = 1e-4
"""How far from k + 1/2 steps float32 can be where the exact value is there."""
TIE_WITH_BATCHNORM_LSB = 5e-3
"""A BatchNormalization left in the file becomes a depthwise convolution whose int32 bias is a multiple of
|factor| * input step / 127: half of that, in output steps."""
TIES = {"*": 0.0005, "unet_bilinear*": 0.015}
"""Share of elements that may be ties. Linear interpolation to twice the size gives sixteenths of a step: about one in
sixteen results is a tie, and a sixth of all elements of that network are such results."""
TRUNCATED = {"unet_bilinear*.qoperator_*": 0.09}
"""Share of elements that differ by 1 LSB for another reason: Resize of integers truncates in onnxruntime's QOperator
form; vmcu rounds, as it does for the same network in QDQ form."""
AFTER_A_TIE_LSB = 3
"""End to end, in steps of the output, in networks where a tie was met."""

_NOT_QUANTISED = "is a float tensor, or a constant"
REFUSED = {
    "mobilenet_v2_ts11.*_per_channel": "which opset 11 does not know",
    "mobilenet_v2_ts11.*.qdq_s8_all_operators": "which opset 11 does not know",
    # quantize_static leaves these float unless told of them (all_operators): Sub of the input, HardSwish before a mean
    "mixer_*.q*_per_channel": _NOT_QUANTISED,
    "mixer_*.qdq_u8": _NOT_QUANTISED,
    "mixer_*_symmetric": _NOT_QUANTISED,
    "mixer_*.qoperator_*": _NOT_QUANTISED,
    "vgg_unfolded_*.qoperator_*": _NOT_QUANTISED,
    "mobilenet_v3_dynamo20.raw.*_per_channel": "is not quantised",
    "mobilenet_v3_dynamo20.raw.qdq_u8": "is not quantised",
    "mobilenet_v3_dynamo20.raw.*_symmetric": "is not quantised",
    "mobilenet_v3_dynamo20.raw.qoperator_*": "is not quantised",
    "mobilenet_v3_ts17.raw.qoperator_*": "is not quantised",
}


def share(table: dict[str, float], case: str) -> float:
    """The largest entry whose pattern fits."""
    return max((value for pattern, value in table.items() if fnmatchcase(case, pattern)), default=0.0)


def test_exports_are_all_there() -> None:
    assert len(EXPORTS) == 22
    opsets = {o.version for p in EXPORTS.values() for o in onnx.load(p).opset_import if o.domain == ""}
    assert {11, 13, 17, 18, 21, 23} <= opsets
    for path in EXPORTS.values():
        assert path.stat().st_size < 60_000
        assert b"/site-packages/" not in path.read_bytes()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Float models as exported and after quant_pre_process."""
    folder = tmp_path_factory.mktemp("float")
    raw = {f"{name}.raw": path for name, path in EXPORTS.items()}
    return raw | {f"{name}.pre": preprocessed(path, folder) for name, path in EXPORTS.items()}


FORMS = [("raw", scheme) for scheme in SCHEMES]
FORMS += [
    ("pre", s) for s in ("qdq_s8_per_channel", "qdq_u8", "qdq_s8_symmetric", "qoperator_s8", "qoperator_u8")
]


@pytest.mark.parametrize(("form", "scheme"), FORMS)
@pytest.mark.parametrize("name", EXPORTS)
def test_equals_onnxruntime(
    name: str, form: str, scheme: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    case = f"{name}.{form}.{scheme}"
    path = quantised(sources[f"{name}.{form}"], SCHEMES[scheme], tmp_path / f"{case}.onnx")
    for pattern, text in REFUSED.items():
        if fnmatchcase(case, pattern):
            with pytest.raises(VmcuError, match=text) as error:
                reference_of(path)
            assert error.value.code is Exit.INPUT
            return
    feeds = random_feeds(input_shapes(onnx.load(path)), RUNS, 5)
    found = lockstep(path, feeds, tmp_path)
    assert found.operators >= RUNS * 5
    check_operators(case, found, "BatchNormalization" in {n.op_type for n in onnx.load(path).graph.node})

    session = onnxruntime_session(path)
    reference = reference_of(path)
    names = [port.name for port in session.get_outputs()]
    worst = 0.0
    for feed, all_tensors in zip(feeds, found.outputs, strict=True):
        got = reference.run(feed)
        for output, want in zip(names, session.run(names, feed), strict=True):
            np.testing.assert_array_equal(got[output], all_tensors[output])  # fused or not: the same
            assert got[output].shape == want.shape and got[output].dtype == want.dtype
            worst = max(worst, float(np.abs(got[output] - want).max()) / output_step(reference, output))
    print(f"{case}: end to end at most {worst:.2f} LSB")
    if found.deviations:
        assert worst <= AFTER_A_TIE_LSB + 1e-3
    else:
        assert worst == 0.0


def check_operators(case: str, found: Lockstep, batchnorm: bool) -> None:
    """Only ties, of 1 LSB, and few."""
    count = sum(d.elements for d in found.deviations)
    print(f"{case}: {count} of {found.elements} elements of {found.operators} operators differ")
    for deviation in found.deviations:
        assert deviation.steps == 1, deviation
        if deviation.off_tie is not None:
            assert deviation.off_tie <= (TIE_WITH_BATCHNORM_LSB if batchnorm else TIE_LSB), deviation
    if SCHEMES[case.rpartition(".")[2]].format is QuantFormat.QOperator:
        assert count <= share(TRUNCATED, case) * found.elements
    else:
        assert count <= share(TIES, case) * found.elements


def output_step(reference: Reference, output: str) -> float:
    """Scale of a graph output."""
    port = next(p for p in reference.graph.outputs if p.name == output)
    return reference.graph.tensors[port.tensor].scale


def test_a_wrong_bias_is_seen(tmp_path: Path) -> None:
    """The comparison has teeth: one channel's bias off by 1/50 of an output step is no tie."""
    scheme = SCHEMES["qdq_s8_per_channel"]
    path = quantised(EXPORTS["mobilenet_v2_dynamo18"], scheme, tmp_path / "model.onnx")

    def wrong(source: Path) -> Reference:
        graph = reference_of(source).graph
        ops = list(graph.ops)
        at = next(i for i, op in enumerate(ops) if isinstance(op, Conv2D))
        conv = ops[at]
        assert isinstance(conv, Conv2D)
        step = conv.requant.multipliers[0] / 2.0 ** (conv.requant.shifts[0] - conv.requant.pre_shift)
        bias = conv.bias.copy()
        bias[0] += round(0.02 / step)
        ops[at] = replace(conv, bias=bias)
        return Reference(replace(graph, ops=tuple(ops)))

    feeds = random_feeds(input_shapes(onnx.load(path)), RUNS, 5)
    deviations: tuple[Deviation, ...] = lockstep(path, feeds, tmp_path, wrong).deviations
    assert deviations and max(d.off_tie or 0.0 for d in deviations) > TIE_LSB
