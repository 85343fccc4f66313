"""The Python interface: `m = vmcu.compile("model.onnx", target="cortex-m4"); y = m.run(x)`."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from vmcu.batch import Batch, make_batch, random_batch, unpack
from vmcu.board.client import RUN_SECONDS
from vmcu.board.session import BoardModel, profile_on_board
from vmcu.budget import settle
from vmcu.codegen.names import project_name
from vmcu.cycles import TIMINGS
from vmcu.errors import Exit, VmcuError, fail, internal
from vmcu.fit import Limits, check_fit
from vmcu.ir.graph import Array
from vmcu.ir.quantized import Numerics, QuantizedGraph
from vmcu.ir.tuning import Tuning
from vmcu.picture.page import report_html
from vmcu.pipeline import Compiled, compile_graph, compile_schedule, load
from vmcu.planning.choose import Optimise, wished
from vmcu.planning.cost import DEFAULT_COMPILER
from vmcu.planning.tuning import learn, variants
from vmcu.profile import conditions_of, from_emulator, make_profile
from vmcu.regions import choose_regions, memory_script
from vmcu.report import Measured, make_report
from vmcu.run import Engine, RunReport, choose_engine, run
from vmcu.run.unicorn_engine import has_unicorn
from vmcu.save import PAGE, save_files
from vmcu.split import compile_for
from vmcu.targets import Target, load_target, with_regions
from vmcu.toolchain import Firmware, Hooks, build, build_host, find_compiler

CompilerChoice = Literal["auto", "gcc", "zig"]
NO_COMPILER = "no Cortex-M compiler found"  # as `find_compiler` says it


@dataclass
class Model:
    """A compiled model: its C, its report, and a way to run it.

    Attributes:
        compiled: all artefacts.
        target: what it is for.
        compiler: which compiler to use.
        last_run: of the last `run` (exact instructions, painted stack), or None.
    """

    compiled: Compiled
    target: Target
    compiler: CompilerChoice = "auto"
    limits: Limits = field(default_factory=Limits)
    last_run: RunReport | None = None
    _firmware: dict[Hooks, Firmware] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None
    _measured: Measured | None = None

    def run(
        self,
        data: Array | Mapping[str, Array] | None = None,
        *,
        engine: Engine = "auto",
        reset_state: bool = False,
    ) -> Array | dict[str, Array]:
        """Runs inferences on an emulated chip (or the host), all in one start.

        Args:
            data: shape (n, *model input shape), or the model's input shape for one inference; arrays by
                name where there are several inputs. Floats are quantised, int8 is taken as it is.
                None: one inference on seeded noise.
            engine: where to run.
            reset_state: forget the states before every inference.

        Returns:
            The output, or outputs by name where there are several, in the model file's types.

        Raises:
            VmcuError: the data do not fit the model; a tool is missing or failed.
        """
        graph = self.compiled.graph
        batch = random_batch(graph, 1) if data is None else make_batch(graph, data)
        self.last_run = self.run_batch(batch, engine=engine, reset_state=reset_state)
        found = unpack(graph, self.last_run.outputs, batch.single)
        return next(iter(found.values())) if len(found) == 1 else found

    def run_batch(
        self, batch: Batch, *, engine: Engine = "auto", hooks: Hooks = "none", reset_state: bool = False
    ) -> RunReport:
        """Runs a batch; outputs stay bytes."""
        firmware = self.host_firmware(hooks) if engine == "host" else self.firmware(hooks)
        return run(firmware, batch.payload(self.compiled.graph), engine=engine, reset_between=reset_state)

    def firmware(self, hooks: Hooks = "none") -> Firmware:
        """The build for the target; made once.

        Raises:
            VmcuError: no compiler, or the firmware exceeds the target's memory.
        """
        if hooks not in self._firmware:
            made = self._build(self.compiled, hooks, hooks)
            self._firmware[hooks] = made
        if hooks == "none":
            check_fit(self.compiled, self.target, self._firmware[hooks], self.limits)
        return self._firmware[hooks]

    def _build(self, compiled: Compiled, hooks: Hooks, folder: str) -> Firmware:
        found = find_compiler(self.compiler)
        return build(compiled.project, self.target, found, workdir=self._work(folder), hooks=hooks)

    def rest_bytes(self) -> int | None:
        """Of stack and variables, as a build for the emulated core tells; None without a compiler."""
        if not self._has_compiler():
            return None
        project, core = self.compiled.project, load_target(self.target.core)
        built = build(project, core, find_compiler(self.compiler), workdir=self._work("rest"))
        return built.ram_bytes - project.pool_bytes

    def on_board(self) -> BoardModel:
        """What a board that holds the model is compared with, and how its firmware is built."""
        project, sha256 = self.compiled.project, self.compiled.graph.sha256
        return BoardModel(project, sha256, self.target, lambda: find_compiler(self.compiler))

    def settle(self, ram_bytes: int) -> None:
        """Changes to the plan that suits its wish best within `ram_bytes`, real stack included.

        Builds what it has to; without a compiler, or with a plan that nobody chose, nothing changes.
        """
        if self.compiled.choice is None or not self._has_compiler():
            return
        numbers = count()
        self.compiled, firmware = settle(
            self.compiled, ram_bytes, lambda one: self._build(one, "none", f"none-{next(numbers)}")
        )
        self._firmware = {"none": firmware} if firmware else {}

    def host_firmware(self, hooks: Hooks = "none") -> Firmware:
        """A build for this machine, with sanitizers."""
        if hooks == "profile":
            raise fail("counts no instructions", "engine 'host'", "use an emulator: see `vmcu doctor`")
        return build_host(self.compiled.project, workdir=self._work(f"host-{hooks}"), hooks=hooks)

    def measure(self, engine: Engine = "auto", batch: Batch | None = None) -> Measured:
        """Exact instructions of one inference, in total and per layer, and estimated cycles.

        Args:
            batch: whose first inference is run; None: seeded noise, once per model.
        """
        if batch is None and self._measured is not None:
            return self._measured
        given = random_batch(self.compiled.graph, 1) if batch is None else batch.first()
        plain = self.with_cycles(self.run_batch(given, engine=engine), given)
        profile = self.with_cycles(self.run_batch(given, engine=engine, hooks="profile"), given)
        found = Measured(plain, profile.profile, profile.profile_cycles, profile.profile_leaves)
        if batch is None:
            self._measured = found
        return found

    def profile(
        self,
        data: Array | Mapping[str, Array] | None = None,
        *,
        engine: Engine = "auto",
        clock_hz: int | None = None,
        wait_states: int | None = None,
    ) -> dict[str, Any]:
        """What every layer costs in an emulated inference: exact instructions, estimated cycles (`vmcu profile --json`).

        Args:
            data: as for `run`; its first inference is profiled. None: seeded noise.
            engine: an emulator.
            clock_hz, wait_states: of the flash at that clock; by default the target's.

        Raises:
            VmcuError: a tool is missing or failed; the engine counts nothing; the model does not fit.
        """
        batch = None if data is None else make_batch(self.compiled.graph, data)
        firmware, given = self.firmware(), batch.first() if batch else random_batch(self.compiled.graph, 1)
        measured = Measured(self.with_cycles(self.run_batch(given, engine=engine), given), None)
        if measured.run.step_instructions is None:  # nobody saw the functions of the steps: hooks tell
            measured = self.measure(engine, batch)
        return make_profile(
            self.make_report(measured=measured),
            self.compiled.plan.schedule,
            self.target.core,
            from_emulator(measured),
            conditions_of(
                self.target,
                clock_hz,
                wait_states,
                choose_regions(self.compiled.project, self.target, firmware).weights,
            ),
            firmware.step_stack_bytes,
        )

    def profile_on_board(
        self,
        port: str | None = None,
        data: Array | Mapping[str, Array] | None = None,
        *,
        repetitions: int = 5,
        warm_up: int = 1,
        limit_seconds: float = RUN_SECONDS,
    ) -> dict[str, Any]:
        """What every layer costs on a board that holds the model: measured cycles.

        Args:
            port: of the board; None: found by its USB number.
            data: as for `run`; its first inference is profiled. None: seeded noise.
            repetitions, warm_up: inferences that count, and those before them.
            limit_seconds: for one inference.

        Raises:
            VmcuError: there is no such board, it holds another model, or it does not answer.
        """
        graph = self.compiled.graph
        batch = random_batch(graph, 1) if data is None else make_batch(graph, data)
        costs = profile_on_board(
            self.on_board(),
            port,
            batch.first().payload(graph)[0],
            repetitions=repetitions,
            warm_up=warm_up,
            limit_seconds=limit_seconds,
        )
        setup = self.target.firmware
        return make_profile(
            self.make_report(measure=False),
            self.compiled.plan.schedule,
            self.target.core,
            costs,
            conditions_of(self.target, setup.clock_hz if setup else None),
            self.firmware().step_stack_bytes,
        )

    def with_cycles(self, report: RunReport, batch: Batch) -> RunReport:
        """The report with estimated cycles of the first inference, which Unicorn repeats if another engine ran it.

        Cycles stay None on the host, for a core without a table or that Unicorn does not emulate, and where it is not
        installed.

        Raises:
            VmcuError: (BUG) the engines count differently.
        """
        can = self.target.unicorn_cpu is not None and self.target.core in TIMINGS and has_unicorn()
        if report.engine != "qemu" or not can:
            return report
        hooks: Hooks = "none" if report.profile is None else "profile"
        again = self.run_batch(batch.first(), engine="unicorn", hooks=hooks)
        first = None if report.instructions is None else report.instructions[:1]
        if (again.instructions, again.profile) != (first, report.profile):
            raise internal("QEMU and Unicorn count differently", self.compiled.project.name)
        return replace(
            report,
            cycles=again.cycles,
            leaves=again.leaves,
            step_instructions=again.step_instructions,
            step_cycles=again.step_cycles,
            step_leaves=again.step_leaves,
            step_stack_bytes=again.step_stack_bytes,
            profile_cycles=again.profile_cycles,
            profile_leaves=again.profile_leaves,
        )

    @property
    def report(self) -> dict[str, Any]:
        """`report.json` as a dictionary; builds and measures where tools are at hand."""
        return self.make_report(measure=True)

    def make_report(self, *, measure: bool = True, measured: Measured | None = None) -> dict[str, Any]:
        """The report; what no tool is there for is None.

        Args:
            measure: run one inference on seeded noise, where an emulator is found.
            measured: a run that has been made, instead.

        Raises:
            VmcuError: a tool that is there fails, or the model does not fit.
        """
        firmware = self.firmware() if self._has_compiler() else None
        if measured is None and firmware and measure and self._has_engine():
            measured = self.measure()
        return make_report(self.compiled, self.target, firmware, measured, budget_bytes=self.limits.ram_bytes)

    def files(self) -> dict[str, str]:
        """The C project by file name; where the target has memory to choose from, with a part of a linker script for it."""
        project = self.compiled.project
        firmware = self.firmware() if self._has_compiler() else None
        regions = choose_regions(project, self.target, firmware)
        return {**project.files, **memory_script(project, self.target, regions)}

    def save(self, folder: Path | str, report: dict[str, Any] | None = None) -> None:
        """Writes the C project, `report.json` (made anew by default) and `report.html`, atomically.

        Raises:
            VmcuError: (INPUT) the folder holds files that vmcu did not write.
        """
        report = report or self.report
        page = report_html(self.compiled.plan, report, self.compiled.project.name, self.target.core)
        save_files(Path(folder), {**self.files(), PAGE: page}, report)

    def _has_compiler(self) -> bool:
        """Without any the report has gaps; the user's own choice must be there, and what is there must work."""
        try:
            find_compiler(self.compiler)
        except VmcuError as error:
            if self.compiler == "auto" and error.problems[0].what == NO_COMPILER:
                return False
            raise
        return True

    def _has_engine(self) -> bool:
        try:
            choose_engine(self.target)
        except VmcuError as error:
            if error.code is Exit.TOOL:
                return False
            raise
        return True

    def _work(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="vmcu-")
        path = Path(self._folder.name) / name
        path.mkdir(exist_ok=True)
        return path


