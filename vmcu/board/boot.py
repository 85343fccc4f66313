"""What a boot ROM wants of an image before it starts it; `firmware/board/boot_<kind>.S` has the content."""

from __future__ import annotations

from pathlib import Path

from vmcu.errors import internal
from vmcu.toolchain.app import SECOND_STAGE_BYTES
from vmcu.toolchain.elf import read_elf

SECTION = ".boot"
POLYNOMIAL = 0x04C11DB7


def checksum(data: bytes) -> int:
    """CRC-32 as the RP2040's boot ROM computes it: highest bit first, from all ones, nothing inverted at the end.

    Source: RP2040 Datasheet, 2.8.1.3.1.
    """
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1 ^ POLYNOMIAL if found & 0x80000000 else found << 1) & 0xFFFFFFFF
    return found


def seal(elf: Path) -> None:
    """Puts the checksum of a second stage into its last word, in the file."""
    parsed = read_elf(elf)
    section = next((s for s in parsed.sections if s.name == SECTION), None)
    if section is None or section.size_bytes != SECOND_STAGE_BYTES:
        raise internal("the second stage has not 256 bytes", elf.name)
    stage = parsed.content(section)[:-4]
    data = bytearray(parsed.data)
    end = section.offset + SECOND_STAGE_BYTES
    data[end - 4 : end] = checksum(stage).to_bytes(4, "little")
    elf.write_bytes(data)
