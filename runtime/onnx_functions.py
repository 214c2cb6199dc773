"""An ONNX file without its local functions, by the layout of its encoding: serving hosts have no onnx package."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TypeAlias

_Encoded: TypeAlias = bytes | mmap.mmap

# ModelProto.functions, in ONNX's protocol buffers.
_FUNCTIONS = 25
_VARINT, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def read_without_functions(path: Path) -> bytes:
    """Read a model, leaving its local functions out, so that their nodes fall to the engine's operators.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a whole protocol buffer.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return without_functions(content)


def without_functions(model: _Encoded) -> bytes:
    """The encoded model without its local functions; everything else is byte for byte as it was.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    start = at = 0
    while at < len(model):
        field, end = _field(model, at)
        if field == _FUNCTIONS:
            kept.append(model[start:at])
            start = end
        at = end
    kept.append(model[start:])
    return b"".join(kept)


def _field(model: _Encoded, at: int) -> tuple[int, int]:
    """The number of the field that begins at `at`, and where it ends."""
    key, at = _varint(model, at)
    kind = key & 7
    if kind == _VARINT:
        _, at = _varint(model, at)
    elif kind == _WITH_LENGTH:
        length, at = _varint(model, at)
        at += length
    elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
        at += 8 if kind == _EIGHT_BYTES else 4
    else:
        raise ValueError(f"no field of a protocol buffer is of kind {kind}")
    if at > len(model):
        raise ValueError("the protocol buffer ends early")
    return key >> 3, at


def _varint(model: _Encoded, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(model) and shift < 64:
        byte = model[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the protocol buffer ends early")
