"""Reads the encoding of protocol buffers, for ONNX files: serving hosts have no onnx package."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Encoded: TypeAlias = bytes | mmap.mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: the field's number in the message.
        wire_type: VARINT, FIXED64, BYTES or FIXED32.
        value: the value of a VARINT, 0 of others.
        begin: where the field starts, its number included.
        start: where its content starts.
        stop: where both end.
    """

    number: int
    wire_type: int
    value: int
    begin: int
    start: int
    stop: int


def fields(content: Encoded, start: int, stop: int, number: int | None = None) -> Iterator[Field]:
    """The fields of the message between two places; with `number`, only those of that number.

    Raises:
        ValueError: no protocol buffer is there, or not all of it.
    """
    at = start
    while at < stop:
        begin = at
        key, at = varint(content, at, stop)
        wire_type, value, first = key & 7, 0, at
        if wire_type == VARINT:
            value, at = varint(content, at, stop)
        elif wire_type == BYTES:
            size, first = varint(content, at, stop)
            at = first + size
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError(f"no field of a protocol buffer is of kind {wire_type}, as at byte {begin}")
        if at > stop:
            raise ValueError("the protocol buffer ends early")
        if number is None or key >> 3 == number:
            yield Field(key >> 3, wire_type, value, begin, first, at)


def texts(content: Encoded, message: Field, number: int) -> list[bytes]:
    """The bytes of a message's fields of this number."""
    return [content[field.start : field.stop] for field in fields(content, message.start, message.stop, number)]


def varint(content: Encoded, at: int, stop: int) -> tuple[int, int]:
    """Read a number in groups of seven bits, the lowest first. Returns it and the place behind it.

    Raises:
        ValueError: there is none.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("the protocol buffer ends early")


def encode_bytes(number: int, content: bytes) -> bytes:
    """Encode a field that holds bytes or a message."""
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(content)) + content


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
