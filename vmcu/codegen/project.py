"""MemoryPlan -> CProject: decides every word of the generated C; the templates type it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmcu.codegen.calls import fold
from vmcu.codegen.kernels import KernelFunctions, make_kernels
from vmcu.codegen.names import c_comment, c_ident, project_name, why_reserved
from vmcu.codegen.render import render
from vmcu.codegen.text import c_array, c_float
from vmcu.errors import fail, internal
from vmcu.ir.cproject import CProject, Port
from vmcu.ir.quantized import Interface, Isa, QuantizedGraph, Tensor
from vmcu.memory.plan import MemoryPlan
from vmcu.memory.tables import ReadTable, StepTable, Tables, TensorTable
from vmcu.ops.base import Kernel, QOp
from vmcu.ops.columns import quotient
from vmcu.resources import folder

POOL_ALIGN = 4
MANY_POINTERS = 16  # that a step lists in loops which stay loops
MANY_IN_ROW = 3  # of them, in a row of a window: then the loop within stays one, too
RUNTIME: Mapping[Isa, tuple[str, ...]] = {
    "c": ("vmcu_math.h",),
    "armv6-m": ("vmcu_math.h", "vmcu_dsp.h", "vmcu_small.h"),
    "armv7-m": ("vmcu_math.h", "vmcu_dsp.h", "vmcu_small.h"),
    "armv7e-m": ("vmcu_math.h", "vmcu_dsp.h"),
    "armv8.1-m": ("vmcu_math.h", "vmcu_dsp.h", "vmcu_mve.h"),
}
"""Headers of `firmware/runtime` that kernels of an instruction set call."""


@dataclass(frozen=True, slots=True)
class Pads:
    """Constant rows of one value each, as long as their longest reader needs: C name by value."""

    lengths: dict[int, int]

    def name(self, value: int) -> str:
        """C name of the row of `value`."""
        return f"pad_{'m' if value < 0 else 'p'}{abs(value)}"


def make_project(plan: MemoryPlan, tables: Tables, name: str) -> CProject:
    """The C project of a checked plan.

    Args:
        plan: for what is computed.
        tables: for where; approved by the checker.
        name: C identifier; prefix of every public symbol.

    Raises:
        VmcuError: (INPUT) `name` is no usable identifier.
    """
    reason = why_reserved(name)
    if reason:
        raise fail(f"is no usable C name: {reason}", f"name {name[:80]!r}", f"try {project_name(name)!r}")
    if project_name(name) != name:
        raise fail(
            "is no usable C name", f"name {name[:80]!r}", "use up to 31 of a-z, 0-9 and _, a letter first"
        )
    return _Printer(plan, tables, name).project()


class _Printer:
    def __init__(self, plan: MemoryPlan, tables: Tables, name: str) -> None:
        self.plan, self.tables, self.name = plan, tables, name
        self.graph: QuantizedGraph = plan.schedule.graph
        self.ops: tuple[QOp, ...] = plan.schedule.steps
        self.kernels: tuple[Kernel, ...] = plan.schedule.kernels
        self.functions: KernelFunctions = make_kernels(self.kernels)
        self.pads = self._pads()
        self.pool_type = f"const struct {name}_pool *" if tables.split_bytes else "int8_t *"

    def project(self) -> CProject:
        graph, name = self.graph, self.name
        inputs, outputs = self._ports(graph.inputs, "input"), self._ports(graph.outputs, "output")
        common = {
            "name": name,
            "upper": name.upper(),
            "model": c_comment(graph.name),
            "sha256": graph.sha256,
            "numerics": graph.numerics,
            "version": tool_version(),
            "pool_bytes": self.tables.pool_bytes,
            "pool_align": POOL_ALIGN,
            "state_bytes": self.tables.state_bytes,
            "split_bytes": self.tables.split_bytes,
            "looks_up": any(
                self._is_read_or_written(i) and self._is_looked_up(i) for i in range(len(self.tables.tensors))
            ),
            "pool_type": self.pool_type,
            "callbacks": _callbacks(inputs, outputs),
            "sources": sum(p.streamed for p in inputs),
            "sinks": sum(p.streamed for p in outputs),
            "parameter": ", struct vmcu_caller *caller",
            "argument": ", caller",
            "unless_failed": " && caller->status == 0",
            "failed": "caller->status != 0",
            "run": "run_rows(pool, ...)" if _callbacks(inputs, outputs) else "run(pool)",
        }
        ports = [
            self._port_context(port, interface)
            for port, interface in [
                *zip(inputs, graph.inputs, strict=True),
                *zip(outputs, graph.outputs, strict=True),
            ]
        ]
        data, weights_bytes, tables_bytes = self._data()
        steps = [self._step(i) for i in range(len(self.ops))]
        files = {
            f"{name}.h": render("project/model.h", {**common, "ports": ports}),
            f"{name}.c": render(
                "project/model.c",
                {
                    **common,
                    "headers": RUNTIME[graph.isa],
                    "kernels": self.functions.texts,
                    "steps": steps,
                    "stages": self._stages(),
                    "states": self._states(),
                    "given": self._array_tags((*self.tables.inputs, *(c for c, _ in self.tables.states))),
                    "taken": self._array_tags((*self.tables.outputs, *(c for c, _ in self.tables.states))),
                    "owners": self._owners(),
                    "ports": ports,
                },
            ),
            f"{name}_data.h": render("project/data.h", {**common, "arrays": data}),
            **{h: (folder("firmware") / "runtime" / h).read_text() for h in RUNTIME[graph.isa]},
            "CMakeLists.txt": render("project/CMakeLists.txt", common),
        }
        return CProject(
            name,
            MappingProxyType(files),
            (f"{name}.c",),
            self.tables.pool_bytes,
            POOL_ALIGN,
            self.tables.state_bytes,
            inputs,
            outputs,
            tuple(f"{op.kind} {op.name}" for op in self.ops),
            weights_bytes,
            tables_bytes,
            "-Os" if self.graph.compact or self.plan.schedule.small_c else "-O3",
            self.tables.split_bytes,
        )

    # ---- constants -------------------------------------------------------------------------------

    def _data(self) -> tuple[list[str], int, int]:
        arrays, size = [], {"weights": 0, "tables": 0}
        for i, (op, kernel) in enumerate(zip(self.ops, self.kernels, strict=True)):
            arrays.append(f"/* Step {i}: {op.kind} {c_comment(op.name)} */")
            printed = 0
            for constant in kernel.constants:
                arrays.append(c_array(f"s{i}_{constant.suffix}", constant.values))
                printed += constant.values.nbytes
            # What a kernel packs beside the model's parameters, or makes wider than they are, is its own.
            plain = op.kernel(self.graph.ins(op), self._out(op)).constants
            own = min(printed, sum(c.values.nbytes for c in plain if c.role == "weights"))
            size["weights"] += own
            size["tables"] += printed - own
        tables = ["/* Addresses of rows in the pool, where they are not evenly spaced. */"]
        row_type = np.uint16 if self.tables.pool_bytes <= 0xFFFF else np.uint32
        for i, tensor in enumerate(self.tables.tensors):
            if self._is_read_or_written(i) and _stride(tensor) is None:
                values: NDArray[np.integer[Any]] = np.array(tensor.addresses, row_type)
                tables.append(c_array(f"rows_{i}", values))
                size["tables"] += values.nbytes
        for i, step in enumerate(self.tables.steps):
            for k, read in enumerate(step.reads):
                if read.rows and not _same_row(read):
                    values = _narrowest_signed(np.array(read.rows, np.int32))
                    tables.append(c_array(f"s{i}_reads_{k}", values))
                    size["tables"] += values.nbytes
        for value, length in sorted(self.pads.lengths.items()):
            values = np.full(length, value, np.int8)
            tables.append(c_array(self.pads.name(value), values))
            size["tables"] += values.nbytes
        if len(tables) > 1:
            arrays += tables
        return arrays, size["weights"], size["tables"]

    def _pads(self) -> Pads:
        lengths: dict[int, int] = {}
        for step, kernel in zip(self.tables.steps, self.kernels, strict=True):
            for read in step.reads:
                tensor = self.tables.tensors[read.tensor]
                length = 0
                if self._reads_padding(step, read):
                    length = tensor.row_bytes
                elif kernel.pad_pixel:
                    length = self.graph.tensors[tensor.name].channels
                if length:
                    value = kernel.pad_value or 0
                    lengths[value] = max(lengths.get(value, 0), length)
        return Pads(lengths)

    def _reads_padding(self, step: StepTable, read: ReadTable) -> bool:
        rows_in = len(self.tables.tensors[read.tensor].addresses)
        rows_out = len(self.tables.tensors[step.output].addresses)
        if read.kind == "window":
            last = (rows_out - 1) * read.stride - read.pad + (read.kernel - 1) * read.dilation
            return read.pad > 0 or last >= rows_in
        if read.kind == "patch":
            return _rows_leave(read, rows_in, rows_out) or _reaches_out(read)
        return read.kind == "table" and any(-1 in rows for rows in read.rows)

    def _is_read_or_written(self, index: int) -> bool:
        return any(index == s.output or any(index == r.tensor for r in s.reads) for s in self.tables.steps)

    # ---- steps -----------------------------------------------------------------------------------

    def _out(self, op: QOp) -> Tensor:
        return self.graph.tensors[op.output]

    def _step(self, i: int) -> dict[str, object]:
        op, kernel, step = self.ops[i], self.kernels[i], self.tables.steps[i]
        out = self.tables.tensors[step.output]
        reads, slot, written = [], 0, "0" if step.accumulates else "row"
        for k, read in enumerate(step.reads):
            reads.append(self._read(i, k, step, read, kernel, slot))
            slot += self._pointers(read)
        arguments = ["in", "out"]
        if kernel.uses_row:
            arguments.append("row")
        if kernel.uses_caller:
            arguments.append("caller")
        if kernel.scratch_bytes:
            arguments.append(self._byte(step.scratch_address))
        if kernel.pad_pixel:
            arguments.append(self.pads.name(kernel.pad_value or 0))
        arguments += [f"s{i}_{c.suffix}" for c in kernel.constants]
        shapes = " + ".join(_shape(self.graph.tensors[n]) for n in op.inputs)
        return {
            "number": i,
            "kind": op.kind,
            "node": c_comment(op.name),
            "tensor": c_comment(out.name),
            "shapes": f"{shapes} -> {_shape(self._out(op))}",
            "place": f"{min(out.addresses)}..{max(out.addresses) + out.row_bytes - 1}",
            "function": self.functions.names[i],
            "arguments": ", ".join(arguments),
            "pointers": max(slot, 1),
            "reads": reads,
            "out_pointer": self._pointer(step.output, written),
            "out_bytes": out.row_bytes,
            "out_tag": self._tag(step.output, written),
            "out_row": written,
            "accumulates": step.accumulates,
            "hands_out": step.port is not None,
            "streams": kernel.uses_caller,
            "needs_index": any(r["indexed"] and not r["patch"] for r in reads),
        }

    def _stages(self) -> list[dict[str, object]]:
        """One function per stage of the schedule: its calls, repetition written as loops."""
        found, called = [], []
        for number, (first, end) in enumerate(self.plan.schedule.stages):
            calls = [r for r in self.tables.order if first <= r.step < end]
            called += calls
            steps = f"step {first}" if end == first + 1 else f"steps {first} to {end - 1}, row by row"
            streams = any(self.kernels[r.step].uses_caller for r in calls)
            body = fold(calls, {i for i, kernel in enumerate(self.kernels) if kernel.uses_caller})
            found.append({"number": number, "steps": steps, "body": body, "streams": streams})
        if called != list(self.tables.order):
            raise internal("stages run in another order than the one checked", "plan")
        return found

    def _pointers(self, read: ReadTable) -> int:
        if read.kind in ("window", "patch"):
            return read.kernel * read.count
        if read.kind == "every":
            return len(self.tables.tensors[read.tensor].addresses)
        return len(read.rows[0])

    def _read(
        self, i: int, k: int, step: StepTable, read: ReadTable, kernel: Kernel, slot: int
    ) -> dict[str, object]:
        tensor = self.tables.tensors[read.tensor]
        count = self._pointers(read)
        padded = self._reads_padding(step, read)
        rows = len(tensor.addresses)
        expression = _row_expression(read, count, f"s{i}_reads_{k}")
        row = "r" if padded else expression
        patch: dict[str, object] | None = None
        if _is_same_tile(read):
            row = "row"
        elif read.kind == "patch":
            row = "y" if read.tiles == 1 else f"y * {read.tiles} + x"
            patch = _patch(read, rows, len(self.tables.tensors[step.output].addresses), f"s{i}_reads_{k}")
            if _reaches_out(read) and read.count <= MANY_IN_ROW:
                patch["neighbours"] = [
                    {
                        **one,
                        "pointer": self._pointer(read.tensor, str(one["tile"])),
                        "tag": self._tag(read.tensor, str(one["tile"])),
                    }
                    for one in _neighbours(read, slot)
                ]
        return {
            "slot": f"{slot}" if count == 1 else f"{slot} + i" if slot else "i",
            "count": count,
            "row": expression,
            "rows": rows,
            "patch": patch,
            "first": slot,
            "indexed": count > 1,
            "padded": padded,
            "pointer": self._pointer(read.tensor, row),
            "pad": self.pads.name(kernel.pad_value or 0),
            "bytes": tensor.row_bytes,
            "tag": self._tag(read.tensor, row),
        }

    def _pointer(self, index: int, row: str) -> str:
        """C expression of where a row lies."""
        tensor, looked_up = self.tables.tensors[index], self._is_looked_up(index)
        stride = _stride(tensor)
        part, begin = ("", 0) if looked_up else self._part(tensor.addresses[0])
        if stride is None:
            address = f"rows_{index}[{row}]"
        elif len(tensor.addresses) == 1:
            address = f"{tensor.addresses[0] - begin}"
        else:
            address = (
                f"{tensor.addresses[0] - begin} + {row if row.isidentifier() else f'({row})'} * {stride}"
            )
        if looked_up:
            return f"{self.name}_at(pool, {address if stride is None else f'(uint32_t)({address})'})"
        return f"{part} + {address}"

    def _is_looked_up(self, index: int) -> bool:
        """Does only the program know which array of a split pool a row is in?"""
        tensor, split = self.tables.tensors[index], self.tables.split_bytes
        both = min(tensor.addresses) < split <= max(tensor.addresses)
        return split > 0 and (both or _stride(tensor) is None)

    def _part(self, address: int, pool: str = "pool") -> tuple[str, int]:
        """The array that holds a byte of the pool, and the address that it begins with."""
        split = self.tables.split_bytes
        if not split:
            return pool, 0
        return (f"{pool}->first", 0) if address < split else (f"{pool}->second", split)

    def _byte(self, address: int, pool: str = "pool") -> str:
        """C expression of where a byte of the pool lies; `pool`: of type `pool_type`."""
        part, begin = self._part(address, pool)
        return f"{part} + {address - begin}"

    @property
    def _given_pool(self) -> str:
        """The pool in functions that are given it as `void *`."""
        return f"((const struct {self.name}_pool *)pool)" if self.tables.split_bytes else "(int8_t *)pool"

    # ---- run-time tags: who owns a row ------------------------------------------------------------

    def _tag(self, index: int, row: str) -> str:
        """C arguments (tensor, row) that name the owner of a row."""
        index = {n: c for c, n in self.tables.states}.get(index, index)
        if self._is_alias(index):
            return f"owners_{index}[({row}) * 2], owners_{index}[({row}) * 2 + 1]"
        return f"{index}U, (uint32_t)({row})"

    def _is_alias(self, index: int) -> bool:
        owners = self.tables.tensors[index].owners
        return owners != tuple((index, r) for r in range(len(owners)))

    def _owners(self) -> list[str]:
        return [
            c_array(f"owners_{i}", np.array(tensor.owners, np.uint32))
            for i, tensor in enumerate(self.tables.tensors)
            if self._is_alias(i)
            and (i in self.tables.handed or any(i == r.tensor for s in self.tables.steps for r in s.reads))
        ]

    def _array_tags(self, indices: tuple[int, ...]) -> list[dict[str, object]]:
        """Tensors the caller, or the next run, sees as one array."""
        found: list[dict[str, object]] = []
        for index in dict.fromkeys(indices):
            tensor = self.tables.tensors[index]
            found.append(
                {
                    "rows": len(tensor.addresses),
                    "pointer": self._byte(tensor.addresses[0]),
                    "bytes": tensor.row_bytes,
                    "tensor": index,
                }
            )
        return found

    # ---- ports and states ------------------------------------------------------------------------

    def _states(self) -> list[dict[str, object]]:
        found = []
        for state in self.graph.states:
            tensor = self.graph.tensors[state.current]
            found.append(
                {
                    "label": c_comment(state.input),
                    "pointer": self._byte(self._first_address(state.current), self._given_pool),
                    "bytes": tensor.size_bytes,
                    "zero_point": tensor.zero_point,
                }
            )
        return found

    def _ports(self, interfaces: tuple[Interface, ...], kind: str) -> tuple[Port, ...]:
        ports: list[Port] = []
        for interface in interfaces:
            tensor = self.graph.tensors[interface.tensor]
            c_name = kind
            if len(interfaces) > 1:
                c_name = c_ident(f"{kind}_{interface.name}", [p.c_name for p in ports])
            address = 0 if interface.streamed else self._first_address(tensor.name)
            ports.append(
                Port(interface.name, c_name, address, tensor.size_bytes, tensor.row_bytes, interface.streamed)
            )
        return tuple(ports)

    def _first_address(self, name: str) -> int:
        """As the checker has seen it."""
        return next(t.addresses[0] for t in self.tables.tensors if t.name == name)

    def _port_context(self, port: Port, interface: Interface) -> dict[str, object]:
        tensor = self.graph.tensors[interface.tensor]
        order = interface.layout.memory_dims()
        return {
            "c_name": port.c_name,
            "upper": port.c_name.upper(),
            "label": c_comment(port.name),
            "offset": port.offset_bytes,
            "pointer": self._byte(port.offset_bytes, self._given_pool),
            "bytes": port.size_bytes,
            "elements": interface.layout.size,
            "type": "int32_t" if tensor.elem_bytes == 4 else "int8_t",
            "scale": c_float(tensor.scale),
            "zero_point": tensor.zero_point,
            "shape": "x".join(map(str, interface.layout.shape)) or "1",
            "memory": f"{_shape(tensor)} (rows x columns x channels)"
            + (f", dimensions {list(order)} outermost first" if order else ""),
            "dtype": interface.dtype,
            "streamed": interface.streamed,
            "way": "delivered" if interface in self.graph.inputs else "handed out",
            "wide": tensor.elem_bytes == 4,
            "rows": tensor.rows,
            "row_bytes": tensor.row_bytes,
        }


def _callbacks(inputs: Sequence[Port], outputs: Sequence[Port]) -> list[dict[str, object]]:
    """Of streamed inputs, then outputs: what `<name>_run_rows` is given, and where it is kept."""
    return [
        {"verb": verb, "c_name": port.c_name, "number": number}
        for verb, ports in (("read", inputs), ("write", outputs))
        for number, port in enumerate(p for p in ports if p.streamed)
    ]


def _row_expression(read: ReadTable, count: int, table: str) -> str:
    """C expression of the row of the input that pointer `i` of task `row` takes; not for patches."""
    if read.kind == "every":
        return "i" if count > 1 else "0"
    if read.kind == "table":
        if _same_row(read):
            return f"{read.rows[0][0]}"
        return f"{table}[row * {count} + i]" if count > 1 else f"{table}[row]"
    row = "row" if read.stride == 1 else f"row * {read.stride}"
    if read.pad:
        row += f" - {read.pad}"
    if count > 1:
        row += " + i" if read.dilation == 1 else f" + i * {read.dilation}"
    return row


def _reaches_out(read: ReadTable) -> bool:
    """Does a patch include tiles beside the row?"""
    return read.tiles == read.tiles_out and read.count > 1


def _is_same_tile(read: ReadTable) -> bool:
    """Does each tile of the output read the one tile of the input that has its number?"""
    one = read.kind == "patch" and read.kernel == read.count == read.stride == 1
    return one and read.pad == 0 and read.tiles == read.tiles_out and not read.rows


def _rows_leave(read: ReadTable, rows_in: int, rows_out: int) -> bool:
    """Does a patch include rows above or below the tensor?"""
    if read.rows:
        return any(-1 in rows for rows in read.rows)
    last = (rows_out // read.tiles_out - 1) * read.stride - read.pad + (read.kernel - 1) * read.dilation
    return read.pad > 0 or last >= rows_in // read.tiles


def _patch(read: ReadTable, rows: int, rows_out: int, table: str) -> dict[str, object]:
    """What a step prints to find the tiles of a patch: C expressions of rows and of the first tile; see `_neighbours`.

    Args:
        rows, rows_out: segments of input and output.
        table: name of the array of `read.rows`, where there are such.
    """
    line = quotient(rows_out, read.tiles_out)
    listed = _reaches_out(read) and read.count <= MANY_IN_ROW
    first = "line" if listed else line
    if read.rows:
        y = f"{table}[{first} * {read.kernel} + ky]"
        first = "0"  # not even: each row is looked up
    else:
        if read.stride > 1:
            first += f" * {read.stride}"
        if read.pad:
            first += f" - {read.pad}"
        y = f"{first} + ky * {read.dilation}"
    x = "0"
    if read.tiles == read.tiles_out:
        x = f"row - {line} * {read.tiles}" + (f" - {read.left}" if read.left else "")
    outside = f"y < 0 || y >= {rows // read.tiles}"
    if _reaches_out(read) and not listed:
        outside += f" || x < 0 || x >= {read.tiles}"
    return {
        "line": line,
        "first": first,
        "y": y,
        "even": not read.rows,
        "x": x,
        "tiles": read.tiles,
        "down": read.dilation * read.tiles,
        "kernel": read.kernel,
        "many": read.kernel * read.count > MANY_POINTERS,
        "wide": read.kernel * read.count > MANY_POINTERS and read.count > MANY_IN_ROW,
        "dilation": read.dilation,
        "count": read.count,
        "outside": outside,
        "rows_leave": _rows_leave(read, rows, rows_out),
        "tiled": read.tiles > 1,
        "neighbours": [],
    }


def _neighbours(read: ReadTable, slot: int) -> list[dict[str, object]]:
    """Of a patch with tiles beside the row's own: C expressions of the tiles of a line, and whether each is in the row.

    Tile by tile of a line, so that what is outside is asked once a line and once a tile, not for every pointer. What is not in the
    row is the tile itself, until it is padding.
    """
    found: list[dict[str, object]] = []
    for kx in range(read.count):
        by = kx - read.left
        inside = f"x >= {-by}" if by < 0 else f"x < {read.tiles - by}" if by else ""
        tile = f"at + by_{kx}" if by else "at"
        found.append({"by": f"by_{kx}", "step": by, "inside": inside, "tile": tile, "slot": slot + kx})
    return found


def _narrowest_signed(rows: NDArray[np.int32]) -> NDArray[np.integer[Any]]:
    """Row numbers, -1 for padding, in the narrowest type that holds them."""
    for dtype in (np.int8, np.int16):
        if rows.max() <= np.iinfo(dtype).max:
            return rows.astype(dtype)
    return rows


def _same_row(read: ReadTable) -> bool:
    """A table that says the same single row for every output row needs no array."""
    first = read.rows[0]
    return read.kind == "table" and len(first) == 1 and first[0] >= 0 and all(r == first for r in read.rows)


def _stride(tensor: TensorTable) -> int | None:
    """Distance of consecutive rows where it is always the same."""
    steps = set(np.diff(tensor.addresses).tolist())
    if not steps:
        return 0
    return int(steps.pop()) if len(steps) == 1 else None


def _shape(tensor: Tensor) -> str:
    return f"{tensor.rows}x{tensor.cols}x{tensor.channels}"


def tool_version() -> str:
    """Of this package."""
    try:
        return version("vmcu")
    except PackageNotFoundError:
        return "0.1.0"
