"""Dead channels of networks trained by others: how much goes, and that nothing shows it.

That the optimised networks give the golden outputs is shown by `test_shared_golden.py`, whose networks are optimised.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host_library import HostModel
from shared_models import NAMES, NEEDS_SHARED, golden_of, path_of

from vmcu.batch import make_batch
from vmcu.ir.quantized import Numerics
from vmcu.ops.conv import Conv2D
from vmcu.pipeline import compile_graph, load
from vmcu.quant.reference import Reference
from vmcu.verify.original import compare_original

pytestmark = NEEDS_SHARED

MACS = {
    "hello_world": (288, 220),
    "mcunet_vww": (11_578_816, 10_931_325),
    "mlperf_vww": (7_489_664, 3_727_313),
    "person_detect": (7_157_888, 7_077_246),
}
"""Before and after; all others have nothing to leave out."""


@pytest.mark.parametrize("numerics", ["onnx", "tflm"])
@pytest.mark.parametrize("name", NAMES)
def test_every_channel_that_is_left(name: str, numerics: Numerics) -> None:
    """On all golden inputs, in every layer."""
    whole, graph = (load(path_of(name), numerics=numerics, dead_channels=on) for on in (False, True))
    assert whole.origin is None
    if name not in MACS:
        assert graph.origin is None and graph.macs == whole.macs
        return
    assert (whole.macs, graph.macs) == MACS[name]
    assert graph.original.macs == whole.macs
    mismatches, text = compare_original(graph, make_batch(graph, golden_of(name).inputs))
    assert mismatches == [], text


def test_a_third_of_the_filters_of_a_pruned_network_is_zero() -> None:
    """971 of 2,736; all of them go, and 987 channels that feed or follow only them."""
    graph = load(path_of("mlperf_vww"))
    assert graph.origin is not None
    zero = total = 0
    for op in graph.original.ops:
        if isinstance(op, Conv2D):
            empty = ~op.weights.any(axis=(1, 2, 3))
            zero, total = zero + int(empty.sum()), total + len(empty)
            assert not empty[list(graph.origin.kept[op.output])].any(), op.name
    assert (zero, total) == (971, 2736)
    assert graph.channels_removed == 1958


@pytest.mark.parametrize("name", sorted(MACS))
def test_golden_outputs_through_c(name: str, tmp_path: Path) -> None:
    graph = load(path_of(name), numerics="tflm")
    model, golden = HostModel(compile_graph(graph, "net"), tmp_path), golden_of(name)
    whole = Reference(graph.original)
    (port,) = graph.outputs
    batch = make_batch(graph, golden.inputs[:3])
    for one, wanted in zip(batch.tensors, golden.tflm[:3], strict=True):
        found = model.run(one)[port.tensor]
        np.testing.assert_array_equal(found, whole.run_tensors(one)[port.tensor])
        np.testing.assert_array_equal(
            port.layout.from_memory(found.reshape(-1)).reshape(wanted.shape), wanted
        )
