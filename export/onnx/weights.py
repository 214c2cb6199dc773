"""Where a bundle's files hold the model's parameters, for its manifest: no reader has to know ONNX files."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recblr.array_types import WeightArray
from recblr.errors import ExportError
from recblr.model import RecBLR
from recblr.runtime.bundle.external_data import external_data
from recblr.runtime.bundle.manifest import MODEL_FILE
from recblr.runtime.bundle.protobuf import VARINT, Encoded, Field, fields, varint
from recblr.runtime.bundle.weights import read_weight

# Numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_RAW_DATA = 1, 2, 9
_FLOAT32 = 1
# A parameter that the initial state holds, and the graph takes from there.
_IN_THE_STATE = "initial_h"


class _Initializer(NamedTuple):
    file: str
    offset: int
    shape: tuple[int, ...]

    def entry(self) -> dict[str, Any]:
        return {"file": self.file, "offset": self.offset, "shape": list(self.shape), "dtype": "float32"}


def weight_places(folder: Path, model: RecBLR) -> dict[str, dict[str, Any]]:
    """The manifest's "weights": where the files that `write_graph` wrote hold each of a model's parameters.

    PyTorch's exporter keeps one of several equal initializers, to which their parameters all lead, and no zeros that
    are only added.

    Args:
        folder: of the bundle.
        model: that it was exported from, on the CPU.

    Raises:
        ExportError: the files do not hold a parameter as it is.
    """
    held: dict[tuple[int, ...], list[_Initializer]] = {}
    with (folder / MODEL_FILE).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for initializer in _initializers(content):
            held.setdefault(initializer.shape, []).append(initializer)
    places: dict[str, dict[str, Any]] = {}
    for name, parameter in model.state_dict().items():
        array = parameter.detach().numpy().astype("<f4", copy=False)
        entries = (initializer.entry() for initializer in held.get(array.shape, []))
        place = next((entry for entry in entries if _is_same(read_weight(folder, entry), array)), None)
        if place is None and not array.any():
            place = {"zeros": True, "shape": list(array.shape), "dtype": "float32"}
        if place is not None:
            places[name] = place
        elif name != _IN_THE_STATE:
            raise ExportError(
                f"PyTorch's exporter did not keep the weight {name} as it is: install another version of torch"
            )
    places.pop(_IN_THE_STATE, None)
    return places


def _initializers(content: Encoded) -> Iterator[_Initializer]:
    """The float32 initializers of an ONNX file, whose data lies in one piece."""
    for graph in fields(content, 0, len(content), _MODEL_GRAPH):
        for tensor in fields(content, graph.start, graph.stop, _GRAPH_INITIALIZER):
            if [field.value for field in _fields(content, tensor, _TENSOR_DATA_TYPE)] != [_FLOAT32]:
                continue
            shape = _shape(content, tensor)
            external = external_data(content, tensor)
            data = _fields(content, tensor, _TENSOR_RAW_DATA)
            if external is not None:
                yield _Initializer(external.name, external.offset, shape)
            elif data and data[0].stop - data[0].start == 4 * math.prod(shape) > 0:
                yield _Initializer(MODEL_FILE, data[0].start, shape)


def _shape(content: Encoded, tensor: Field) -> tuple[int, ...]:
    dims: list[int] = []
    for field in _fields(content, tensor, _TENSOR_DIMS):
        if field.wire_type == VARINT:
            dims.append(field.value)
        else:  # packed
            at = field.start
            while at < field.stop:
                value, at = varint(content, at, field.stop)
                dims.append(value)
    return tuple(dims)


def _fields(content: Encoded, tensor: Field, number: int) -> list[Field]:
    return list(fields(content, tensor.start, tensor.stop, number))


def _is_same(held: WeightArray, weight: WeightArray) -> bool:
    """Bit for bit: NaN is NaN, and 0.0 is not -0.0."""
    return np.array_equal(held.reshape(-1).view(np.uint32), np.ascontiguousarray(weight).reshape(-1).view(np.uint32))
