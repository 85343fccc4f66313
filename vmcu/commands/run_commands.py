"""run and verify: inferences on an emulated chip or a board, and the proof that they are right."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

import vmcu.api
from vmcu.batch import Batch, make_batch, random_batch, unpack
from vmcu.board.session import run_on_board
from vmcu.commands.compiling import compile_model
from vmcu.commands.options import (
    board_options,
    compiler_option,
    engine_option,
    json_option,
    model_argument,
    one_target,
    planning_options,
    target_option,
)
from vmcu.commands.output import print_json, print_table, progress
from vmcu.cycles import LABEL
from vmcu.errors import Exit, fail
from vmcu.ir.graph import Array
from vmcu.save import write_bytes
from vmcu.verify import Mismatch, compare_golden, verify_model
from vmcu.verify.onnxruntime import compare_onnxruntime
from vmcu.verify.original import compare_original
from vmcu.verify.tflm import compare_tflm

SHOWN_VALUES = 8


def read_arrays(path: Path) -> Array | dict[str, Array]:
    """An .npy array, or the arrays of an .npz by name.

    Raises:
        VmcuError: (INPUT) no such file, or not NumPy's format (pickles are refused).
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise fail("no such file", f"'{path}'", "check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        text = (
            "it holds pickled Python objects, or is something else" if "pickle" in str(error) else str(error)
        )
        raise fail(
            f"is no NumPy file of numbers: {text}", f"'{path}'", "write it with numpy.save or numpy.savez"
        ) from None


def compile_options(function: Any) -> Any:
    """What run and verify share."""
    for option in (
        json_option,
        engine_option,
        compiler_option,
        planning_options,
        target_option(True),
        model_argument,
    ):
        function = option(function)
    return function


