"""A small hand-written project, as the code generator would make it: two layers over a few KB."""

from __future__ import annotations

import importlib.util
import os
import shutil
from types import MappingProxyType

import pytest

from vmcu.ir.cproject import CProject, Port

HEADER = """\
#ifndef TINY_H
#define TINY_H
int tiny_init(void *pool);
int tiny_run(void *pool);
int tiny_reset(void *pool);
#endif
"""

SCALE = """\
#ifndef SCALE_H
#define SCALE_H
#include <stdint.h>
#define LENGTH 64
int32_t scale_dot(const int8_t *a, const int8_t *b, int32_t length);
#endif
"""

DOT = """\
#include "runtime/scale.h"

int32_t scale_dot(const int8_t *a, const int8_t *b, int32_t length)
{
    int32_t sum = 0, i;
    for (i = 0; i < length; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}
"""

# Input 64 bytes at 16, three rows of 64 at 1024, output of 3 + 1 bytes at 2048; state: runs so far.
MODEL = """\
#include "tiny.h"
#include "runtime/scale.h"
#include <string.h>

#ifdef VMCU_HOOKS
#include "hooks.h"
#define VMCU_DONE(step, row, out, bytes) vmcu_task_done((step), (row), (out), (bytes))
#else
#define VMCU_DONE(step, row, out, bytes) ((void)0)
#endif
#ifdef VMCU_TAGS
#include "hooks.h"
#define VMCU_READ(p, bytes, tensor, row) vmcu_tag_read((p), (bytes), (tensor), (row))
#define VMCU_WRITTEN(p, bytes, tensor, row) vmcu_tag_write((p), (bytes), (tensor), (row))
#else
#define VMCU_READ(p, bytes, tensor, row) ((void)0)
#define VMCU_WRITTEN(p, bytes, tensor, row) ((void)0)
#endif

static const int8_t weights[LENGTH] = {@WEIGHTS@};

/* A frame of its own, and a 64-bit division from the compiler's library. */
static __attribute__((noinline)) int8_t narrow(int32_t sum, int64_t divisor)
{
    int64_t wide = ((int64_t)sum * 1000003) / divisor;
    return (int8_t)(wide < -128 ? -128 : (wide > 127 ? 127 : wide));
}

int tiny_reset(void *pool)
{
    memset(pool, 0, 4);
    return 0;
}

int tiny_init(void *pool)
{
    return tiny_reset(pool);
}

int tiny_run(void *pool_)
{
    int8_t *pool = (int8_t *)pool_;
    int8_t *input = pool + 16, *rows = pool + 1024, *out = pool + 2048;
    int8_t copy[LENGTH];
    uint32_t row, i;
    VMCU_WRITTEN(input, LENGTH, 0U, 0U);
    for (row = 0U; row < 3U; row++) {
        VMCU_READ(input, LENGTH, 0U, 0U);
        memcpy(copy, input, LENGTH);
        for (i = 0U; i < LENGTH; i++) {
            rows[row * LENGTH + i] = (int8_t)(copy[(i + row) % LENGTH] >> row);
        }
        VMCU_WRITTEN(rows + row * LENGTH, LENGTH, 1U, row);
        VMCU_DONE(0U, row, rows + row * LENGTH, LENGTH);
    }
    pool[0]++;
    for (row = 0U; row < 3U; row++) {
        VMCU_READ(rows + row * LENGTH, LENGTH, 1U, @READ_ROW@);
        out[row] = narrow(scale_dot(rows + row * LENGTH, weights, LENGTH), 100000 + pool[0]);
    }
    out[3] = pool[0];
    VMCU_WRITTEN(out, 4U, 2U, 0U);
    VMCU_DONE(1U, 0U, out, 4U);
    @EXTRA@
    return 0;
}
"""

WEIGHTS = tuple((i * 37) % 255 - 127 for i in range(64))


def tiny(extra: str = "", read_row: str = "row", pool_bytes: int = 4096, more: str = "") -> CProject:
    """The project; `extra` goes to the end of its run function, `more` in front of it."""
    model = MODEL.replace("@WEIGHTS@", ", ".join(map(str, WEIGHTS)))
    model = model.replace("@EXTRA@", extra).replace("@READ_ROW@", read_row)
    model = model.replace("int tiny_run(", more + "\nint tiny_run(", 1)
    files = {"tiny.h": HEADER, "tiny.c": model, "runtime/scale.h": SCALE, "runtime/dot.c": DOT}
    ports = (Port("x", "input", 16, 64),), (Port("y", "output", 2048, 4),)
    return CProject(
        "tiny",
        MappingProxyType(files),
        ("tiny.c", "runtime/dot.c"),
        pool_bytes,
        4,
        4,
        *ports,
        ("shift a", "dot b"),
        64,
        0,
    )


def expected(data: bytes, runs: int) -> bytes:
    """What the project computes, in Python; `runs` counts from 1."""
    x = [b - 256 if b > 127 else b for b in data]
    out = []
    for row in range(3):
        total = sum((x[(i + row) % 64] >> row) * WEIGHTS[i] for i in range(64)) * 1000003
        divisor = 100000 + runs
        quotient = abs(total) // divisor * (1 if total >= 0 else -1)
        out.append(max(-128, min(127, quotient)) & 255)
    return bytes([*out, runs & 255])


def trace(data: bytes) -> dict[tuple[int, int], bytes]:
    """Bytes of every task of the first inference."""
    x = [b - 256 if b > 127 else b for b in data]
    rows = {(0, r): bytes((x[(i + r) % 64] >> r) & 255 for i in range(64)) for r in range(3)}
    return {**rows, (1, 0): expected(data, 1)}


def samples(count: int = 3) -> list[list[bytes]]:
    """Inputs, one port each."""
    return [[bytes((i * (2 * n + 7) + 3 * n) % 256 for i in range(64))] for n in range(count)]


TOOLS = {
    "gcc": lambda: shutil.which("arm-none-eabi-gcc"),
    "zig": lambda: importlib.util.find_spec("ziglang"),
    "qemu": lambda: shutil.which("qemu-system-arm"),
    "unicorn": lambda: importlib.util.find_spec("unicorn"),
}


def need(*tools: str) -> None:
    """Skips the test if a tool is missing; on a CI machine none may be."""
    for tool in tools:
        if not TOOLS[tool]():
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(f"{tool} is missing on a CI machine")
            pytest.skip(f"{tool} is not installed")
