"""Item ids as callers give them: an id's type, its exact form in the other type, and any array of ids as a list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np

from recblr.array_types import ItemId
from recblr.errors import ConfigError, shown

IdType: TypeAlias = Literal["integer", "string"]

# Integers have at most so many digits: more than any id has, and few enough for int() and str().
ID_LIMIT = 10**100
CANONICAL_INTEGER = re.compile("0|-?[1-9][0-9]{0,99}")


def id_type_of(value: Any) -> IdType | None:
    """The type of an id; None for what is none, such as a bool, a float, a date, bytes or None.

    Integers are Python's and NumPy's, strings `str` and `np.str_`; subclasses are taken for what they hold.
    """
    if isinstance(value, str):
        return "string"
    if isinstance(value, np.generic):  # np.timedelta64 calls itself an np.integer
        return "integer" if value.dtype.kind in "iu" else None
    return "integer" if isinstance(value, int) and not isinstance(value, bool) else None


def exact_id(value: Any, id_type: IdType) -> ItemId | None:
    """An id as a Python `int` or `str` of the type asked for; None where it has no exact form in it.

    An integer and the string of its canonical decimal form, 25 and "25", are one id. No other string is an integer: not
    "007", "+1", " 1", "1.0", "1_000", "-0", nor digits of other scripts.
    """
    given = id_type_of(value)
    if given is None:
        return None
    if given == "string":
        if id_type == "string":
            return str.__str__(value)  # str() of an enumeration's member is its name
        return int(value) if CANONICAL_INTEGER.fullmatch(value) else None
    number = int(value)
    if id_type == "integer":
        return number
    return str(number) if abs(number) < ID_LIMIT else None


def in_type(item_ids: list[ItemId], id_type: IdType) -> list[ItemId]:
    """Ids in a type, in order, without those that have no exact form in it."""
    if set(map(type, item_ids)) <= {int if id_type == "integer" else str}:
        return item_ids
    own = (exact_id(item_id, id_type) for item_id in item_ids)
    return [item_id for item_id in own if item_id is not None]


def parse_id(text: str, id_type: IdType) -> ItemId:
    """An item id as typed in a shell; blanks around an integer do not count.

    Raises:
        ConfigError: the ids are integers, and `text` is none in its canonical decimal form.
    """
    if id_type == "string":
        return text
    if not CANONICAL_INTEGER.fullmatch(text.strip()):
        raise ConfigError(
            f"item id {shown(text)} is not an integer in plain decimal form, as this model's ids are: check the ids"
        )
    return int(text)


def is_sequence(value: object) -> TypeGuard[Collection[Any]]:
    """Whether `value` is a list, a tuple, a set, an array of any library with a dimension at least, or the like."""
    if type(value) is list or type(value) is tuple:  # mostly; the checks below take microseconds
        return True
    if isinstance(value, str | bytes | Mapping) or not (isinstance(value, Sized) and isinstance(value, Iterable)):
        return False
    return bool(getattr(value, "ndim", 1) > 0)


def as_list(item_ids: Iterable[object]) -> list[Any] | tuple[Any, ...]:
    """Ids as Python's own objects: those of arrays, tensors and columns of data frames, too."""
    if isinstance(item_ids, list | tuple):
        return item_ids
    if isinstance(item_ids, np.ndarray) and item_ids.dtype.kind in "mM":
        return list(item_ids)  # `tolist` makes integers of dates
    for name in ("tolist", "to_pylist", "as_py"):  # the latter of Arrow's chunked arrays, and of a list in one of lists
        if convert := getattr(item_ids, name, None):
            listed: list[Any] = convert()
            return listed
    return list(item_ids)
