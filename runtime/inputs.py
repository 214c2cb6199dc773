"""What callers may give an engine, and its states as one array. Errors name the value."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from recblr.array_types import ItemId, StateArray, StatesArray
from recblr.errors import RequestError, shown
from recblr.item_ids import is_sequence
from recblr.runtime.allow_list import AllowList
from recblr.runtime.limits import DEFAULT_K

ItemIds: TypeAlias = Sequence[ItemId] | np.ndarray
RowsOfIds: TypeAlias = Sequence[ItemIds] | np.ndarray
Exclude: TypeAlias = Sequence[ItemIds | None] | np.ndarray | None
Allowed: TypeAlias = ItemIds | AllowList
Only: TypeAlias = Allowed | Sequence[Allowed | None] | None
States: TypeAlias = StatesArray | Sequence[StateArray | None] | None


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


def prepare_states(states: States, n_rows: int, initial_state: StateArray) -> StatesArray | None:
    """A float32 array [B, S], not to be written: the states given, and the initial state where one is None.

    Whether all numbers are finite is left to be checked. None where all users are new.

    Raises:
        RequestError: another number of rows, another size, or other types.
    """
    size = len(initial_state)
    if states is None:
        return None
    if type(states) is np.ndarray and states.dtype == np.float32 and states.shape == (n_rows, size):
        return states  # mostly; the checks below take a microsecond
    if not is_sequence(states):
        raise RequestError(f"states is {shown(states)}: give an array [B, {size}], or one state or None per row")
    if len(states) != n_rows:
        raise RequestError(f"{len(states)} states for {n_rows} rows: give one per row, None for a new user")
    if isinstance(states, np.ndarray) and states.dtype != object:
        return _as_float32(states, (n_rows, size), "states")
    prepared = np.empty((n_rows, size), np.float32)
    for b, state in enumerate(states):
        prepared[b] = initial_state if state is None else _as_float32(state, (size,), f"states[{b}]")
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
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # becomes inf, which is refused
        return array.astype(np.float32)
