"""Timestamps as numbers: plain ones as they are, dates and times as integers of a unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recblr.data.arrays import MaskArray, TimestampsArray
from recblr.data.nulls import NOTHING_DECLARED, NULL_TOKENS, Nulls, advice
from recblr.data.readers import Column, FileTable, RawTable, one_line
from recblr.errors import ConfigError, DataError

Moment: TypeAlias = int | float | str  # a number in the timestamps' unit, or ISO 8601

NANOSECONDS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # from days to the finest
_NUMBERS = "plain numbers"
_ZONED = "dates and times with a time zone"
_ZONELESS = "dates and times without a time zone"
_TARGETS = {
    _NUMBERS: (pa.int64(), pa.float64()),
    _ZONELESS: (pa.timestamp("us"), pa.timestamp("ns")),
    _ZONED: (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
}


@dataclass(frozen=True, eq=False)
class Times:
    """The timestamps of all rows.

    Attributes:
        values: int64 where all are integers or dates and times, else float64; 0 where `null`.
        unit: of dates and times since 1970-01-01 in UTC: "D", "s", "ms", "us" or "ns"; None: plain numbers.
        null: [N] rows without one, which were declared; None: there is none.
    """

    values: TimestampsArray
    unit: str | None
    null: MaskArray | None = None


def read_times(table: RawTable, nulls: Nulls = NOTHING_DECLARED) -> Times:
    """The timestamps as numbers.

    Numbers stay as they are. ISO 8601 text becomes microseconds since 1970-01-01 in UTC, or nanoseconds where some
    value has more than six decimals; without a zone it counts as UTC. Typed dates and times keep their unit, and
    of several units the finest is that of all.

    Raises:
        DataError: a column of another type; a timestamp that is missing, or neither a finite number nor a date or
            time; numbers beside dates, or times with a zone beside times without.
    """
    masks = [_null_rows(table, number, nulls) for number in range(len(table.parts))]
    columns = [_typed(table, number, mask) for number, mask in enumerate(masks)]
    kinds = [_kind(column.type) if len(column) else None for column in columns]
    known = next((number for number, kind in enumerate(kinds) if kind), 0)
    for part, kind in zip(table.parts, kinds, strict=True):
        if kind not in (None, kinds[known]):
            raise DataError(
                f"{part.file}: the {table.names[-1]}s are {kind}, and {kinds[known]} in {table.parts[known].file}: "
                "write them in one way"
            )
    if kinds[known] in (None, _NUMBERS):
        unit, numbers = None, [column.to_numpy() for column in columns]
    else:
        units = [_unit(column.type) for column in columns if len(column)]
        unit = min(units, key=lambda name: NANOSECONDS[name])
        numbers = [_since_epoch(part, column, unit) for part, column in zip(table.parts, columns, strict=True)]
    if all(mask is None for mask in masks):
        return Times(numbers[0] if len(numbers) == 1 else np.concatenate(numbers), unit)
    given = [np.ones(len(part), bool) if mask is None else ~mask for part, mask in zip(table.parts, masks, strict=True)]
    valid = np.concatenate(given)
    read = np.concatenate([array for array in numbers if len(array)] or [np.empty(0, np.int64)])
    values = np.zeros(len(table), read.dtype)
    values[valid] = read
    return Times(values, unit, ~valid)


def parse_moment(text: str) -> int:
    """Nanoseconds since 1970-01-01 in UTC of ISO 8601 text, which counts as UTC where it has no zone.

    Raises:
        ConfigError: it is no date or time.
    """
    for kind in (_ZONELESS, _ZONED):
        for target in _TARGETS[kind]:
            moment = _converted(pa.array([text.strip()]), target)
            if moment is not None:
                return int(moment[0].value) * NANOSECONDS[target.unit]
    raise ConfigError(
        f"{text!r} is neither a number nor a date or time: write it as 2024-05-01, 2024-05-01T12:34:56 or "
        "2024-05-01T12:34:56+02:00"
    )


def moment_in_unit(moment: Moment, unit: str | None, timestamps: TimestampsArray) -> int | float:
    """A moment as a number to compare timestamps with: those before it are smaller.

    Args:
        moment: a number, which stays as it is, or ISO 8601 text.
        unit: of the timestamps; None: they are plain numbers.
        timestamps: for the error.

    Raises:
        ConfigError: text that is no date or time.
        DataError: a date or time where the timestamps are plain numbers.
    """
    if not isinstance(moment, str):
        return moment
    nanoseconds = parse_moment(moment)
    if unit is None:
        raise DataError(
            f"{moment} is a date or time, and the data's timestamps are plain numbers {time_span(timestamps, None)}: "
            "give a number in their unit"
        )
    return -(-nanoseconds // NANOSECONDS[unit])  # rounded up: what is smaller was before it


def typed_times(timestamps: TimestampsArray, unit: str | None) -> pa.Array:
    """Timestamps of a unit as Arrow's dates or timestamps without a zone; plain numbers as they are."""
    numbers = pa.array(timestamps)
    if unit is None:
        return numbers
    return numbers.cast(pa.int32()).cast(pa.date32()) if unit == "D" else numbers.cast(pa.timestamp(unit))


def time_span(timestamps: TimestampsArray, unit: str | None) -> str:
    """The earliest and the latest of some timestamps, "from 3 to 9", as dates where they have a unit."""
    first, last = timestamps.min(), timestamps.max()
    if unit is not None:
        dates = typed_times(np.array([first, last]), unit).cast(pa.string())
        first, last = (re.sub(r"( 00:00:00)?(\.0+)?$", "", date) for date in dates.to_pylist())
    return f"from {first} to {last}"


