"""Puts a firmware on a board: which probe, is it the right chip, write, read back, start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmcu.board.firmware import BoardFirmware
from vmcu.board.probes import PROBES, Connection, Found, Probe, read_image
from vmcu.errors import Exit, fail
from vmcu.targets import Target


@dataclass(frozen=True, slots=True)
class Flashed:
    """What was done.

    Attributes:
        via: how.
        probe: which, as text.
        size_bytes: written.
        is_verified: it was read back; a drive cannot do that.
        chip: word of the chip's identification register under its mask; None: not read, or not known what it should be.
    """

    via: str
    probe: str
    size_bytes: int
    is_verified: bool
    chip: int | None


def flash(
    firmware: BoardFirmware,
    *,
    via: str | None = None,
    uid: str | None = None,
    probes: Sequence[Probe] = PROBES,
    say: Callable[[str], None] = lambda text: None,
) -> Flashed:
    """Writes a firmware to its board and starts it.

    Args:
        via: kind of probe; None: the first that is there and finds something.
        uid: which one, as `find` names them; None: the only one.
        say: told each step.

    Raises:
        VmcuError: (TOOL) no probe, several, or it fails; (INPUT) another chip.
    """
    probe, found = choose_probe(firmware.target, via, uid, probes)
    image = read_image(firmware.elf)
    say(f"probe    {probe.via}: {found.text} ({found.uid})" if found.uid else f"probe    {probe.via}")
    connection = probe.open(firmware.target, found.uid)
    try:
        chip = check_chip(firmware.target, connection)
        if chip is not None:
            say(f"chip     {chip:#x}, as it should be")
        connection.write(image)
        say(f"written  {image.size_bytes:,} bytes")
        is_verified = connection.verify(image)
        say(
            "verified what was read back is what was written"
            if is_verified
            else "verified no: this way cannot read back"
        )
        connection.start(image)
    finally:
        connection.close()
    return Flashed(probe.via, connection.text, image.size_bytes, is_verified, chip)


def check_chip(target: Target, connection: Connection) -> int | None:
    """The chip's number, where board and probe know of one.

    Raises:
        VmcuError: (INPUT) it is another chip; nothing has been written.
    """
    wanted = target.probe.chip_id if target.probe else None
    word = connection.read_word(wanted.address) if wanted else None
    if wanted is None or word is None:
        return None
    if word & wanted.mask != wanted.value:
        what = f"is another chip: {word & wanted.mask:#x} at {wanted.address:#010x}; '{target.name}' has {wanted.value:#x}"
        raise fail(what, connection.text, "choose the board it is with --board; nothing was written")
    return word & wanted.mask


def choose_probe(
    target: Target, via: str | None, uid: str | None, probes: Sequence[Probe]
) -> tuple[Probe, Found]:
    """The way to a board.

    Raises:
        VmcuError: (TOOL) there is none, or there are several; (INPUT) no such kind.
    """
    where = f"board '{target.name}'"
    kinds = [p for p in probes if via in (None, p.via)]
    if not kinds:
        raise fail("is no way to flash", f"--via {via}", f"there are {', '.join(p.via for p in probes)}")
    reasons = []
    for probe in kinds:
        if (missing := probe.missing(target)) is not None:
            reasons.append(f"{probe.via}: {missing}")
            continue
        if uid is not None and via is not None:
            return probe, Found(uid, "named by the user")
        found = [f for f in probe.find(target) if uid in (None, f.uid)]
        if len(found) > 1:
            names = ", ".join(f"{f.uid} ({f.text})" for f in found)
            raise fail(
                f"{probe.via} finds several probes: {names}", where, "choose one with --probe", Exit.TOOL
            )
        if found:
            return probe, found[0]
        reasons.append(f"{probe.via}: finds nothing plugged in" + (f" named '{uid}'" if uid else ""))
    raise fail("no probe leads to it", where, "; ".join(reasons), Exit.TOOL)
