"""From the columns of a file to numbers: ids become codes, times int64 or float64; bad values are named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recblr.data.arrays import CodesArray, IdsArray, PositionsArray, TimestampsArray
from recblr.data.readers import Column, RawTable, one_line
from recblr.errors import DataError

_CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]*)$"


@dataclass(frozen=True, eq=False)
class EncodedIds:
    """A column of ids: row i holds `ids[codes[i]]`. The ids are distinct, in order of first appearance."""

    codes: CodesArray
    ids: IdsArray


def encode_ids(table: RawTable, column: Column, name: str) -> EncodedIds:
    """Number the ids of a column in order of first appearance.

    Integers stay integers and strings stay strings. A text column whose every value is the canonical decimal
    form of an int64 becomes integers; with a single other value in it ("007", "+1", " 1") all stay strings.

    Raises:
        DataError: a column of another type, or a null or empty id.
    """
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if str(value_type) == "string_view":
        column, value_type = column.cast(pa.large_string()), pa.large_string()
    is_string = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
    if not is_string and not pa.types.is_integer(value_type):
        raise DataError(f"{table.path}: column {name!r} holds {value_type}: convert the ids to integers or strings")
    if pa.types.is_dictionary(column.type):
        encoded = column.unify_dictionaries().combine_chunks()
    else:
        encoded = column.dictionary_encode().combine_chunks()
    # A stored dictionary may hold a null, the same value twice, and values no row uses.
    values = encoded.dictionary.dictionary_encode()
    code_of_entry = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    entries = pc.fill_null(encoded.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
    codes = np.append(code_of_entry, np.int32(-1))[entries]  # entry -1, a null, takes the -1 appended
    _refuse_missing_ids(table, name, codes, values.dictionary, is_string)
    codes, order = _in_order_of_appearance(codes, len(values.dictionary))
    distinct = values.dictionary.take(pa.array(order))
    if is_string and table.is_text:
        distinct = _integers_if_all(distinct)
    ids = distinct.to_numpy(zero_copy_only=False)
    if ids.dtype != object and ids.dtype != np.uint64:
        ids = ids.astype(np.int64)
    return EncodedIds(codes, ids)


def _refuse_missing_ids(table: RawTable, name: str, codes: CodesArray, values: pa.Array, is_string: bool) -> None:
    missing = codes < 0
    empty = pc.index(values, pa.scalar("", values.type)).as_py() if is_string else -1
    if empty >= 0:
        missing |= codes == empty
    if missing.any():
        place = table.place(int(missing.argmax()))
        raise DataError(f"{place}: {name} is empty: fill in an id or remove the row")


def _in_order_of_appearance(codes: CodesArray, n_values: int) -> tuple[CodesArray, PositionsArray]:
    """Renumber codes 0..n_values-1 by first appearance; also the old codes in that order, if used."""
    first = first_rows(codes, n_values)
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    rank = np.zeros(n_values, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[codes], order


def first_rows(codes: CodesArray, n_values: int) -> PositionsArray:
    """For each code 0..n_values-1 the first row that holds it; N for a code that none holds."""
    first = np.full(n_values, len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last assignment stands: the smallest row
    return first


def _integers_if_all(values: pa.Array) -> pa.Array:
    if not pc.all(pc.match_substring_regex(values, _CANONICAL_INTEGER)).as_py():
        return values
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:  # beyond int64
        return values


def numeric_timestamps(table: RawTable) -> TimestampsArray:
    """The timestamps: int64 where all are integers, else float64; dates and times as int64 in their own unit.

    Raises:
        DataError: a column of another type, or a timestamp that is null, no number, or not finite.
    """
    column, name = table.timestamps, table.columns.timestamp
    kind = column.type
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise DataError(f"{table.place(row)}: {name} is empty: fill in a number or remove the row")
    targets = [pa.int64()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = pc.ascii_trim_whitespace(column)
        targets = [pa.int64(), pa.float64()]
    elif pa.types.is_floating(kind):
        targets = [pa.float64()]
    elif pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif not pa.types.is_integer(kind) and not pa.types.is_timestamp(kind):
        raise DataError(
            f"{table.path}: column {name!r} holds {kind}: convert the timestamps to numbers, such as seconds"
        )
    for target in targets:
        numbers = _numbers(column, target)
        if numbers is not None:
            timestamps: TimestampsArray = numbers.to_numpy()
            return timestamps
    row = _first_refused(column, targets[-1])
    value = column[row].as_py()
    what = "is empty" if value == "" else f"{one_line(repr(value))} is not a finite number of 64 bits"
    raise DataError(f"{table.place(row)}: {name} {what}: fill in a number, such as seconds, or remove the row")


def _numbers(column: Column, target: pa.DataType) -> Column | None:
    """The column as numbers of a type; None where a value is not one, or not finite."""
    try:
        numbers = column.cast(target)
    except pa.ArrowInvalid:
        return None
    return numbers if pc.all(pc.is_finite(numbers)).as_py() else None


def _first_refused(column: Column, target: pa.DataType) -> int:
    """The first row whose value is no finite number of a type, by bisection; there must be one."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        if _numbers(column.slice(low, middle - low), target) is None:
            high = middle
        else:
            low = middle
    return low