def _null_rows(table: RawTable, number: int, nulls: Nulls) -> MaskArray | None:
    """The rows of a part whose timestamp is null, which must be declared; None where there is none."""
    column = _plain(table.parts[number])
    missing = column.is_null() if column.null_count else None
    if missing is not None and not nulls.drops_empty:
        row = table.starts[number] + pc.index(missing, True).as_py()
        raise DataError(f"{table.place(row)}: {table.names[-1]} is empty: fill in a time, or {advice('')}")
    if nulls.declared is None:
        return None
    null = nulls.are_declared(column)
    if missing is not None:
        null |= missing.to_numpy()
    return null if null.any() else None


def _plain(part: FileTable) -> Column:
    """A part's timestamps without dictionary; strings without white space around them."""
    column = part.columns[-1]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if str(column.type) in ("string_view", "binary", "large_binary", "binary_view"):
        try:
            column = column.cast(pa.large_string())
        except pa.ArrowInvalid as error:
            raise DataError(f"{part.file}: a timestamp is not UTF-8 text: convert the timestamps to numbers") from error
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float64())
    is_string = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return pc.ascii_trim_whitespace(column) if is_string else column


def _typed(table: RawTable, number: int, null: MaskArray | None) -> Column:
    """A part's timestamps but the null ones as int64, float64, dates or timestamps."""
    column = _plain(table.parts[number])
    if null is not None:
        column = column.filter(pa.array(~null))
    kind = column.type
    targets: tuple[pa.DataType, ...] = ()
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        first = column[0].as_py() if len(column) else "0"
        targets = next((kinds for kinds in _TARGETS.values() if _fits(pa.array([first]), kinds)), ())
    elif pa.types.is_integer(kind):
        targets = (pa.int64(),)
    elif pa.types.is_floating(kind):
        targets = (pa.float64(),)
    elif pa.types.is_null(kind):
        return column.cast(pa.int64())
    else:
        raise DataError(
            f"{table.parts[number].file}: column {table.names[-1]!r} holds {kind}: convert the timestamps to numbers, "
            "such as seconds, or to dates or times"
        )
    for target in targets:
        converted = _converted(column, target)
        if converted is not None:
            return converted
    row = _first_refused(column, targets)
    value = column[row].as_py()
    row = table.starts[number] + (row if null is None else int(np.flatnonzero(~null)[row]))
    raise DataError(f"{table.place(row)}: {table.names[-1]} {_what_is_wrong(value, targets)}")


def _what_is_wrong(value: object, targets: tuple[pa.DataType, ...]) -> str:
    if value == "":
        return f"is empty: fill in a time, or {advice('')}"
    kinds = [kind for kind, others in _TARGETS.items() if isinstance(value, str) and _fits(pa.array([value]), others)]
    if kinds and targets:
        before = next(kind for kind, others in _TARGETS.items() if others == targets)
        if before in kinds:
            return (
                f"{value!r} and those before do not fit one unit: nanoseconds, which more than six decimals need, "
                "reach from 1677 to 2262; round the times to microseconds, or correct them"
            )
        return f"{value!r} is one of {kinds[0]}, and those before are {before}: write all in one way"
    drop = f"; if it stands for null, {advice(value, may_be_kept=False)}" if value in NULL_TOKENS else ""
    return (
        f"{one_line(repr(value))} is not a finite number of 64 bits, nor a date or time such as 2024-05-01T12:34:56: "
        f"correct it or remove the row{drop}"
    )


def _fits(values: Column | pa.Array, targets: tuple[pa.DataType, ...]) -> bool:
    return any(_converted(values, target) is not None for target in targets)


def _converted(values: Column | pa.Array, target: pa.DataType) -> Column | pa.Array | None:
    """Values as numbers or times of a type; None where one is none, or not finite."""
    try:
        converted = values.cast(target)
    except pa.ArrowInvalid:
        return None
    finite = pa.types.is_timestamp(target) or pc.all(pc.is_finite(converted)).as_py() in (True, None)
    return converted if finite else None


def _first_refused(column: Column, targets: tuple[pa.DataType, ...]) -> int:
    """The first row up to which no target takes all values; there must be one."""
    return max((_first_refused_by(column, target) for target in targets), default=0)


def _first_refused_by(column: Column, target: pa.DataType) -> int:
    """The first row whose value a target does not take, by bisection; there must be one."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        if _converted(column.slice(low, middle - low), target) is None:
            high = middle
        else:
            low = middle
    return low


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _ZONED if getattr(kind, "tz", None) else _ZONELESS
    return _NUMBERS


def _unit(kind: pa.DataType) -> str:
    if pa.types.is_date32(kind):
        return "D"
    return "ms" if pa.types.is_date64(kind) else str(kind.unit)


def _since_epoch(part: FileTable, column: Column, unit: str) -> TimestampsArray:
    """Dates or times as int64 of a unit."""
    if unit == "D":
        column = column.cast(pa.int32())
    else:
        try:
            column = column.cast(pa.timestamp(unit, getattr(column.type, "tz", None)))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{part.file}: a timestamp lies outside the range of 64 bits in {unit}, the finest unit of all files: "
                "correct it, or store the finer times in a coarser unit"
            ) from error
    numbers: TimestampsArray = column.cast(pa.int64()).to_numpy()
    return numbers
