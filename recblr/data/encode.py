"""Columns of ids as numbers: ids become codes, with their types kept, and what is no id is named."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recblr.data.arrays import CodesArray, IdsArray, MaskArray, PositionsArray
from recblr.data.nulls import NOTHING_DECLARED, Nulls, advice, are_in
from recblr.data.readers import Column, FileTable, RawTable, one_line
from recblr.errors import DataError

IdType: TypeAlias = Literal["auto", "int", "string"]

_CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_FEW = 0.01  # of the rows: so few that make all ids strings may be mistakes
_EXACT_FLOAT = 2.0**53
_STRING = pa.large_string()
_UUID = "arrow.uuid"
_WITH_KERNELS = {"halffloat": pa.float32(), "string_view": _STRING, "binary_view": pa.large_binary()}


@dataclass(frozen=True, eq=False)
class EncodedIds:
    """A column of ids: row i holds `ids[codes[i]]`; -1 where it holds a null that was declared.

    The ids are distinct, in order of first appearance. `notes` says what a person should know of them.
    """

    codes: CodesArray
    ids: IdsArray
    notes: tuple[str, ...] = ()


def encode_ids(table: RawTable, position: int, id_type: IdType = "auto", nulls: Nulls = NOTHING_DECLARED) -> EncodedIds:
    """Number the ids of a column in order of first appearance.

    Integers stay integers and strings stay strings; text of a file without types becomes integers where every
    value is the canonical decimal form of an int64 ("7", not "007", "+1" or " 1"). Floats and decimals are
    integers if they are whole; UUIDs become strings in lower case.

    Args:
        table: the files' columns.
        position: which of them.
        id_type: "int" refuses all but integers, "string" makes integers their decimal form.
        nulls: what stands for null.

    Raises:
        DataError: a column of another type, a value that is no such id, or a null that is not declared.
    """
    return _Encoder(table, position, nulls).encode(id_type)


def first_rows(codes: CodesArray, n_values: int) -> PositionsArray:
    """For each code 0..n_values-1 the first row that holds it; N for a code that none holds."""
    first = np.full(n_values, len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last assignment stands: the smallest row
    return first


class _Encoder:
    """Encodes one column, and names the rows of what it refuses.

    `_codes` are those of all rows, -1 for null and for parts to come. They count the distinct values of the parts, one
    part after another, so that a value in two files still has two codes.
    """

    def __init__(self, table: RawTable, position: int, nulls: Nulls) -> None:
        self._table, self._position, self._nulls = table, position, nulls
        self._name = table.names[position]
        self._codes: CodesArray = np.full(len(table), -1, np.int32)

    def encode(self, id_type: IdType) -> EncodedIds:
        """The column as codes and distinct ids, of one type."""
        parts: list[pa.Array] = []
        n_values = 0
        for part, start in zip(self._table.parts, self._table.starts, strict=False):  # the last start is N
            parts.append(self._values_of(part, start, n_values))
            n_values += len(parts[-1])
        values, note = self._of_one_type(parts, id_type)
        encoded = values.dictionary_encode()
        codes = _renumbered(self._codes, encoded.indices.to_numpy(zero_copy_only=False))
        del self._codes  # its memory is wanted
        first = first_rows(codes, len(encoded.dictionary) + 1)[:-1]  # the last is that of -1
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        codes, ids = _renumbered(codes, rank), encoded.dictionary.take(pa.array(order))
        notes = [note] if note else []
        undeclared = _rows_of(codes, self._nulls.are_undeclared(ids))
        if undeclared.any():
            row = int(undeclared.argmax())
            notes.append(
                f"{np.count_nonzero(undeclared):,} rows have an {self._name} that often stands for null, the first "
                f"{ids[codes[row]].as_py()!r} in {self._table.place(row)}: it is an id, as --null-values has it not"
            )
        return EncodedIds(codes, ids.to_numpy(zero_copy_only=False), tuple(notes))

    def _values_of(self, part: FileTable, start: int, n_values: int) -> pa.Array:
        """The distinct values of a part, as integers or large strings; its codes are put into those of all rows.

        Args:
            part: whose first row is row `start` of all.
            start: that row.
            n_values: how many values come before.
        """
        column = part.columns[self._position]
        if not _can_be_ids(column.type):
            raise DataError(
                f"{part.file}: column {self._name!r} holds {column.type}: convert the ids to integers or strings"
            )
        codes, values = _codes_and_values(column)
        if _value_type(column.type) == _UUID:
            values = pa.array([str(uuid.UUID(bytes=value)) for value in values.to_pylist()], _STRING)
        null, empty = self._nulls.are_declared(values), are_in(values, [""])
        if self._nulls.drops_empty:
            null |= empty
        else:
            self._refuse(start, (codes < 0) | _rows_of(codes, empty), f"is empty: fill in an id, or {advice('')}")
        doubtful = np.flatnonzero(self._nulls.are_doubtful(values))
        for code in doubtful.tolist():
            value = str(values[code].as_py())
            drop = advice(value, may_be_kept=not pa.types.is_floating(values.type))
            self._refuse(start, codes == code, f"is {value!r}, which often stands for null: {drop}")
        used = np.zeros(len(values) + 1, bool)
        used[codes] = True  # the last is that of -1
        keep = used[:-1] & ~null
        if not keep.all():
            kept = np.where(keep, np.cumsum(keep, dtype=np.int32) - 1, -1)
            codes, values = _renumbered(codes, kept), values.filter(pa.array(keep))
        if n_values:
            codes = np.where(codes < 0, codes, codes + np.int32(n_values))
        self._codes[start : start + len(codes)] = codes
        return self._typed(values, n_values)

    def _refuse(self, start: int, rows: MaskArray, what: str) -> None:
        """Raise what is wrong with the first of some rows, counted from `start`."""
        if rows.any():
            raise DataError(f"{self._table.place(start + int(rows.argmax()))}: {self._name} {what}")

    def _typed(self, values: pa.Array, n_values: int) -> pa.Array:
        """Values of a part as integers or large strings; `n_values` come before them."""
        if pa.types.is_uint64(values.type):
            return values
        if _is_bytes(values.type):
            target, what = _STRING, "is not UTF-8 text"
        else:
            target, what = pa.int64(), "is no whole number that fits 64 bits exactly"
        converted = _converted(values, target)
        if converted is None:
            code = next(n for n in range(len(values)) if _converted(values.slice(n, 1), target) is None)
            value = one_line(repr(values[code].as_py()))
            self._refuse(
                0, self._codes == code + n_values, f"{value} {what}: correct it, or convert the ids to strings"
            )
        return converted

    def _of_one_type(self, parts: list[pa.Array], id_type: IdType) -> tuple[pa.Array, str]:
        """All parts' values as integers of one type or as large strings; and a note where few rows decide that."""
        untyped = [part.untyped[self._position] for part in self._table.parts]
        integers = [number for number, part in enumerate(parts) if part.type != _STRING and len(part)]
        strings = [
            number for number, part in enumerate(parts) if part.type == _STRING and len(part) and not untyped[number]
        ]
        if id_type == "auto" and integers and strings:
            raise DataError(
                f"column {self._name!r} holds integers in {self._table.parts[integers[0]].file} and strings in "
                f"{self._table.parts[strings[0]].file}: make them one with --id-type string or --id-type int"
            )
        if id_type == "string" or (id_type == "auto" and strings):
            return _concatenated(parts, _STRING), ""
        others = np.concatenate([_are_no_integers(part) for part in parts])
        if not others.any():
            return self._integers(parts), ""
        text = _concatenated(parts, _STRING)
        rows = _rows_of(self._codes, others)
        first = int(rows.argmax())
        value = one_line(repr(text[self._codes[first]].as_py()))
        if id_type == "int":
            self._refuse(0, rows, f"{value} is no integer of 64 bits: correct it, or leave --id-type int out")
        n_rows = np.count_nonzero(rows)
        if n_rows >= _FEW * len(rows) and not integers:
            return text, ""
        return text, (
            f"every {self._name} is a string because {n_rows:,} of {len(rows):,} rows hold no integer, the first "
            f"{value} in {self._table.place(first)}: --id-type int refuses them, --id-type string means it so"
        )

    def _integers(self, parts: list[pa.Array]) -> pa.Array:
        """All parts' integers as int64; as uint64 where one part is and no int64 could hold it, or all are."""
        kinds = {part.type for part in parts if len(part)}
        for kind in (pa.int64(), pa.uint64()) if kinds != {pa.uint64()} else (pa.uint64(),):
            try:
                return _concatenated(parts, kind)
            except pa.ArrowInvalid:
                continue
        negative = next(number for number, part in enumerate(parts) if len(part) and pc.min(part).as_py() < 0)
        large = next(number for number, part in enumerate(parts) if len(part) and pc.max(part).as_py() >= 2**63)
        raise DataError(
            f"column {self._name!r} holds integers below 0 in {self._table.parts[negative].file} and such beyond 63 "
            f"bits in {self._table.parts[large].file}: --id-type string makes them strings"
        )


