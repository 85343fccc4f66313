"""A browser without a window: screenshots as arrays, and what a page's script has done.

The page under test is put into a frame of exact width, because a browser's window has a smallest one. The
frame is of the same origin as the page around it, which can therefore move the pointer and measure.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

BROWSER = next(
    filter(
        None,
        map(
            shutil.which,
            ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
        ),
    ),
    None,
)
NEEDS_BROWSER = pytest.mark.skipif(BROWSER is None, reason="neither Chromium nor Chrome is on the PATH")
SECONDS = 120

Scheme = Literal["light", "dark"]
Pixels = NDArray[np.uint8]
"""(height, width, RGB)."""


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page: the result of the probe, and what it wrote to the console."""

    result: Any
    console: list[str]


def screenshot(path: Path, scheme: Scheme, width: int, height: int, work: Path) -> Pixels:
    """The file at `path` as a window of that size shows it."""
    picture = work / f"{path.stem}-{scheme}.png"
    picture.unlink(missing_ok=True)
    _run(
        work, scheme, path, f"--screenshot={picture}", f"--window-size={width},{height}", "--hide-scrollbars"
    )
    return decode_png(picture.read_bytes())


def probe(page: str, script: str, work: Path, width: int = 1280, height: int = 1600) -> Seen:
    """Shows `page` in a frame and evaluates `script`, the body of a function of `view` (its window) and `doc`."""
    wrapper = work / "probe.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe id="frame" width="{width}" height="{height}" '
        f'srcdoc="{html.escape(page)}"></iframe><pre id="result"></pre><script>\n'
        'window.onload = function () { var view = document.getElementById("frame").contentWindow;\n'
        'document.getElementById("result").textContent = JSON.stringify('
        f"(function (view, doc) {{ {script} }})(view, view.document)); }};</script>",
        encoding="utf-8",
    )
    done = _run(work, "light", wrapper, "--dump-dom", "--enable-logging=stderr")
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert found and found[1], f"the probe has not run: {console}"
    return Seen(json.loads(html.unescape(found[1])), console)


def _run(work: Path, scheme: Scheme, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER
    return subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",  # containers rarely allow one, and the page is our own
            "--disable-gpu",
            "--force-device-scale-factor=1",
            "--force-color-profile=srgb",
            f"--user-data-dir={work / 'profile'}",
            f"--blink-settings=preferredColorScheme={1 if scheme == 'light' else 0}",
            *options,
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )


def count(pixels: Pixels, colour: str) -> int:
    """Pixels that have exactly this colour, "#rrggbb"."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((pixels == wanted).all(axis=2).sum())


def decode_png(data: bytes) -> Pixels:
    """Eight bits a channel, RGB or RGBA, not interlaced: what browsers write.

    A filter predicts a byte from the pixels to its left, above, and above its left. All pixels of
    a diagonal are decoded together.
    """
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + size]
        at += size + 12
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 8 and colours in (2, 6) and not interlaced
    channels = 3 if colours == 2 else 4
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    filters, raw = lines[:, 0], lines[:, 1:].reshape(height, width, channels).astype(np.int16)
    assert filters.max() <= 4
    out = np.zeros((height + 1, width + 1, channels), np.int16)
    for diagonal in range(width + height - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        left, up, corner = out[row + 1, column], out[row, column + 1], out[row, column]
        guess = left + up - corner
        near = [abs(guess - part) for part in (left, up, corner)]
        paeth = np.where(
            (near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], up, corner)
        )
        predicted = np.choose(filters[row][:, None], [np.zeros_like(left), left, up, (left + up) // 2, paeth])
        out[row + 1, column + 1] = (raw[row, column] + predicted) & 255
    return out[1:, 1:, :3].astype(np.uint8)
