"""A bundle's ONNX file, read without the onnx package: its weights, mapped into memory; and the file less parts of it.

Only the protobuf fields on the way are read. A weight is mapped where it lies, in the file or in one next to it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recblr.errors import BundleError
from recblr.runtime.bundle.external_data import external_data, external_file
from recblr.runtime.bundle.protobuf import VARINT, Encoded, Field, encode_bytes, fields, texts, varint

# Numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_VALUE_NAME = 1
_FLOAT32 = 1
_ITEMS_INPUT = b"items"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the data of a float32 tensor is: the file, the place of its first byte there, and the tensor's shape."""

    file: Path
    start: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return 4 * math.prod(self.shape)


def map_item_embedding(path: Path, n_items: int, dim: int) -> np.ndarray:
    """The items' embedding of a bundle: the table in which its graph looks up `items`.

    Args:
        path: the bundle's ONNX file.
        n_items: V.
        dim: D.

    Returns:
        float32 [V + 1, D], read-only, backed by the file or one next to it; not necessarily aligned.

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
        float32 arrays, read-only, backed by the file or one next to it; not necessarily aligned.

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


def without_functions(model: Encoded) -> bytes:
    """The encoded model without its local functions; everything else is byte for byte as it was.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    start = 0
    for function in fields(model, 0, len(model), _MODEL_FUNCTIONS):
        kept.append(model[start : function.begin])
        start = function.stop
    kept.append(model[start:])
    return b"".join(kept)


def without_ranking(model: Encoded) -> bytes:
    """The encoded model with the output `state_out` alone, and the nodes and initializers that it needs.

    Asking ONNX Runtime for fewer outputs would not do: it computes all nodes.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    for field in fields(model, 0, len(model)):
        if field.number == _MODEL_GRAPH:
            kept.append(encode_bytes(_MODEL_GRAPH, _pruned(model, field)))
        else:
            kept.append(model[field.begin : field.stop])
    return b"".join(kept)


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
    external = external_data(content, tensor)
    if external is None:
        data = list(fields(content, tensor.start, tensor.stop, _TENSOR_RAW_DATA))
        pieces = [(field.start, field.stop - field.start) for field in data]
        file = path
    else:
        pieces = [(external.offset, external.length)]
        file = external_file(path, external)
    if len(pieces) != 1 or pieces[0][1] != 4 * math.prod(dims):
        raise ValueError("the table's data is not in the file in one piece")
    return _Place(file, pieces[0][0], tuple(dims))


def _pruned(model: Encoded, graph: Field) -> bytes:
    needed = {b"state_out"}
    nodes = set()
    for node in reversed(list(fields(model, graph.start, graph.stop, _GRAPH_NODE))):  # they are in order of use
        if needed.intersection(texts(model, node, _NODE_OUTPUT)):
            nodes.add(node)
            needed.update(_inputs(model, node))
    names = {_GRAPH_INITIALIZER: _TENSOR_NAME, _GRAPH_OUTPUT: _VALUE_NAME}
    kept: list[bytes] = []
    for field in fields(model, graph.start, graph.stop):
        if field.number == _GRAPH_NODE:
            keep = field in nodes
        else:
            name = names.get(field.number)
            keep = name is None or bool(needed.intersection(texts(model, field, name)))
        if keep:
            kept.append(model[field.begin : field.stop])
    return b"".join(kept)


def _inputs(model: Encoded, node: Field) -> Iterator[bytes]:
    """The names that a node reads, those that its inner graphs read included."""
    yield from texts(model, node, _NODE_INPUT)
    for attribute in fields(model, node.start, node.stop, _NODE_ATTRIBUTE):
        for number in _ATTRIBUTE_GRAPHS:
            for graph in fields(model, attribute.start, attribute.stop, number):
                yield from (
                    name
                    for output in fields(model, graph.start, graph.stop, _GRAPH_OUTPUT)
                    for name in texts(model, output, _VALUE_NAME)
                )
                for inner in fields(model, graph.start, graph.stop, _GRAPH_NODE):
                    yield from _inputs(model, inner)