def _codes_and_values(column: Column) -> tuple[CodesArray, pa.Array]:
    """Codes of the rows, -1 for null, and the distinct values they stand for."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    column = column.cast(_WITH_KERNELS.get(str(column.type), column.type))
    if pa.types.is_dictionary(column.type):
        encoded = column.unify_dictionaries().combine_chunks()
    else:
        encoded = column.dictionary_encode().combine_chunks()
    values = encoded.dictionary.dictionary_encode()  # one that was stored may hold null, and a value twice
    code_of_entry = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
    entries = pc.fill_null(encoded.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
    return _renumbered(entries, code_of_entry), values.dictionary


def _renumbered(codes: CodesArray, new: PositionsArray) -> CodesArray:
    """`new[code]` for each code, and -1 for -1."""
    renumbered: CodesArray = np.append(new.astype(np.int32), np.int32(-1))[codes]
    return renumbered


def _rows_of(codes: CodesArray, values: MaskArray) -> MaskArray:
    """Which rows hold one of the values of a mask."""
    if not values.any():
        return np.zeros(len(codes), bool)
    rows: MaskArray = np.append(values, False)[codes]
    return rows


def _value_type(kind: pa.DataType) -> pa.DataType | str:
    """The type of the values of a column, which a dictionary may hold; UUIDs by the name of their type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return getattr(kind, "extension_name", kind)


def _can_be_ids(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    if isinstance(kind, str):
        return kind == _UUID
    of_numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    return _is_bytes(kind) or any(is_one(kind) for is_one in of_numbers)


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values of a type are strings, or bytes of any length, which may be strings."""
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return str(kind) in names


def _converted(values: pa.Array, target: pa.DataType) -> pa.Array | None:
    """Values of another type; None where one of them is not exactly one of it."""
    if (
        pa.types.is_floating(values.type)
        and not pc.all(pc.less_equal(pc.abs(values.cast(pa.float64())), _EXACT_FLOAT)).as_py()
    ):
        return None
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        return None


def _are_no_integers(values: pa.Array) -> MaskArray:
    """Which of the values, integers or strings, are not the canonical decimal form of an int64."""
    if values.type != _STRING:
        return np.zeros(len(values), bool)
    canonical = pc.match_substring_regex(values, _CANONICAL_INTEGER)
    others: MaskArray = ~canonical.to_numpy(zero_copy_only=False)
    if _converted(values.filter(canonical), pa.int64()) is None:
        for number in np.flatnonzero(~others).tolist():
            others[number] = not -(2**63) <= int(values[number].as_py()) < 2**63
    return others


def _concatenated(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays([part.cast(kind) for part in parts])
