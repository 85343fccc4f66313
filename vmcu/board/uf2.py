"""UF2: files for boards that appear as a drive and flash what is copied there.

Source: https://github.com/microsoft/uf2 (format); families: its utils/uf2families.json.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

BLOCK_BYTES = 512
PAYLOAD_BYTES = 256  # a page of flash; boot ROMs of Raspberry Pi take nothing else
MAGIC = (0x0A324655, 0x9E5D5157)
MAGIC_END = 0x0AB16F30
FAMILY_FLAG = 0x00002000  # the last word of the head is a family
_HEAD = struct.Struct("<8I")


def write_uf2(segments: Sequence[tuple[int, bytes]], family: int) -> bytes:
    """A file that flashes segments: whole pages, gaps within a page as erased flash.

    Args:
        segments: (address, content), without overlap.
        family: of the chip, which refuses others.
    """
    pages: dict[int, bytearray] = {}
    for address, data in segments:
        for at in range(len(data)):
            page, place = divmod(address + at, PAYLOAD_BYTES)
            pages.setdefault(page, bytearray(b"\xff" * PAYLOAD_BYTES))[place] = data[at]
    blocks = []
    for number, (page, content) in enumerate(sorted(pages.items())):
        head = _HEAD.pack(
            *MAGIC, FAMILY_FLAG, page * PAYLOAD_BYTES, PAYLOAD_BYTES, number, len(pages), family
        )
        padding = bytes(BLOCK_BYTES - len(head) - PAYLOAD_BYTES - 4)
        blocks.append(head + bytes(content) + padding + MAGIC_END.to_bytes(4, "little"))
    return b"".join(blocks)
