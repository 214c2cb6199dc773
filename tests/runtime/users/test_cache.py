"""The cache of states: what is put comes back, the least recently used goes, nothing dropped returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.errors import ConfigError
from recblr.runtime import StateCache

S = 3


def cache_of(slots: int) -> StateCache:
    for max_bytes in range(200 * slots + 1):
        cache = StateCache(S, max_bytes)
        if cache.n_slots == slots:
            return cache
    raise AssertionError(f"no size gives {slots} slots")


def get(cache: StateCache, *users: Any) -> list[tuple[int, int, list[float]]]:
    found = cache.get(users, np.full((len(users), S), -1, np.float32))
    return list(zip(found.seqs.tolist(), found.stamps.tolist(), found.states.tolist(), strict=True))


def put(cache: StateCache, user: Any, value: int) -> None:
    tickets = cache.get([user], np.zeros((1, S), np.float32)).tickets
    cache.put([user], [value], [2**62 + value], np.full((1, S), value, np.float32), tickets)


def entry(value: int) -> tuple[int, int, list[float]]:
    return value, 2**62 + value, [value] * S


MISSING = (0, 0, [-1.0] * S)
CALL = st.tuples(st.sampled_from(["get", "put", "drop"]), st.sampled_from([1, "1", "a", "b", -7]), st.integers(1, 99))


@settings(max_examples=200, deadline=None)
@given(calls=st.lists(CALL, max_size=40), slots=st.integers(0, 4))
def test_any_order_of_calls_equals_an_ordered_dict(calls: list[Any], slots: int) -> None:
    cache = cache_of(slots)
    model: dict[Any, int] = {}
    for call, user, value in calls:
        if call == "drop":
            assert cache.drop(user) == (model.pop(user, None) is not None)
        elif call == "get":
            assert get(cache, user) == [entry(model[user]) if user in model else MISSING]
            if user in model:
                model[user] = model.pop(user)
        else:
            put(cache, user, value)
            model.pop(user, None)
            model[user] = value
            while len(model) > slots:
                del model[next(iter(model))]
    assert cache.recent_users(99) == list(model)[::-1]
    assert cache.recent_users(2) == list(model)[::-1][:2]
    assert len(cache) == len(model)
    assert get(cache, *model) == [entry(value) for value in model.values()]


def test_a_state_under_way_is_refused_after_a_drop() -> None:
    cache = cache_of(2)
    tickets = cache.get(["a", "b"], np.zeros((2, S), np.float32)).tickets
    cache.drop("a")
    cache.put(["a", "b"], [1, 1], [5, 5], np.ones((2, S), np.float32), tickets)
    assert get(cache, "a", "b") == [MISSING, (1, 5, [1.0] * S)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_states_that_are_not_finite_are_not_kept(value: float) -> None:
    cache = cache_of(2)
    states = np.ones((2, S), np.float32)
    states[0, 1] = value
    tickets = cache.get(["a", "b"], states.copy()).tickets
    cache.put(["a", "b"], [1, 1], [5, 5], states, tickets)
    assert get(cache, "a", "b") == [MISSING, (1, 5, [1.0] * S)]


@pytest.mark.parametrize("max_bytes", [-1, 1.5, True, "1"])
def test_sizes_that_are_none(max_bytes: Any) -> None:
    with pytest.raises(ConfigError, match="cache_bytes is"):
        StateCache(S, max_bytes)