@click.command(
    "run",
    epilog="""\b
Examples:
  vmcu run models/mnist_cnn/model.onnx -t cortex-m4 --input digits.npy
  vmcu run models/mnist_cnn/model.onnx --board nucleo-f411re --port /dev/ttyACM0 --input digits.npy""",
)
@json_option
@engine_option
@compiler_option
@planning_options
@board_options
@target_option(False)
@model_argument
@click.option(
    "--input", "input_path", type=click.Path(path_type=Path), help=".npy, or .npz with arrays by name."
)
@click.option("--output", "output_path", type=click.Path(path_type=Path), help=".npy or .npz to write.")
@click.option("--reset-state", is_flag=True, help="Forget the states before every inference.")
def run_command(
    model: Path,
    target: str | None,
    board: str | None,
    port: str | None,
    limit_seconds: float,
    compiler: str,
    engine: str,
    input_path: Path | None,
    output_path: Path | None,
    reset_state: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Compiles a model and runs it on an emulated chip, or with --board on a board that `vmcu flash` has put it on.

    An input of shape (n, *model input shape) is n inferences. Floats are quantised on this machine, int8
    is passed as it is. Without --input it runs once on seeded noise.
    """
    name = one_target(target, board, port, engine)
    _check_output(output_path)
    data = read_arrays(input_path) if input_path else None
    with progress("compiling"):
        made = compile_model(model, name, compiler, options)
        graph = made.compiled.graph
        if output_path and output_path.suffix == ".npy" and len(graph.outputs) > 1:
            what = f"{len(graph.outputs)} outputs do not fit one array"
            raise fail(what, f"--output '{output_path}'", "name it .npz")
        batch = random_batch(graph, 1) if data is None else make_batch(graph, single_input(data, graph))
    with progress(f"running {len(batch)} inference(s)"):
        if board is None:
            found = _run_emulated(made, batch, engine, reset_state)
        else:
            found = _run_board(made, batch, port, reset_state, limit_seconds)
    outputs = unpack(graph, found.outputs, batch.single)
    if output_path:
        _write(output_path, outputs)
    if as_json:
        values = {name: array.tolist() for name, array in outputs.items()}
        print_json({"target": name, "inferences": len(batch), **found.facts, "outputs": values})
        return int(Exit.OK)
    for title, array in outputs.items():
        click.echo(f"{title} {'x'.join(map(str, array.shape))} {array.dtype}:")
        click.echo(np.array2string(array, threshold=64, edgeitems=SHOWN_VALUES // 2, max_line_width=100))
    for title, text in found.lines:
        click.echo(f"{title:<13} {text}")
    return int(Exit.OK)


@dataclass(frozen=True, slots=True)
class _Found:
    """Outputs of a run, what JSON says of it, and what is printed below the outputs."""

    outputs: tuple[tuple[bytes, ...], ...]
    facts: dict[str, Any]
    lines: tuple[tuple[str, str], ...]


def _run_emulated(made: vmcu.api.Model, batch: Batch, engine: str, reset_state: bool) -> _Found:
    report = made.run_batch(batch, engine=engine, reset_state=reset_state)  # type: ignore[arg-type]
    if engine == "auto" and len(batch):
        report = made.with_cycles(report, batch)
    firmware = made.firmware() if engine != "host" else None
    where = f"{report.engine} {report.version}"
    facts = {
        "engine": where,
        "compiler": f"{firmware.compiler.name} {firmware.compiler.version}" if firmware else None,
        "instructions": list(report.instructions) if report.instructions else None,
        "estimated_cycles": list(report.cycles) if report.cycles else None,
        "stack_painted_bytes": report.stack_painted_bytes,
        "ram_total_bytes": firmware.ram_bytes if firmware else None,
        "flash_total_bytes": firmware.flash_bytes if firmware else None,
    }
    if report.instructions:
        text = f"{_span(report.instructions)} (exact instructions per inference, {where})"
        lines = [("instructions", text)]
    else:
        lines = [("instructions", f"not counted ({where})")]
    if report.cycles:
        which = "" if len(report.cycles) == len(batch) else ", first inference"
        lines.append(("cycles", f"{_span(report.cycles)} ({LABEL}{which})"))
    if firmware:
        compiler = f"{firmware.compiler.name} {firmware.compiler.version}"
        lines.append(("RAM", f"{firmware.ram_bytes:,} bytes (pool + stack + statics)"))
        lines.append(("flash", f"{firmware.flash_bytes:,} bytes ({compiler})"))
    return _Found(report.outputs, facts, tuple(lines))


def _run_board(
    made: vmcu.api.Model, batch: Batch, port: str | None, reset_state: bool, limit_seconds: float
) -> _Found:
    payload = batch.payload(made.compiled.graph)
    run = run_on_board(made.on_board(), port, payload, reset_between=reset_state, limit_seconds=limit_seconds)
    info = run.info
    where = f"emulated {info.board}" if run.is_emulated else f"{info.board} at {run.port}, {info.counter}"
    facts = {
        "engine": f"board {info.board}",
        "port": run.port,
        "compiler": info.compiler,
        "instructions": list(run.instructions) if run.instructions else None,
        "measured_cycles": list(run.cycles) if run.cycles else None,
        "clock_hz": None if run.is_emulated else info.clock_hz,
        "stack_painted_bytes": run.stack_bytes,
    }
    with_hooks = f", with the hooks of {run.tasks:,} tasks" if info.has_hooks else ""
    if run.instructions:
        text = f"{_span(run.instructions)} (exact instructions per inference, {where}{with_hooks})"
        lines = [("instructions", text)]
    elif run.cycles:
        lines = [("cycles", f"{_span(run.cycles)} ({run.cycles_label}; {where}{with_hooks})")]
        milliseconds = max(run.cycles) / info.counter_hz * 1e3
        lines.append(("time", f"{milliseconds:.3f} ms (measured, at {info.clock_hz / 1e6:g} MHz)"))
    else:
        why = "not counted" if run.is_emulated else run.cycles_label
        lines = [("cycles", f"{why} ({where})")]
    lines.append(("stack", f"{run.stack_bytes:,} bytes (painted on the board)"))
    return _Found(run.outputs, facts, tuple(lines))


def _span(counts: Sequence[int]) -> str:
    """The least and the greatest, or the only one."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def single_input(data: Array | dict[str, Array], graph: Any) -> Array | dict[str, Array]:
    """An .npz with one array serves a model with one input, whatever the array's name."""
    if isinstance(data, dict) and len(data) == 1 == len(graph.inputs):
        return next(iter(data.values()))
    return data


def _check_output(path: Path | None) -> None:
    """What can be known before anything is compiled."""
    if path is None:
        return
    if path.suffix not in (".npy", ".npz"):
        raise fail("its ending is neither .npy nor .npz", f"--output '{path}'", "name it .npy or .npz")
    if not path.parent.is_dir():
        raise fail("its folder does not exist", f"--output '{path}'", "create the folder first")
    if path.is_dir():
        raise fail("is a folder", f"--output '{path}'", "name a file")


def _write(path: Path, outputs: dict[str, Array]) -> None:
    """Writes the whole file or none."""
    content = io.BytesIO()
    if path.suffix == ".npz":
        # Not numpy.savez: an output named "file" is an argument of it. ZipInfo writes no date.
        with zipfile.ZipFile(content, "w") as archive:
            for name, array in outputs.items():
                entry = io.BytesIO()
                np.lib.format.write_array(entry, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    else:
        np.lib.format.write_array(content, next(iter(outputs.values())), allow_pickle=False)
    try:
        write_bytes(path, content.getvalue())
    except OSError as error:
        raise fail(
            f"cannot be written: {error.strerror}", f"--output '{path}'", "choose another file"
        ) from None


@click.command(
    epilog="Example: vmcu verify models/mnist_cnn/model.onnx -t cortex-m4 --golden models/mnist_cnn/golden.npz --key outputs"
)
@compile_options
@click.option(
    "--golden", type=click.Path(path_type=Path), help=".npz with arrays `inputs` and the expected outputs."
)
@click.option("--key", default="outputs", show_default=True, help="Name of the expected outputs in --golden.")
@click.option("--inputs-key", default="inputs", show_default=True, help="Name of the inputs in --golden.")
@click.option(
    "--against", type=click.Choice(["onnxruntime", "tflm"]), help="Also compare with another runtime."
)
@click.option(
    "--tflite", type=click.Path(path_type=Path), help="The same model as .tflite, for --against tflm."
)
@click.option("--count", type=click.IntRange(1, 1000), default=4, show_default=True, help="Random inputs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
def verify(
    model: Path,
    target: str,
    compiler: str,
    engine: str,
    golden: Path | None,
    key: str,
    inputs_key: str,
    against: str | None,
    tflite: Path | None,
    count: int,
    seed: int,
    as_json: bool,
    **options: Any,
) -> int:
    """Compares generated C with the integer reference, layer by layer, bit for bit.

    Random inputs, and those of --golden, run on the emulated chip; every layer of one inference and the
    outputs of all are compared. With --golden the outputs must equal the expected ones, too. Where dead
    channels were left out, outputs and remaining channels must equal those of the whole network.
    """
    made = compile_model(model, target, compiler, options)
    graph = made.compiled.graph
    expected: Array | None = None
    batch = random_batch(graph, count, seed)
    golden_batch: Batch | None = None
    if golden:
        arrays = read_arrays(golden)
        if not isinstance(arrays, dict) or key not in arrays or inputs_key not in arrays:
            names = ", ".join(sorted(arrays)) if isinstance(arrays, dict) else "an .npy array"
            raise fail(
                f"has no arrays {inputs_key!r} and {key!r}, but {names[:200]}",
                f"'{golden}'",
                "use an .npz; --inputs-key and --key name its arrays",
            )
        golden_batch, expected = make_batch(graph, arrays[inputs_key]), arrays[key]
    checks: list[dict[str, Any]] = []
    mismatches: list[Mismatch] = []

    def add(what: str, found: list[Mismatch], detail: str) -> None:
        checks.append({"check": what, "ok": not found, "detail": detail})
        mismatches.extend(found)

    with progress("verifying"):
        for label, one in (("random inputs", batch), ("golden inputs", golden_batch)):
            if one is None:
                continue
            result = verify_model(made, one, engine)  # type: ignore[arg-type]
            add(f"firmware = reference, {label}", result.mismatches, result.text)
            if graph.origin is not None:
                found, text = compare_original(made.compiled.network, one)
                add(f"optimised = whole network, {label}", found, text)
            if one is golden_batch and expected is not None:
                found = compare_golden(graph, result.outputs, expected, key)
                add(f"firmware = golden {key}", found, f"{len(one)} inferences")
        if against == "onnxruntime":
            found, text = compare_onnxruntime(model, made.compiled.network, golden_batch or batch)
            add("reference = onnxruntime, every layer", found, text)
        if against == "tflm":
            found, text = compare_tflm(tflite, graph, golden_batch or batch)
            add("reference = TFLite Micro", found, text)
    if as_json:
        print_json({"ok": not mismatches, "checks": checks, "mismatches": [m.as_dict() for m in mismatches]})
    else:
        print_table(
            ["check", "result", "detail"],
            [[c["check"], "ok" if c["ok"] else "DIFFERS", c["detail"]] for c in checks],
        )
        for m in mismatches:
            click.echo(m.text())
    return int(Exit.MISMATCH if mismatches else Exit.OK)
