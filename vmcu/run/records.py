"""The files between vmcu and the harness: inputs in, records out (`firmware/harness/record.h`)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmcu.errors import Exit, VmcuError, fail, internal
from vmcu.run.report import RunReport
from vmcu.toolchain.elf import Elf
from vmcu.toolchain.firmware import Firmware

COST, OUTPUT, TRACE, PROFILE, FAULT, INIT, END = range(1, 8)
_STATUS, _FAULT, _TAG = 13, 14, 15
_EXITS = {
    10: "the program found its input file missing or short",
    11: "the instruction counter of the emulated machine miscounts a loop of known length",
    12: "no memory for the pool",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `index` and `row` mean what its kind says."""

    kind: int
    index: int
    row: int
    payload: bytes


def input_file(inferences: Sequence[Sequence[bytes]], reset_between: bool) -> bytes:
    """Content of `input.bin`."""
    head = struct.pack("<2I", len(inferences), int(reset_between))
    return head + b"".join(data for inference in inferences for data in inference)


def read_records(data: bytes) -> Iterator[Record]:
    """Every whole record of `output.bin`; a program that died may have left a part of one."""
    at = 0
    while at + 16 <= len(data):
        kind, index, row, size = struct.unpack_from("<4I", data, at)
        at += 16
        if at + size > len(data):
            return
        yield Record(kind, index, row, data[at : at + size])
        at += size


def report_of(
    firmware: Firmware, count: int, engine: str, version: str, records: Sequence[Record]
) -> RunReport:
    """The report of a run that ended well.

    Raises:
        VmcuError: (TOOL) records are missing.
    """
    if not records or records[-1].kind != END:
        raise fail(
            "the output of the program is not complete", engine, "run it again; is the disk full?", Exit.TOOL
        )
    ports = len(firmware.project.outputs)
    found = [r.payload for r in records if r.kind == OUTPUT]
    outputs = tuple(tuple(found[i * ports : (i + 1) * ports]) for i in range(count))
    costs = [struct.unpack("<QII", r.payload) for r in records if r.kind in (COST, INIT)]
    profiles = [r.payload for r in records if r.kind == PROFILE]
    is_model_alone = firmware.target is not None and firmware.hooks == "none"
    return RunReport(
        engine,
        version,
        outputs,
        tuple(int(c[0]) for c in costs[1:]) if is_model_alone else None,
        int(costs[0][0]) if is_model_alone else None,
        max(int(c[1]) for c in costs) if is_model_alone else None,
        {(r.index, r.row): r.payload for r in records if r.kind == TRACE},
        struct.unpack(f"<{len(firmware.project.steps)}Q", profiles[0]) if profiles else None,
    )


def failure(code: int, messages: str, engine: str, elf: Elf | None, records: Sequence[Record]) -> VmcuError:
    """The error that an exit code of the program stands for.

    Args:
        messages: what it, or the engine, wrote to stderr.
    """
    report = "report this with the model"
    if code == _FAULT and elf and records and records[-1].kind == FAULT:
        pc, lr, cfsr, number = struct.unpack("<4I", records[-1].payload)
        return fault(elf, engine, pc, lr, f"exception {number}, CFSR {cfsr:#010x}")
    if elf and (lockup := re.search(r"qemu: fatal: (.*)", messages)):
        registers = dict(re.findall(r"\bR(14|15)=([0-9a-f]{8})", messages))
        return fault(
            elf, engine, int(registers.get("15", "0"), 16), int(registers.get("14", "0"), 16), lockup[1]
        )
    if code == _STATUS:
        status = next((r.payload[12] for r in reversed(records) if r.kind in (COST, INIT)), "unknown")
        return internal(f"the model returned the error {status}", engine)
    if code == _TAG:
        return internal(f"the plan is wrong: {messages.strip()[-500:]}", engine)
    if line := next(
        (x for x in messages.splitlines() if re.search(r"ERROR: \w+Sanitizer|runtime error|panic:", x)), ""
    ):
        frame = re.search(r"#0 \S+ in (.*)", messages)
        text = re.sub(r"^==\d+==|\S*/src/", "", f"{line.strip()}, in {frame[1]}" if frame else line.strip())
        return internal(f"the sanitizer stopped the program: {text[:500]}", engine)
    what = _EXITS.get(code, f"the program ended with code {code}")
    if lines := [x for x in messages.splitlines() if x.strip() and "qemu-system-arm: warning" not in x]:
        what += f": {' | '.join(lines[-3:])[-500:]}"
    return fail(what, engine, report, Exit.TOOL)


def fault(elf: Elf, engine: str, pc: int, lr: int, detail: str) -> VmcuError:
    """The processor took a fault."""
    where = f"at {elf.function_at(pc)}, link register at {elf.function_at(lr & ~1)}"
    return internal(f"the processor took a fault {where}: {detail}", engine)
