"""CSV files of a power meter -> current and energy of the inferences in them.

Formats, told apart by their first line:

* PPK2 (Nordic's Power Profiler): `Timestamp(ms),Current(uA)`, then `D0-D7` (eight digits, D0 first) or a column for
  each of `D0` to `D7`, where digital inputs were recorded.
* Joulescope: `#time (s),current (A),voltage (V)`, with or without the mark; further columns of 0 and 1 are inputs,
  by their name.

An inference is where an input is 1 (the firmware raises a pin around it), or a window of seconds that the user names.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vmcu.errors import VmcuError, fail

Samples = NDArray[np.float64]
LONGEST_LINE = 65_536
_FORMATS = "the first line is `Timestamp(ms),Current(uA),...` (PPK2) or `time (s),current (A),voltage (V)` (Joulescope)"
_TIMES = {"timestamp(ms)": 1e-3, "time (s)": 1.0, "time(s)": 1.0}
_CURRENTS = {"current(ua)": 1e-6, "current (a)": 1.0, "current(a)": 1.0}
_VOLTAGES = {"voltage (v)": 1.0, "voltage(v)": 1.0}


@dataclass(frozen=True, slots=True)
class Recording:
    """What a meter has recorded.

    Attributes:
        seconds: of each sample, ascending.
        amperes: the current then.
        volts: the voltage then; None where the meter did not tell.
        inputs: digital inputs by name, in upper case.
    """

    seconds: Samples
    amperes: Samples
    volts: Samples | None
    inputs: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Draw:
    """What the inferences took.

    Attributes:
        windows: inferences seen, whole ones.
        seconds: of one, their mean.
        milliamps: mean current during them.
        microjoules: of one, their mean; None where no voltage is known.
        least_microjoules, most_microjoules: of the inferences.
    """

    windows: int
    seconds: float
    milliamps: float
    microjoules: float | None
    least_microjoules: float | None
    most_microjoules: float | None


def read_recording(path: Path) -> Recording:
    """Reads a CSV file.

    Raises:
        VmcuError: (INPUT) no such file, a format that is not known, or a line that does not belong in it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, f"'{path}'")
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", f"'{path}'", "check the path") from None
    except (UnicodeDecodeError, csv.Error):
        raise fail(
            "is no CSV file", f"'{path}'", f"export it from the meter's program as CSV: {_FORMATS}"
        ) from None


def _read(file: IO[str], where: str) -> Recording:
    lines = csv.reader(_lines(file, where))
    header = [cell.strip().lstrip("#").strip() for cell in next(lines, [])]
    names = [cell.lower() for cell in header]
    time, current = _column(names, _TIMES), _column(names, _CURRENTS)
    if time is None or current is None:
        raise fail(f"is in no format that vmcu reads: it begins with {header[:4]}", where, _FORMATS)
    voltage = _column(names, _VOLTAGES)
    others = [i for i in range(len(names)) if i not in (time, current, voltage)]
    bits: list[str] = []
    numbers: list[tuple[float, ...]] = []
    for n, row in enumerate(lines, 2):
        if not row:
            continue
        if len(row) != len(header):
            raise _bad(where, n, f"has {len(row)} values, the first line names {len(header)}")
        try:
            wanted = (time, current) if voltage is None else (time, current, voltage)
            values = tuple(float(row[i]) for i in wanted)
        except ValueError:
            raise _bad(where, n, "holds something else than numbers") from None
        if not all(math.isfinite(v) for v in values):
            raise _bad(where, n, "holds a number that is not finite")
        if numbers and values[0] <= numbers[-1][0]:
            raise _bad(where, n, "is not later than the line before it")
        numbers.append(values)
        digits = "".join(row[i].strip() for i in others)
        if digits.strip("01") or (bits and len(digits) != len(bits[0])):
            raise _bad(where, n, "has digital inputs that are not 0 or 1")
        bits.append(digits)
    if len(numbers) < 2:
        raise fail("holds fewer than two samples", where, "record at least one inference")
    table = np.array(numbers, np.float64)
    return Recording(
        table[:, 0] * _TIMES[names[time]],
        table[:, 1] * _CURRENTS[names[current]],
        None if voltage is None else table[:, 2],
        _inputs([header[i] for i in others], bits, where),
    )


