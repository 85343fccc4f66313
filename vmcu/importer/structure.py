"""ModelProto -> Draft: versions, functions, names, order, constants. Everything a file can get wrong as a graph."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import onnx

from vmcu.errors import Problem, fail
from vmcu.importer.decode import attributes_of, decoded
from vmcu.importer.draft import Draft, Port
from vmcu.importer.messages import damaged, malformed, quoted, refuse, shorten
from vmcu.importer.operators import label, node_problems, where
from vmcu.ir.graph import Array, Node

MIN_OPSET = 11
MIN_IR_VERSION = 3
MAX_NODES = 100_000

_CYCLE_SHOWN = 6


def draft_of(model: onnx.ModelProto) -> Draft:
    """The checked network, nodes in topological order, constants decoded, nothing unused.

    Raises:
        VmcuError: (INPUT) with all problems of the first step that finds any.
    """
    opset = _opset(model)
    model = _inlined(model)
    refuse(_name_problems(model.graph))
    nodes = _sorted(model.graph)
    refuse(node_problems(model, nodes))
    draft = _draft(model.graph, nodes, opset)
    with malformed("model", "onnx.checker refuses the model"):
        _check(model, nodes)
    return draft


def domain_of(domain: str) -> str:
    """The default domain has two names."""
    return "" if domain == "ai.onnx" else domain


def _opset(model: onnx.ModelProto) -> int:
    newest = onnx.defs.onnx_opset_version()
    imports: dict[str, int] = {}
    for entry in model.opset_import:
        domain = domain_of(entry.domain)
        if imports.setdefault(domain, entry.version) != entry.version:
            raise fail(
                f"imports domain {quoted(domain)} twice, in different versions", "model", "export it again"
            )
    opset = imports.get("")
    if opset is None:
        raise fail("names no opset of the default domain", "model", "export it again with opset 13 or newer")
    if not MIN_OPSET <= opset <= newest:
        fix = (
            f"convert it: onnx.version_converter.convert_version(model, 13), or export with opset 13 to {newest}"
            if opset < MIN_OPSET
            else f"export with opset {newest} or older, or install a newer onnx package"
        )
        raise fail(f"uses opset {opset}; {MIN_OPSET} to {newest} are understood", "model", fix)
    if not MIN_IR_VERSION <= model.ir_version <= onnx.IR_VERSION:
        raise fail(
            f"has ONNX IR version {model.ir_version}; {MIN_IR_VERSION} to {onnx.IR_VERSION} are understood",
            "model",
            "export it with the installed onnx package's version, or install a newer onnx package",
        )
    return opset


# ---- model-local functions ---------------------------------------------------------------------------


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    if len(model.graph.node) > MAX_NODES:
        raise fail(
            f"has {len(model.graph.node)} nodes, the limit is {MAX_NODES}", "model", "split the network"
        )
    if not model.functions:
        return model
    size = _expanded_size(model)
    if size > MAX_NODES:
        raise fail(
            f"its functions expand to {size} nodes, the limit is {MAX_NODES}",
            "model",
            "export without model-local functions",
        )
    with malformed("model", "its local functions cannot be inlined"):
        from onnx import inliner

        return inliner.inline_local_functions(model)


def _expanded_size(model: onnx.ModelProto) -> int:
    """Nodes after inlining. Recursive functions would never end, nested ones may explode: both stop here."""
    bodies = {(domain_of(f.domain), f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    for root in bodies:
        stack, open_keys = [root], set()
        while stack:
            key = stack[-1]
            called = [(domain_of(n.domain), n.op_type) for n in bodies[key].node]
            waiting = [c for c in called if c in bodies and c not in sizes]
            if key in sizes or not waiting:
                sizes.setdefault(key, sum(sizes.get(c, 1) for c in called))
                open_keys.discard(key)
                stack.pop()
                continue
            open_keys.add(key)
            if any(c in open_keys for c in waiting):
                raise fail(
                    "calls itself", f"function {quoted(key[1])}", "export without model-local functions"
                )
            stack.append(waiting[0])
    return sum(sizes.get((domain_of(n.domain), n.op_type), 1) for n in model.graph.node)


# ---- names and order ---------------------------------------------------------------------------------


def _name_problems(graph: onnx.GraphProto) -> list[Problem]:
    problems: list[Problem] = []
    fix = "export the model again; every tensor needs exactly one name and one source"
    sparse = [s.values.name for s in graph.sparse_initializer]
    problems += [
        Problem("is a sparse initialiser", f"tensor {quoted(name)}", "store the weights densely")
        for name in sparse
    ]
    owner: dict[str, str] = {}

    def claim(name: str, who: str) -> None:
        if name in owner:
            problems.append(
                Problem(f"has two sources: {owner[name]} and {who}", f"tensor {quoted(name)}", fix)
            )
        owner.setdefault(name, who)

    constants = {tensor.name for tensor in graph.initializer} | set(sparse)
    for tensor in graph.initializer:
        claim(tensor.name, "an initialiser")
    for name in sparse:
        claim(name, "a sparse initialiser")
    for port in graph.input:
        if not port.name:
            problems.append(Problem("has no name", "graph input", fix))
        elif port.name not in constants:
            claim(port.name, "a graph input")
    for proto in graph.node:
        for name in proto.output:
            if name:
                claim(name, where(proto))
    for proto in graph.node:
        problems += [
            Problem(f"reads tensor {quoted(name)}, which nothing computes", where(proto), fix)
            for name in dict.fromkeys(proto.input)
            if name and name not in owner
        ]
    outputs = [port.name for port in graph.output]
    if not outputs:
        problems.append(Problem("has no outputs", "graph", fix))
    for name in dict.fromkeys(outputs):
        if outputs.count(name) > 1:
            problems.append(Problem("is declared twice", f"graph output {quoted(name)}", fix))
        if name not in owner:
            problems.append(Problem("is not computed", f"graph output {quoted(name)}", fix))
    return problems


def _sorted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes in topological order, file order where it is one.

    Raises:
        VmcuError: (INPUT) naming a cycle.
    """
    nodes = list(graph.node)
    source = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{source[name] for name in node.input if name in source} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, before in enumerate(needs):
        for j in before:
            readers[j].append(i)
    missing = [len(before) for before in needs]
    ready = [i for i, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in readers[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    if len(order) == len(nodes):
        return [nodes[i] for i in order]
    blocked = {i for i, count in enumerate(missing) if count > 0}
    path, seen = [min(blocked)], set[int]()
    while path[-1] not in seen:
        seen.add(path[-1])
        path.append(min(needs[path[-1]] & blocked))
    loop = path[path.index(path[-1]) :]
    shown = " <- ".join(quoted(label(nodes[i])) for i in loop[:_CYCLE_SHOWN])
    raise fail(
        f"its nodes form a cycle: {shown}{' <- ...' if len(loop) > _CYCLE_SHOWN else ''}",
        "graph",
        "a feed-forward network has none; carry state through graph inputs and outputs (state_in_X, state_out_X)",
    )


def _check(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """The onnx package's own opinion, on the sorted graph."""
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    del checked.graph.node[:]
    checked.graph.node.extend(nodes)
    checked.graph.name = checked.graph.name or "graph"
    del checked.graph.value_info[:]  # never believed: shapes are inferred
    for port in (*checked.graph.input, *checked.graph.output):
        if port.type.HasField("tensor_type"):
            port.type.tensor_type.shape.SetInParent()  # outputs without a shape are common
    onnx.checker.check_model(checked)


# ---- ModelProto -> Draft -----------------------------------------------------------------------------


def _draft(graph: onnx.GraphProto, protos: list[onnx.NodeProto], opset: int) -> Draft:
    problems: list[Problem] = []
    needed = {port.name for port in graph.output}
    kept: list[onnx.NodeProto] = []
    for proto in reversed(protos):
        if needed.intersection(proto.output):
            needed.update(proto.input)
            kept.append(proto)
    kept.reverse()
    readers: dict[str, str] = {}
    for proto in kept:
        for name in proto.input:
            readers.setdefault(name, where(proto))

    constants: dict[str, Array] = {}

    def keep(name: str, result: Array | Problem) -> None:
        if isinstance(result, Problem):
            problems.append(result)
        else:
            constants[name] = result

    for tensor in graph.initializer:
        if tensor.name in needed:
            keep(
                tensor.name, decoded(tensor, f"tensor {quoted(tensor.name)}{_read_by(tensor.name, readers)}")
            )
    nodes: list[Node] = []
    used_labels: set[str] = set()
    for proto in kept:
        name = label(proto)
        if name in used_labels:
            name = f"{name} ({next(o for o in proto.output if o)})"
        used_labels.add(name)
        attributes = attributes_of(proto, where(proto))
        if isinstance(attributes, Problem):
            problems.append(attributes)
        elif proto.op_type == "Constant" and not domain_of(proto.domain):
            keep(proto.output[0], _constant_value(attributes, where(proto)))
        else:
            op = ".".join(part for part in (domain_of(proto.domain), proto.op_type) if part)
            nodes.append(Node(op, name, tuple(proto.input), tuple(proto.output), attributes))
    refuse(problems)
    initialisers = {tensor.name for tensor in graph.initializer}
    return Draft(
        graph.name,
        opset,
        tuple(_port(value) for value in graph.input if value.name not in initialisers),
        tuple(_port(value) for value in graph.output),
        tuple(nodes),
        constants,
    )


def _read_by(name: str, readers: Mapping[str, str]) -> str:
    return f", read by {readers[name]}" if name in readers else ""


def _constant_value(attributes: Mapping[str, object], place: str) -> Array | Problem:
    """The tensor of a Constant node, whichever attribute holds it."""
    import numpy as np

    try:
        (key, value), *rest = attributes.items()
        if rest:
            raise ValueError("has several values")
        kinds = {
            "value_float": np.float32,
            "value_floats": np.float32,
            "value_int": np.int64,
            "value_ints": np.int64,
        }
        if key == "value" and isinstance(value, np.ndarray):
            return value
        if key in kinds:
            return np.asarray(value, kinds[key])
        raise ValueError(f"{shorten(key, 40)} is not supported")
    except (ValueError, OverflowError) as error:
        return damaged(place, "its constant cannot be used", error)


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Port(value.name, 0, None)
    if not kind.HasField("shape"):
        return Port(value.name, kind.elem_type, None)
    dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim)
    return Port(value.name, kind.elem_type, dims)
