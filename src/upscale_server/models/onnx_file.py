"""Holds an ONNX file to being one file: weights that it says lie elsewhere are refused, whatever the place.

ONNX lets a tensor name a file relative to the model's own, and a runtime opens what it names; a hash on the card would
say nothing of that. Only the outer form of protobuf is read here, no weight and no operation.

Source: onnx.proto3, TensorProto.data_location and external_data; protobuf.dev, Encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from upscale_server.errors import ModelInvalid

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: "graph", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""By kind of message, its fields in which tensors may be."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEEPEST = 64
"""Graphs within graphs; of loops and branches nobody nests more than a few."""
_TAG_BYTES = 5
"""Of a field's number and wire type, 32 bits together."""
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def refuse_other_files(path: Path) -> None:
    """Demand that all weights of an ONNX file are in it.

    Raises:
        ModelInvalid: a tensor names another file, or this is no ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            elsewhere = _names_another(whole, "model", (0, len(whole)), 0)
    except (ValueError, IndexError, OSError) as err:
        raise ModelInvalid(f"{path} is no readable ONNX model: {err}") from err
    if elsewhere:
        raise ModelInvalid(
            f"{path} keeps weights in another file",
            hint="save it as one file: onnx.save(onnx.load(path), new_path, save_as_external_data=False)",
        )


def _names_another(whole: mmap.mmap, kind: str, span: tuple[int, int], depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("graphs are nested too deeply")
    for field, wire, value in _fields(whole, span):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != (0, 0))):
            return True
        part = _PARTS.get(kind, {}).get(field)
        if part is not None and wire == _LENGTH and _names_another(whole, part, value, depth + 1):
            return True
    return False


def _fields(whole: mmap.mmap, span: tuple[int, int]) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield number, wire type and place of each field; of a number, (0, number)."""
    at, end = span
    while at < end:
        key, at = _number(whole, at, _TAG_BYTES)
        if not 8 <= key < 1 << 32:  # a wider one is cut by protobuf's readers: they see another field than we would
            raise ValueError(f"a field of number {key >> 3}")
        wire = key & 7
        if wire == _VARINT:
            number, at = _number(whole, at)
            yield key >> 3, wire, (0, number)
            continue
        if wire == _LENGTH:
            length, at = _number(whole, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + length > end:
            raise ValueError(f"a field ends at {at + length} of {end} bytes")
        yield key >> 3, wire, (at, at + length)
        at += length


def _number(whole: mmap.mmap, at: int, most_bytes: int = 10) -> tuple[int, int]:
    """Return a number of at most so many bytes, and where it ends."""
    value = 0
    for index in range(most_bytes):
        byte = whole[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number without end")