def _lines(file: IO[str], where: str) -> Iterator[str]:
    """Lines of bearable length: a file without line ends is no recording."""
    while line := file.readline(LONGEST_LINE):
        if len(line) >= LONGEST_LINE:
            raise fail("is no CSV file: a line has no end", where, _FORMATS)
        yield line


def _column(names: list[str], known: dict[str, float]) -> int | None:
    return next((i for i, name in enumerate(names) if name in known), None)


def _inputs(names: list[str], bits: list[str], where: str) -> dict[str, NDArray[np.bool_]]:
    """By name; `D0-D7` is one column of eight digits."""
    each: list[str] = []
    for name in names:
        span = re.fullmatch(r"[Dd]0-[Dd](\d)", name)
        each += [f"D{i}" for i in range(int(span[1]) + 1)] if span else [name.upper()]
    if len(bits[0]) != len(each):
        raise _bad(where, 2, f"has {len(bits[0])} digital inputs, the first line names {len(each)}")
    digits = np.frombuffer("".join(bits).encode("ascii"), np.uint8).reshape(len(bits), len(each))
    table = digits == ord("1")
    return {name: table[:, i] for i, name in enumerate(each)}


def _bad(where: str, line: int, what: str) -> VmcuError:
    return fail(
        f"line {line} {what}", where, "export the recording again, unchanged, from the meter's program"
    )


def windows_of(recording: Recording, window: str) -> list[tuple[int, int]]:
    """First sample and end of every inference.

    Args:
        window: name of a digital input, which is 1 during an inference, or `START:END` in seconds of the recording.
            An inference that is cut off by the start or the end of the recording is left out.

    Raises:
        VmcuError: (INPUT) no such input, or nothing in the window.
    """
    if found := re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+):(\d+(?:\.\d*)?|\.\d+)", window.strip()):
        start, end = float(found[1]), float(found[2])
        inside = np.flatnonzero((recording.seconds >= start) & (recording.seconds < end))
        if inside.size < 2:
            span = f"{recording.seconds[0]:g}:{recording.seconds[-1]:g}"
            raise fail(
                "holds fewer than two samples", f"--window {window}", f"the recording is of {span} seconds"
            )
        return [(int(inside[0]), int(inside[-1]) + 1)]
    name = window.strip().upper()
    if name not in recording.inputs:
        known = ", ".join(recording.inputs) or "no digital inputs"
        raise fail(
            "is neither START:END in seconds nor an input of the recording",
            f"--window {window[:40]}",
            f"the recording has {known}",
        )
    level = recording.inputs[name].astype(np.int8)
    edges = np.diff(level)
    rises, falls = np.flatnonzero(edges > 0) + 1, np.flatnonzero(edges < 0) + 1
    pairs = [(int(r), int(falls[falls > r][0])) for r in rises if (falls > r).any()]
    if not pairs:
        raise fail(
            "has no whole inference: the input does not rise and fall",
            f"--window {window[:40]}",
            "check the wire, and record longer",
        )
    return pairs


def measure_draw(recording: Recording, window: str, volts: float | None = None) -> Draw:
    """Mean current and energy of the inferences of a recording.

    A sample holds until the next one.

    Args:
        window: see `windows_of`.
        volts: of the supply, where the meter did not record it.

    Raises:
        VmcuError: (INPUT) there is no inference in the window.
    """
    spans = windows_of(recording, window)
    last = len(recording.seconds) - 1
    lengths = np.diff(recording.seconds, append=recording.seconds[-1])
    lengths[last] = lengths[last - 1]
    charge, energy, time = [], list[float](), []
    level = recording.volts if recording.volts is not None else volts
    for first, end in spans:
        part = lengths[first:end]
        time.append(float(part.sum()))
        charge.append(float((recording.amperes[first:end] * part).sum()))
        if level is not None:
            voltage = level[first:end] if isinstance(level, np.ndarray) else level
            energy.append(1e6 * float((recording.amperes[first:end] * voltage * part).sum()))
    return Draw(
        len(spans),
        sum(time) / len(spans),
        1e3 * sum(charge) / sum(time),
        sum(energy) / len(energy) if energy else None,
        min(energy) if energy else None,
        max(energy) if energy else None,
    )
