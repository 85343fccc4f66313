"""File -> ModelProto, with every tensor's bytes inside it; the only code that opens the user's files."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import onnx

from vmcu.errors import Problem, fail
from vmcu.importer.messages import file_at, malformed, quoted, refuse, shorten

MAX_MODEL_BYTES = 256 * 1024 * 1024  # file and external data together: far above any microcontroller's flash

REEXPORT = "export the model again as ONNX (.onnx), with the weights inside the file"


def read_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """The parsed file with external data loaded into it, and the file's sha256.

    Raises:
        VmcuError: (INPUT) not a file, not ONNX, too large, or external data outside the model's folder.
    """
    data = _read_bytes(path)
    model = _parse(data, path)
    _load_external(model, path.parent, MAX_MODEL_BYTES - len(data))
    return model, sha256(data).hexdigest()


def _read_bytes(path: Path) -> bytes:
    where = file_at(path)
    try:
        if path.is_dir():
            raise fail("is a folder, not a model file", where, "give the .onnx file inside it")
        if not path.exists():
            raise fail("does not exist", where, "check the path")
        if not path.is_file():
            raise fail("is not a regular file", where, "give an .onnx file")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_MODEL_BYTES:
            raise fail(
                f"has {size_bytes} bytes, the limit is {MAX_MODEL_BYTES}",
                where,
                "a model for a microcontroller is far smaller: quantise it and check what was exported",
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise fail(f"cannot be read: {shorten(error)}", where, "check path and permissions") from error
    if not data:
        raise fail("is empty", where, REEXPORT)
    return data


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    where = file_at(path)
    if data[4:8] == b"TFL3":
        raise fail(
            "is a TFLite file, not ONNX", where, "convert it to ONNX (QDQ form), for instance with tf2onnx"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which has no typed home
        kind = "is a text file, not ONNX" if _is_text(data) else "is not an ONNX file, or is truncated"
        raise fail(f"{kind}: {shorten(error)}", where, REEXPORT) from error
    if not model.ir_version and not model.opset_import and not model.graph.node:
        kind = "is a text file, not ONNX" if _is_text(data) else "holds no ONNX model"
        raise fail(kind, where, REEXPORT)
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf hands out bytes then
        raise fail("holds a name that is not UTF-8 text", where, REEXPORT)
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """Every name and the like that is used later."""
    graph = model.graph
    yield graph.name
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for node in (*graph.node, *(node for function in model.functions for node in function.node)):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (text for a in node.attribute for text in (a.name, a.ref_attr_name, a.t.name))
    for tensor in _tensors(model):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for port in (*graph.input, *graph.output):
        yield port.name
        yield from (dim.dim_param for dim in port.type.tensor_type.shape.dim)


def _is_text(data: bytes) -> bool:
    head = data[:4096]
    return all(32 <= b < 127 or b in b"\t\r\n" for b in head)


def _load_external(model: onnx.ModelProto, folder: Path, budget_bytes: int) -> None:
    """Moves external data into the tensors, reading nothing outside `folder`."""
    problems: list[Problem] = []
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = f"tensor {quoted(tensor.name)}"
        with malformed(where, "its external data cannot be read"):
            result = _external_bytes(tensor, folder, budget_bytes)
        if isinstance(result, str):
            problems.append(
                Problem(
                    result,
                    where,
                    "save the model with its data in one file inside its own folder: "
                    "onnx.save(model, path, save_as_external_data=False)",
                )
            )
            continue
        budget_bytes -= len(result)
        tensor.raw_data = result
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    refuse(problems)


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor external data may hang on; subgraphs are refused later, unread."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    attributes = [a for node in nodes for a in node.attribute]
    return [
        *model.graph.initializer,
        *(a.t for a in attributes if a.HasField("t")),
        *(t for a in attributes for t in a.tensors),
    ]


def _external_bytes(tensor: onnx.TensorProto, folder: Path, budget_bytes: int) -> bytes | str:
    """The bytes, or what is wrong."""
    entry = {e.key: e.value for e in tensor.external_data}
    location = entry.get("location", "")
    if not location:
        return "external data without a location"
    relative = Path(location)
    if relative.is_absolute() or ".." in relative.parts or "\\" in location or "\0" in location:
        return f"external data at {quoted(location)} is outside the model's folder"
    root = folder.resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        return f"external data at {quoted(location)} leads out of the model's folder through a link"
    if not path.is_file():
        return f"external data file {quoted(location)} is missing"
    offset, length = entry.get("offset", "0") or "0", entry.get("length", "")
    if not (
        offset.isdecimal() and offset.isascii() and (not length or (length.isdecimal() and length.isascii()))
    ):
        return f"external data offset {quoted(offset)} or length {quoted(length)} is not a number"
    size_bytes = path.stat().st_size
    start = int(offset)
    count = int(length) if length else size_bytes - start
    if count < 0 or start + count > size_bytes:
        return f"external data {quoted(location)} has {size_bytes} bytes, {start} + {count} are wanted"
    if count > budget_bytes:
        return f"external data exceeds the limit of {MAX_MODEL_BYTES} bytes"
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)
