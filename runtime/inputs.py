"""Turns what callers give into what a backend takes: items, exclusions, k, states. Errors name the value."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from recblr.array_types import ItemId, ItemsArray, StateArray, StatesArray
from recblr.errors import RequestError, shown
from recblr.item_ids import is_sequence
from recblr.runtime.allow_list import AllowList
from recblr.runtime.limits import DEFAULT_K
from recblr.vocabulary import ItemVocabulary

ItemIds: TypeAlias = Sequence[ItemId] | np.ndarray
RowsOfIds: TypeAlias = Sequence[ItemIds] | np.ndarray
Exclude: TypeAlias = Sequence[ItemIds | None] | np.ndarray | None
Allowed: TypeAlias = ItemIds | AllowList
Only: TypeAlias = Allowed | Sequence[Allowed | None] | None
States: TypeAlias = StatesArray | Sequence[StateArray | None] | None


def encode_rows(vocabulary: ItemVocabulary, rows: object, name: str) -> tuple[list[ItemsArray], list[int]]:
    """Each row's known items, in order, and how many of its ids are unknown; `name` is for the errors.

    Raises:
        RequestError: not a sequence of sequences, or a row of which none can be an id of this model; see
            `ItemVocabulary.encode`.
    """
    if not is_sequence(rows):
        raise RequestError(f"{name} is {shown(rows)}: give one sequence of item ids per row")
    items: list[ItemsArray] = []
    unknown: list[int] = []
    for b, row in enumerate(rows):
        if not is_sequence(row) or getattr(row, "ndim", 1) != 1:
            raise RequestError(f"{name}[{b}] is {shown(row)}: give a sequence of item ids per row")
        try:
            encoded, skipped = vocabulary.encode(row)
        except RequestError as error:
            raise RequestError(f"{name}[{b}]: {error}") from error
        items.append(encoded)
        unknown.append(skipped)
    return items, unknown


_NO_ITEMS: ItemsArray = np.empty(0, np.int32)


def encode_exclusions(
    vocabulary: ItemVocabulary,
    exclude: Exclude,
    n_rows: int,
    seen: Sequence[ItemsArray] | None = None,
) -> list[ItemsArray]:
    """Each row's items that must not be ranked: the known ones of `exclude`, and `seen`; sorted, unique.

    Raises:
        RequestError: not a sequence of `n_rows` sequences or Nones, or one of them as `encode_rows` refuses it.
    """
    if exclude is None:
        return [_NO_ITEMS] * n_rows if seen is None else [np.unique(row) for row in seen]
    if is_sequence(exclude):
        exclude = [() if row is None else row for row in exclude]
    items, _ = encode_rows(vocabulary, exclude, "exclude")
    if len(items) != n_rows:
        raise RequestError(f"exclude has {len(items)} rows for {n_rows}: give one list per row, or None")
    if seen is not None:
        items = [np.concatenate(pair) for pair in zip(items, seen, strict=True)]
    return [np.unique(row) if len(row) else row for row in items]


def encode_allowed(vocabulary: ItemVocabulary, only: Only, n_rows: int) -> ItemsArray | list[ItemsArray | None] | None:
    """The items that may be ranked, sorted: one array for all rows, or one per row, None where a row may have all.

    Raises:
        RequestError: neither a sequence of item ids nor one of `n_rows` such sequences or Nones, or ids as
            `ItemVocabulary.encode` refuses them.
    """
    if only is None:
        return None
    if isinstance(only, AllowList):
        return only.items(vocabulary)
    if not is_sequence(only):
        raise RequestError(f"only is {shown(only)}: give a sequence of item ids, or one per row")
    first = next(iter(only), 0)
    is_per_row = first is None and isinstance(
        only, list | tuple
    )  # an array's missing value is no row that may have all
    if not is_per_row and not isinstance(first, AllowList) and not is_sequence(first):
        try:
            items, _ = vocabulary.encode(only)
        except RequestError as error:
            raise RequestError(f"only: {error}") from error
        return np.unique(items)
    unprepared = [() if row is None or isinstance(row, AllowList) else row for row in only]
    rows, _ = encode_rows(vocabulary, unprepared, "only")
    if len(rows) != n_rows:
        raise RequestError(f"only has {len(rows)} rows for {n_rows}: give one list of item ids for all, or one per row")
    return [
        None if row is None else row.items(vocabulary) if isinstance(row, AllowList) else np.unique(items)
        for row, items in zip(only, rows, strict=True)
    ]


def check_k(k: int | None, n_items: int) -> int:
    """`k` as a Python int; of None, `DEFAULT_K` or all items of a smaller catalogue.

    Raises:
        RequestError: no whole number from 1 to `n_items`.
    """
    if k is None:
        return min(DEFAULT_K, n_items)
    try:
        number = operator.index(k)
    except TypeError as error:
        raise RequestError(f"k is {k!r}: give a whole number from 1 to {n_items}") from error
    if isinstance(k, bool) or number < 1:
        raise RequestError(f"k is {k!r}: give a whole number from 1 to {n_items}")
    if number > n_items:
        raise RequestError(f"k is {number}, but the catalogue has {n_items} items: ask for at most those")
    return number


def prepare_states(states: States, n_rows: int, initial_state: StateArray) -> StatesArray:
    """A float32 array [B, S], not to be written: the states given, and the initial state where one is None.

    Raises:
        RequestError: another number of rows, another size, other types, or values that are not finite.
    """
    size = len(initial_state)
    if states is None:
        return np.tile(initial_state, (n_rows, 1))
    if not is_sequence(states):
        raise RequestError(f"states is {shown(states)}: give an array [B, {size}], or one state or None per row")
    if len(states) != n_rows:
        raise RequestError(f"{len(states)} states for {n_rows} rows: give one per row, None for a new user")
    if isinstance(states, np.ndarray) and states.dtype == np.float32 and states.shape == (n_rows, size):
        prepared = np.ascontiguousarray(states)
    elif isinstance(states, np.ndarray) and states.dtype != object:
        prepared = _as_float32(states, (n_rows, size), "states")
    else:
        prepared = np.empty((n_rows, size), np.float32)
        for b, state in enumerate(states):
            prepared[b] = initial_state if state is None else _as_float32(state, (size,), f"states[{b}]")
    # One pass: what is not finite stays so in a sum of squares; as finite numbers may overflow in it, look again then.
    if not math.isfinite(np.vdot(prepared, prepared)):
        for b, s in np.argwhere(~np.isfinite(prepared)).tolist():
            raise RequestError(f"states[{b}][{s}] is {prepared[b, s]}, not a finite float32: use None for a new user")
    return prepared


def _as_float32(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested sequences of unequal lengths
        raise RequestError(f"{name} is no array: give float32 of shape {shape}") from error
    if array.dtype.kind not in "fiu":
        raise RequestError(f"{name} has type {array.dtype}: give float32 of shape {shape}")
    if array.shape != shape:
        raise RequestError(f"{name} has shape {array.shape}, this model's states need {shape}: is it another model's?")
    with np.errstate(over="ignore"):  # becomes inf, which the caller refuses
        return array.astype(np.float32)
