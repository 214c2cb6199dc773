"""The item embedding of an ONNX file, mapped into memory where it lies: no onnx package, no copy.

A walk over the file's protobuf fields, of which only those on the way are read. The numbers of fields are those of
onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recblr.errors import BundleError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OP_TYPE = 1, 4
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_FLOAT32 = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ITEMS_INPUT = b"items"


class _MalformedError(ValueError):
    """Bytes that are no protobuf message."""


@dataclass(frozen=True)
class _Field:
    number: int
    wire_type: int
    value: int  # of a varint
    start: int  # of bytes
    stop: int


def map_item_embedding(path: Path, n_items: int, dim: int) -> np.ndarray:
    """The table in which the graph of a bundle looks up its `items`.

    Args:
        path: the bundle's ONNX file.
        n_items: V.
        dim: D.

    Returns:
        float32 [V + 1, D], read-only, backed by the file; not necessarily aligned.

    Raises:
        BundleError: the file cannot be read, or holds no such table of this shape.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            name = _embedding_name(content)
            tensor = _initializer(content, name)
            offset = _raw_data(content, tensor, (n_items + 1, dim))
        return np.memmap(path, np.float32, mode="r", offset=offset, shape=(n_items + 1, dim))
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(
            f"{path} has no item embedding of {n_items} items x {dim} ({error}): export it again"
        ) from error


def _embedding_name(content: mmap.mmap) -> bytes:
    """The initializer whose rows the graph's `items` choose."""
    for graph in _fields(content, 0, len(content), _MODEL_GRAPH):
        for node in _fields(content, graph.start, graph.stop, _GRAPH_NODE):
            inputs = [content[i.start : i.stop] for i in _fields(content, node.start, node.stop, _NODE_INPUT)]
            kinds = [content[o.start : o.stop] for o in _fields(content, node.start, node.stop, _NODE_OP_TYPE)]
            if kinds == [b"Gather"] and inputs[1:] == [_ITEMS_INPUT]:
                return inputs[0]
    raise _MalformedError("no node looks up the items")


def _initializer(content: mmap.mmap, name: bytes) -> _Field:
    for graph in _fields(content, 0, len(content), _MODEL_GRAPH):
        for tensor in _fields(content, graph.start, graph.stop, _GRAPH_INITIALIZER):
            names = [content[n.start : n.stop] for n in _fields(content, tensor.start, tensor.stop, _TENSOR_NAME)]
            if names == [name]:
                return tensor
    raise _MalformedError(f"no initializer is named {name.decode('utf-8', 'replace')}")


def _raw_data(content: mmap.mmap, tensor: _Field, shape: tuple[int, int]) -> int:
    """Where a float32 tensor's data starts in the file."""
    dims: list[int] = []
    for field in _fields(content, tensor.start, tensor.stop, _TENSOR_DIMS):
        if field.wire_type == _VARINT:
            dims.append(field.value)
        else:  # packed
            at = field.start
            while at < field.stop:
                value, at = _varint(content, at, field.stop)
                dims.append(value)
    kinds = [field.value for field in _fields(content, tensor.start, tensor.stop, _TENSOR_DATA_TYPE)]
    if tuple(dims) != shape or kinds != [_FLOAT32]:
        raise _MalformedError(f"the table has shape {dims} and type {kinds}")
    data = list(_fields(content, tensor.start, tensor.stop, _TENSOR_RAW_DATA))
    if len(data) != 1 or data[0].stop - data[0].start != 4 * shape[0] * shape[1]:
        raise _MalformedError("the table's data is not in the file in one piece")
    return data[0].start


def _fields(content: mmap.mmap, start: int, stop: int, number: int) -> Iterator[_Field]:
    """The fields of this number in the message between two places."""
    at = start
    while at < stop:
        key, at = _varint(content, at, stop)
        wire_type, value, first = key & 7, 0, at
        if wire_type == _VARINT:
            value, at = _varint(content, at, stop)
        elif wire_type == _BYTES:
            size, first = _varint(content, at, stop)
            at = first + size
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
        else:
            raise _MalformedError(f"wire type {wire_type} at byte {at}")
        if at > stop:
            raise _MalformedError(f"a field runs over its end at byte {stop}")
        if key >> 3 == number:
            yield _Field(number, wire_type, value, first, at)


def _varint(content: mmap.mmap, at: int, stop: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError(f"no number at byte {at}")
