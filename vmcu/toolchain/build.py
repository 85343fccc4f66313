"""CProject -> Firmware: compiles, links, measures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from vmcu.errors import Exit, Problem, VmcuError, fail, internal
from vmcu.ir.cproject import CProject
from vmcu.resources import folder
from vmcu.targets import Target, flash_capacity, ram_capacity
from vmcu.toolchain.app import HARNESS, STACK_RESERVE_BYTES, app_header, callbacks, linker_script, run_symbol
from vmcu.toolchain.compilers import Compiler, find_host_compiler
from vmcu.toolchain.elf import SHF_EXECINSTR, SHF_WRITE, STT_FUNC, Elf, read_elf
from vmcu.toolchain.firmware import Firmware, Hooks
from vmcu.toolchain.stack import call_graph, clang_frames, gcc_frames

STRICT = (
    *("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wcast-qual"),
    *("-Wshadow", "-Wmissing-prototypes", "-Wvla", "-Werror"),
)
_SECTIONS = ("-ffunction-sections", "-fdata-sections", "-fno-common")
_NO_UNWIND = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_HOOKS: dict[Hooks, tuple[str, ...]] = {
    "none": (),
    "trace": ("-DVMCU_HOOKS", "-DVMCU_HOOK_TRACE"),
    "profile": ("-DVMCU_HOOKS", "-DVMCU_HOOK_PROFILE"),
}
_HARNESS = ("harness/harness.c", "harness/hooks.c", "harness/tags.c")
_PORT = ("port/semihost.c", "port/startup.c", "port/cpu.S", "libc/mem.c")
_OVERFLOW = re.compile(r"region [`']?(\w+)'?(?: overflowed by|: overflowed by) (\d+) bytes")


def build(
    project: CProject,
    target: Target,
    compiler: Compiler,
    *,
    workdir: Path,
    hooks: Hooks = "none",
    optimise: str | None = None,
) -> Firmware:
    """Builds the program that runs a project on an emulated or real Cortex-M.

    Args:
        workdir: an existing folder that belongs to this build; receives sources, objects, program.
        optimise: option of the compiler; by default the one the project was planned for.
        hooks: a trace of every task's bytes, or a profile of every step's instructions.

    Raises:
        VmcuError: (TOOL) the compiler fails; (DOES_NOT_FIT) flash or RAM is too small, by how much;
            (BUG) the stack has no bound.
    """
    level = optimise or project.optimise
    flags = (*base_flags(target, compiler, level), *_HOOKS[hooks])
    job = Job(project, compiler, workdir, flags)
    own, rest = job.compile((*_HARNESS, *_PORT), counter_flags(target))
    script = workdir.resolve() / "link.ld"
    script.write_text(linker_script(target), encoding="utf-8")
    elf_path = workdir / f"{project.name}.elf"
    job.link_program(target, script, own + rest, elf_path)
    elf, objects = read_elf(elf_path), [read_elf(o) for o in own]
    frames = stack_frames(compiler, elf, own + rest)
    roots = [run_symbol(project), f"{project.name}_init", f"{project.name}_reset"]
    graph = call_graph(elf, roots, frames, callbacks(project))
    own_functions = {s.name for o in objects for s in o.symbols if s.kind == STT_FUNC and s.section}
    firmware = Firmware(
        elf_path,
        project,
        target,
        compiler,
        sum(o.size_bytes(SHF_EXECINSTR, 0) for o in objects),
        sum(
            size for name, size in graph.reached.items() if name not in own_functions and name not in HARNESS
        ),
        sum(o.size_bytes(0, SHF_EXECINSTR | SHF_WRITE) for o in objects),
        sum(o.size_bytes(SHF_WRITE, 0) for o in objects),
        graph.stack_bytes,
        hooks,
        level,
        tuple(graph.depths.get(f"step_{i}", 0) for i in range(len(project.steps))),
    )
    _check_fits(firmware, target)
    return firmware


def build_host(
    project: CProject,
    *,
    workdir: Path,
    hooks: Literal["none", "trace"] = "none",
    tags: bool = False,
    sanitize: bool = True,
) -> Firmware:
    """Builds the program that runs a project on this machine.

    Args:
        tags: every pool byte remembers its owner, and a read of a byte of another one ends the run.
        sanitize: address and undefined-behaviour sanitizers (ziglang brings only the latter).

    Raises:
        VmcuError: (TOOL) no compiler, or it fails.
    """
    if project.pool_bytes > 0x7FFFFFFF:
        raise internal("the pool exceeds 2 GiB", project.name)
    compiler = find_host_compiler()
    optimise = "-O1" if sanitize else "-O2"
    kinds = "undefined" if compiler.name == "zig" else "address,undefined"
    checks = (f"-fsanitize={kinds}", "-fno-sanitize-recover=all") if sanitize else ("-fno-sanitize=all",)
    flags = (optimise, "-g", *checks, *_HOOKS[hooks], *(("-DVMCU_TAGS",) if tags else ()))
    job = Job(project, compiler, workdir, flags)
    own, rest = job.compile((*_HARNESS, "port/host.c"), ())
    program = workdir / f"{project.name}_host"
    job.link(flags, own + rest, (), program)
    return Firmware(program, project, None, compiler, 0, 0, 0, 0, 0, hooks, optimise)


def base_flags(target: Target, compiler: Compiler, optimise: str) -> tuple[str, ...]:
    """Options of every object of a program for a target, the strict warnings apart."""
    zig = compiler.name == "zig"
    return (
        *(target.zig_flags if zig else target.gcc_flags),
        optimise,
        *_SECTIONS,
        *_NO_UNWIND,
        *(("-fstack-size-section", "-fno-sanitize=all") if zig else ("-fcallgraph-info=su",)),
        f"-I{folder('firmware') / 'libc'}",
    )


def stack_frames(compiler: Compiler, elf: Elf, objects: Sequence[Path]) -> dict[str, int]:
    """Frame bytes of the functions of a linked program; GCC wrote them beside its objects (not of assembly)."""
    if compiler.name == "zig":
        return clang_frames(elf)
    paths = [o.with_suffix(".ci") for o in objects]
    return gcc_frames([p.read_text(encoding="utf-8", errors="replace") for p in paths if p.exists()])


def counter_flags(target: Target) -> tuple[str, ...]:
    """Options that choose the counter of the machine that emulates a target."""
    qemu = target.qemu
    if qemu is None:
        return ()
    numerator, denominator = qemu.ticks_per_instruction
    return (
        f"-DVMCU_COUNTER_{qemu.counter.upper()}",
        f"-DVMCU_COUNTER_BASE={qemu.counter_base:#x}U",
        f"-DVMCU_TICKS_NUM={numerator}U",
        f"-DVMCU_TICKS_DEN={denominator}U",
    )


def _check_fits(firmware: Firmware, target: Target) -> None:
    problems = []
    code_bytes = firmware.flash_bytes - firmware.rodata_bytes
    parts = {
        "flash": (
            firmware.flash_bytes,
            flash_capacity(target, code_bytes, firmware.rodata_bytes),
            f"constants {firmware.rodata_bytes}, code {firmware.code_bytes}, library {firmware.library_bytes}",
        ),
        "RAM": (
            firmware.ram_bytes,
            ram_capacity(target, firmware.stack_bytes + firmware.static_bytes),
            f"pool {firmware.project.pool_bytes}, stack {firmware.stack_bytes}, variables {firmware.static_bytes}",
        ),
    }
    for kind, (need, have, detail) in parts.items():
        if need > have:
            what = f"needs {need:,} bytes of {kind} ({detail}); there are {have:,}: {need - have:,} too many"
            problems.append(
                Problem(what, f"target '{target.name}'", "choose a larger target or a smaller model")
            )
    if problems:
        raise VmcuError(Exit.DOES_NOT_FIT, problems)


@dataclass(frozen=True, slots=True)
class Job:
    """One build: its folder, its compiler, the options common to all its files.

    Attributes:
        headers: folders of `firmware` whose headers they see.
    """

    project: CProject
    compiler: Compiler
    workdir: Path
    flags: tuple[str, ...]
    headers: tuple[str, ...] = ("harness", "port")

    def compile(self, firmware: Sequence[str], port_flags: Sequence[str]) -> tuple[list[Path], list[Path]]:
        """Objects of the project and of our firmware."""
        root = folder("firmware")
        for name, text in self.project.files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise internal(f"a file would lie outside of the project: {name[:200]!r}", self.project.name)
            file = self.workdir / "src" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        (self.workdir / "app").mkdir(exist_ok=True)
        (self.workdir / "app" / "vmcu_app.h").write_text(app_header(self.project), encoding="utf-8")
        (self.workdir / "obj").mkdir(exist_ok=True)
        # Absolute, because zig's cache knows files by their path as given, not by the folder it runs in.
        here = self.workdir.resolve()
        includes = (f"-I{here / 'src'}", f"-I{here / 'app'}", *(f"-I{root / name}" for name in self.headers))
        own = [(here / "src" / s, here / f"obj/model_{_flat(s)}.o", ()) for s in self.project.sources]
        rest = [(root / s, here / f"obj/{_flat(s)}.o", _own_flags(s, port_flags)) for s in firmware]

        def compile_one(item: tuple[Path, Path, tuple[str, ...]]) -> Path:
            source, obj, extra = item
            self.call(
                (*STRICT, *self.flags, *includes, *extra, "-c", str(source), "-o", str(obj)), source.name
            )
            return obj

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, own + rest))
        return objects[: len(own)], objects[len(own) :]

    def link(self, flags: Sequence[str], objects: Sequence[Path], libraries: Sequence[str], to: Path) -> None:
        self.call((*flags, *map(str, objects), *libraries, "-o", str(to.resolve())), "linking")

    def link_program(self, target: Target, script: Path, objects: Sequence[Path], to: Path) -> None:
        """Links a program for a target, without a C library."""
        zig = self.compiler.name == "zig"
        flags = target.zig_flags if zig else target.gcc_flags
        libraries = ("-rtlib=compiler-rt",) if zig else ("-lgcc",)
        self.link((*flags, "-nostdlib", "-Wl,--gc-sections", "-T", str(script)), objects, libraries, to)

    def call(self, options: Sequence[str], what: str) -> None:
        command = (*self.compiler.command, *options)
        try:
            done = subprocess.run(command, cwd=self.workdir, capture_output=True, text=True, errors="replace")
        except OSError as e:
            raise fail(f"does not run: {e.strerror}", self.compiler.version, "reinstall it", Exit.TOOL) from e
        if done.returncode == 0:
            return
        if overflow := _OVERFLOW.findall(done.stderr):
            raise VmcuError(Exit.DOES_NOT_FIT, [_overflow(*found) for found in dict(overflow).items()])
        text = done.stderr.replace(f"{self.workdir.resolve()}/", "")
        lines = [line for line in text.splitlines() if "error" in line] or text.splitlines()
        raise fail(
            f"{self.compiler.version} failed: " + " | ".join(lines[:5])[:1000],
            what,
            "this is a bug in vmcu unless the compiler is broken: please report it with the model",
            Exit.TOOL,
        )


def _flat(path: str) -> str:
    return path.replace("/", "_")


def _own_flags(source: str, port_flags: Sequence[str]) -> tuple[str, ...]:
    if source.startswith("libc/"):
        return ("-fno-builtin",)
    return tuple(port_flags) if source.startswith(("port/", "board/")) else ()


def _overflow(region: str, excess: str) -> Problem:
    kept = f", {STACK_RESERVE_BYTES:,} of them kept for the stack" if region == "RAM" else ""
    kind = {"FLASH": "flash", "RAM": "RAM"}.get(region, region)
    what = f"{kind} of the emulated machine overflows by {int(excess):,} bytes{kept}"
    return Problem(what, "linking", "choose a larger target or a smaller model")
