"""Generated C against the NumPy reference, every layer, and against golden outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vmcu.api import Model
from vmcu.batch import Batch
from vmcu.errors import fail
from vmcu.ir.graph import Array
from vmcu.ir.quantized import QuantizedGraph
from vmcu.quant.interface import quantise_real
from vmcu.quant.reference import Reference
from vmcu.run import Engine
from vmcu.verify.mismatch import Mismatch, compare


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of one batch.

    Attributes:
        mismatches: at most one: the first layer that differs.
        outputs: by name, as the firmware computed them, int8 (int32 for indices), ONNX shape, batch first.
        text: what was compared.
    """

    mismatches: list[Mismatch]
    outputs: dict[str, Array]
    text: str


def verify_model(model: Model, batch: Batch, engine: Engine = "auto") -> Verified:
    """Runs `batch` on firmware and reference; the first inference layer by layer.

    Raises:
        VmcuError: a tool is missing or failed.
    """
    graph, schedule = model.compiled.graph, model.compiled.plan.schedule
    steps, computed = schedule.steps, {(task.step, task.row) for task in schedule.tasks}
    # What was optimised away must not show: outputs are those of the network as the file has it.
    original = Reference(graph.original)
    wanted = []
    for given in batch.tensors:
        tensors = original.run_tensors(given)
        wanted.append([tensors[p.tensor] for p in graph.outputs])
    first_tensors: dict[str, Array] = Reference(graph).run_tensors(batch.tensors[0])
    traced = model.run_batch(Batch(batch.tensors[:1], False), engine=engine, hooks="trace")
    assert traced.trace is not None
    mismatches: list[Mismatch] = []
    values = 0
    for i, op in enumerate(steps):
        expected = first_tensors[op.output]
        # Rows that nobody reads are left out of the schedule, and then of the comparison.
        whole = np.split(expected.reshape(-1), graph.tensors[op.output].segments)
        run = [op.accumulates or (i, r) in computed for r in range(len(whole))]
        rows = [traced.trace.get((i, r)) if is_run else whole[r].tobytes() for r, is_run in enumerate(run)]
        if None in rows:
            raise fail(
                f"row {rows.index(None)} was not computed", f"layer {op.name[:80]!r}", "report this bug"
            )
        found = np.frombuffer(b"".join(r for r in rows if r), expected.dtype).reshape(expected.shape)
        values += sum(run) * whole[0].size
        different = compare(f"layer {i} {op.kind} {op.name}", 0, expected, found)
        if different:
            mismatches = [different]
            break
    plain = model.run_batch(batch, engine=engine)
    for n, (outputs, expected_outputs) in enumerate(zip(plain.outputs, wanted, strict=True)):
        for port, data, expected in zip(graph.outputs, outputs, expected_outputs, strict=True):
            found = np.frombuffer(data, expected.dtype).reshape(expected.shape)
            different = compare(f"output {port.name}", n, expected, found)
            if different and not mismatches:
                mismatches = [different]
    text = f"{len(steps)} layers, {values:,} values; outputs of {len(batch)} inferences ({plain.engine})"
    return Verified(mismatches, _raw_outputs(graph, plain.outputs), text)


def _raw_outputs(graph: QuantizedGraph, outputs: tuple[tuple[bytes, ...], ...]) -> dict[str, Array]:
    found = {}
    for k, port in enumerate(graph.outputs):
        dtype = np.int8 if graph.tensors[port.tensor].elem_bytes == 1 else np.dtype("<i4")
        found[port.name] = np.stack([port.layout.from_memory(np.frombuffer(o[k], dtype)) for o in outputs])
    return found


def compare_golden(
    graph: QuantizedGraph, outputs: dict[str, Array], expected: Array, key: str
) -> list[Mismatch]:
    """Outputs of the first output port against an array of the golden file, exactly.

    int8 and uint8 are compared as they are; floats are quantised first.

    Raises:
        VmcuError: (INPUT) sizes differ.
    """
    port = graph.outputs[0]
    found = outputs[port.name]
    if expected.size != found.size or expected.shape[:1] != found.shape[:1]:
        raise fail(
            f"has shape {expected.shape}, the model's outputs have {found.shape}",
            f"golden array {key!r}",
            "use --key",
        )
    if expected.dtype.kind not in "iuf":
        raise fail(f"has type {expected.dtype}", f"golden array {key!r}", "give numbers")
    tensor = graph.tensors[port.tensor]
    if np.issubdtype(expected.dtype, np.floating):
        expected = quantise_real(expected, tensor.scale, tensor.zero_point)
    elif expected.dtype == np.uint8:
        expected = (expected.astype(np.int16) - 128).astype(np.int8)
    expected = expected.reshape(found.shape)
    for n in range(found.shape[0]):
        different = compare(f"golden {key}, output {port.name}", n, expected[n], found[n])
        if different:
            return [different]
    return []
