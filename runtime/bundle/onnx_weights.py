"""Weights of an ONNX file, mapped into memory where they lie, in it or beside it: no onnx package, no copy.

A walk over the file's protobuf fields, of which only those on the way are read.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recblr.errors import BundleError
from recblr.runtime.bundle.external_data import external_data, external_file
from recblr.runtime.bundle.protobuf import VARINT, Field, fields, texts, varint

# Numbers of onnx.proto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OP_TYPE = 1, 4
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_FLOAT32 = 1
_ITEMS_INPUT = b"items"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the data of a float32 tensor is."""

    file: Path
    start: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return 4 * math.prod(self.shape)


def map_item_embedding(path: Path, n_items: int, dim: int) -> np.ndarray:
    """The table in which the graph of a bundle looks up its `items`.

    Args:
        path: the bundle's ONNX file.
        n_items: V.
        dim: D.

    Returns:
        float32 [V + 1, D], read-only, backed by the file or one beside it; not necessarily aligned.

    Raises:
        BundleError: the file cannot be read, or holds no such table of this shape.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place = _float32_data(path, content, _initializer(content, _embedding_name(content)))
        if place.shape != (n_items + 1, dim):
            raise ValueError(f"the table has shape {list(place.shape)}")
        return np.memmap(place.file, np.float32, mode="r", offset=place.start, shape=place.shape)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(
            f"{path} has no item embedding of {n_items} items x {dim} ({error}): export it again"
        ) from error


def map_weights(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Initializers of a graph by name.

    Args:
        path: the bundle's ONNX file.
        names: of float32 initializers.

    Returns:
        float32 arrays, read-only, backed by the file or one beside it; not necessarily aligned.

    Raises:
        ValueError: the file cannot be read, or lacks one of them as float32 in one piece.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            tensors = {
                name.decode("utf-8", "replace"): tensor
                for graph in fields(content, 0, len(content), _MODEL_GRAPH)
                for tensor in fields(content, graph.start, graph.stop, _GRAPH_INITIALIZER)
                for name in texts(content, tensor, _TENSOR_NAME)
            }
            missing = sorted(set(names) - tensors.keys())
            if missing:
                raise ValueError(f"no initializer is named {missing[0]}")
            places = {name: _float32_data(path, content, tensors[name]) for name in names}
        whole = {file: np.memmap(file, np.uint8, mode="r") for file in {place.file for place in places.values()}}
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    return {
        name: whole[place.file][place.start : place.start + place.n_bytes].view(np.float32).reshape(place.shape)
        for name, place in places.items()
    }


def _embedding_name(content: mmap.mmap) -> bytes:
    """The initializer whose rows the graph's `items` choose."""
    for graph in fields(content, 0, len(content), _MODEL_GRAPH):
        for node in fields(content, graph.start, graph.stop, _GRAPH_NODE):
            inputs = texts(content, node, _NODE_INPUT)
            if texts(content, node, _NODE_OP_TYPE) == [b"Gather"] and inputs[1:] == [_ITEMS_INPUT]:
                return inputs[0]
    raise ValueError("no node looks up the items")


def _initializer(content: mmap.mmap, name: bytes) -> Field:
    for graph in fields(content, 0, len(content), _MODEL_GRAPH):
        for tensor in fields(content, graph.start, graph.stop, _GRAPH_INITIALIZER):
            if texts(content, tensor, _TENSOR_NAME) == [name]:
                return tensor
    raise ValueError(f"no initializer is named {name.decode('utf-8', 'replace')}")


def _float32_data(path: Path, content: mmap.mmap, tensor: Field) -> _Place:
    dims: list[int] = []
    for field in fields(content, tensor.start, tensor.stop, _TENSOR_DIMS):
        if field.wire_type == VARINT:
            dims.append(field.value)
        else:  # packed
            at = field.start
            while at < field.stop:
                value, at = varint(content, at, field.stop)
                dims.append(value)
    kinds = [field.value for field in fields(content, tensor.start, tensor.stop, _TENSOR_DATA_TYPE)]
    if kinds != [_FLOAT32]:
        raise ValueError(f"the table has shape {dims} and type {kinds}")
    outside = external_data(content, tensor)
    if outside is None:
        data = list(fields(content, tensor.start, tensor.stop, _TENSOR_RAW_DATA))
        pieces = [(field.start, field.stop - field.start) for field in data]
        file = path
    else:
        pieces = [(outside.offset, outside.length)]
        file = external_file(path, outside)
    if len(pieces) != 1 or pieces[0][1] != 4 * math.prod(dims):
        raise ValueError("the table's data is not in the file in one piece")
    return _Place(file, pieces[0][0], tuple(dims))