def compile(
    model: Path | str,
    target: str | Target = "cortex-m4",
    *,
    name: str | None = None,
    numerics: Numerics = "onnx",
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    states: Mapping[str, str] | None = None,
    stream_inputs: Collection[str] = (),
    stream_outputs: Collection[str] = (),
    allow_recompute: float = 1.0,
    optimise: Optimise | None = None,
    dead_channels: bool = True,
    compiler: CompilerChoice = "auto",
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    tune: bool = False,
    target_path: Collection[Path | str] = (),
    pool_region: str | None = None,
    weights_region: str | None = None,
) -> Model:
    """Compiles an ONNX model to a C project for a target.

    Args:
        model: path of a quantised .onnx file.
        target: a name of `vmcu targets`, or a target that is loaded.
        name: prefix of the C symbols; made from the file's name by default.
        numerics: "onnx" (one rounding) or "tflm" (as TFLite Micro).
        input_shapes: for dynamic dimensions.
        states: input name -> output name pairs that persist between runs.
        stream_inputs: inputs that the firmware fetches row by row through a callback; "*": all.
        stream_outputs: outputs that the firmware hands out row by row through a callback; "*": all.
        allow_recompute: multiply-accumulates that may be executed, as a multiple of the network's (1.5: half as many again),
            where that lowers the pool.
        optimise: of the plans that fit: "ram": the smallest pool; "speed": the fewest estimated instructions of kernels that keep the flash;
            "balanced": the smallest pool with few more. By default "speed" with `ram_bytes`, else "ram".
        dead_channels: leave out channels that have no influence on the outputs; never changes a result.
        compiler: "auto", "gcc" or "zig".
        ram_bytes, flash_bytes: limits below the target's own. RAM is pool, stack and variables: where a compiler
            is at hand, plans are built here to know the stack. Kernels are chosen to fit the flash; "speed" uses all of it.
        tune: measure every kernel of every layer in the emulator and choose by that, not by estimates.
        target_path: folders with .toml files of your own boards.
        pool_region: RAM for the pool, a name of the target's regions, or two with a comma between, over which it is split;
            by default the fastest that takes it, else the fastest two.
        weights_region: flash for weights and tables; by default that of the code, else another that takes them.

    Raises:
        VmcuError: with `code` and `problems`, each saying what, where and how to fix.
    """
    chip = load_target(target, [Path(p) for p in target_path]) if isinstance(target, str) else target
    if pool_region is not None or weights_region is not None:
        chip = with_regions(chip, pool_region, weights_region)
    graph = load(
        model, numerics=numerics, input_shapes=input_shapes, states=states, dead_channels=dead_channels
    )
    limits, wish = Limits(ram_bytes, flash_bytes), wished(optimise, ram_bytes)
    plan = partial(
        compile_graph,
        graph,
        chosen_name(model, name),
        streamed=stream_inputs,
        streamed_outputs=stream_outputs,
        allow_recompute=allow_recompute,
        optimise=wish,
        core=chip.core,
        compiler=_counted_by(compiler),
        tuning=measure_kernels(graph, chip.core, compiler, wish == "size") if tune else None,
        flash_bytes=flash_bytes,
    )

    def rest(one: Compiled) -> int | None:
        return Model(one, chip, compiler).rest_bytes()

    compiled, placed = compile_for(
        chip, limits, graph, lambda ram, split: plan(ram_bytes=ram, split_bytes=split), rest
    )
    chip = placed or chip
    check_fit(compiled, chip, None, limits)
    made = Model(compiled, chip, compiler, limits)
    if wish not in ("ram", "size"):
        made.settle(limits.ram(chip) or chip.ram_bytes)
    return made


