"""The external data of an ONNX file: weights in files next to it. Finds them, and refuses data from elsewhere.

An ONNX file may name any file for a tensor's data. In a bundle's, only initializers may, and only files in its folder.
"""

from __future__ import annotations

import mmap
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from recblr.errors import BundleError
from recblr.runtime.bundle.manifest import COPY_AGAIN
from recblr.runtime.bundle.protobuf import BYTES, Encoded, Field, fields, texts

# Numbers of onnx.proto: which fields of a message lead to tensors, and to what message each.
_GRAPH, _INITIALIZER, _TENSOR = "GraphProto", "initializer", "TensorProto"
_MESSAGES = {
    "ModelProto": {7: _GRAPH, 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: _GRAPH, 2: _GRAPH},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    _GRAPH: {1: "NodeProto", 5: _INITIALIZER, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: _GRAPH,
        10: _TENSOR,
        11: _GRAPH,
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
}
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_NUMBER = re.compile(rb"\d{1,18}")


@dataclass(frozen=True, slots=True)
class ExternalData:
    """The place of a tensor's external data.

    Attributes:
        name: the name of a file in the ONNX file's folder.
        offset: of the first byte in it.
        length: in bytes.
    """

    name: str
    offset: int
    length: int


def external_data(content: Encoded, tensor: Field) -> ExternalData | None:
    """The place of a TensorProto's external data; None if its data is in the ONNX file itself.

    Raises:
        ValueError: the place is not given by a plain file name, an offset and a length.
    """
    entries = list(fields(content, tensor.start, tensor.stop, _TENSOR_EXTERNAL_DATA))
    locations = list(fields(content, tensor.start, tensor.stop, _TENSOR_DATA_LOCATION))
    if not entries and not any(location.value for location in locations):
        return None
    entry_values: dict[bytes, bytes] = {}
    for entry in entries:
        key, value = ([b"", *texts(content, entry, number)][-1] for number in (_ENTRY_KEY, _ENTRY_VALUE))
        if key in entry_values:
            raise ValueError(f"a tensor's external data has two values of {key[:20]!r}")
        entry_values[key] = value
    name = entry_values.get(b"location", b"").decode("utf-8", "replace")
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name or "\\" in name:
        raise ValueError(f"a tensor's external data lies in {name[:80]!r}, which is no plain file name")
    numbers = [entry_values.get(key, b"") for key in (b"offset", b"length")]
    if not all(map(_NUMBER.fullmatch, numbers)):
        raise ValueError(f"a tensor's external data in {name} has no offset and length")
    return ExternalData(name, *map(int, numbers))


def external_file(model_path: Path, data: ExternalData) -> Path:
    """The path of the file with a tensor's data, once it was checked.

    Raises:
        ValueError: it is missing, a link or no file, or too short.
    """
    path = model_path.parent / data.name
    try:
        status = path.lstat()
    except OSError as error:
        raise ValueError(f"{data.name} cannot be read ({error.strerror or error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{data.name} is a link or no file")
    if data.offset + data.length > status.st_size:
        raise ValueError(
            f"{data.name} has {status.st_size:,} bytes, a tensor's data ends at {data.offset + data.length:,}"
        )
    return path


def external_files(model_path: Path) -> set[str]:
    """The names of all files next to an ONNX file in which it has data.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or has data elsewhere, or of anything but its initializers.
    """
    names = set()
    with model_path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for kind, tensor in _tensors(content):
            data = external_data(content, tensor)
            if data is not None:
                if kind != _INITIALIZER:
                    raise ValueError(f"{data.name} has data of a tensor that is no initializer")
                names.add(external_file(model_path, data).name)
    return names


def verify_external_data(model_path: Path, listed: Collection[str]) -> None:
    """Check that an ONNX file has data in no file but those that its bundle's manifest lists, which are verified.

    Raises:
        BundleError: it has, or it cannot be read.
    """
    try:
        unlisted = external_files(model_path) - set(listed)
    except OSError as error:
        raise BundleError(f"{model_path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{model_path} is damaged, {error}: {COPY_AGAIN}") from error
    if unlisted:
        raise BundleError(f"{model_path} has data in {min(unlisted)}, which its manifest does not list: {COPY_AGAIN}")


def _tensors(content: Encoded) -> Iterator[tuple[str, Field]]:
    """All tensors of a model, however deep, each with the kind of message that holds it."""
    pending = [("ModelProto", Field(0, BYTES, 0, 0, 0, len(content)))]
    while pending:
        kind, message = pending.pop()
        inner = _MESSAGES.get(kind)
        if inner is None:
            yield kind, message
            continue
        pending += [
            (inner[field.number], field)
            for field in fields(content, message.start, message.stop)
            if field.wire_type == BYTES and field.number in inner
        ]