def measure_kernels(
    graph: QuantizedGraph, core: str, compiler: CompilerChoice = "auto", compact: bool = False
) -> Tuning:
    """Runs every kernel of every layer once in the emulator.

    Args:
        graph: from `pipeline.load`.
        compact: the kernels that take least flash.

    Raises:
        VmcuError: (TOOL) there is no compiler or no emulator.
    """
    target = load_target(core)
    measured = []
    for schedule in variants(replace(graph, isa=target.isa, compact=compact)):
        model = Model(compile_schedule(schedule, "tune"), target, compiler)
        profile = model.run_batch(random_batch(graph, 1), hooks="profile").profile
        assert profile is not None
        measured.append((schedule, profile))
    return learn(measured, core, _counted_by(compiler))


def _counted_by(compiler: CompilerChoice) -> str:
    """Whose instructions plans are compared by."""
    return DEFAULT_COMPILER if compiler == "auto" else compiler


def chosen_name(model: Path | str, name: str | None) -> str:
    """The user's C prefix, or one made from the file's name.

    Raises:
        VmcuError: (INPUT) it is empty; every other rule is the generator's.
    """
    if name == "":
        raise fail("is empty", "--name", "give a name, or leave the option out")
    return default_name(model) if name is None else name


def default_name(model: Path | str) -> str:
    """C prefix for a model file: its own name, or its folder's where that says nothing."""
    path = Path(model)
    stem = path.stem if path.stem.lower() not in ("model", "network") else path.resolve().parent.name
    return project_name(stem)
