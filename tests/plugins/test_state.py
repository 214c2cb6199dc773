"""Moves of user states on NumPy arrays."""

from __future__ import annotations

import numpy as np
import pytest

from recblr import plugins

pytestmark = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("integers", [np.int32, np.int64])
@pytest.mark.parametrize("threads", [1, 3])
def test_gather_and_scatter(integers: type, threads: int) -> None:
    pool, initial, slots = some(9, 40_000), some(40_000), np.array([8, -1, 0, 3], integers)
    states = plugins.gather_state(pool, slots, initial, threads)
    np.testing.assert_array_equal(states, np.stack([pool[8], initial, pool[0], pool[3]]))
    assert not plugins.gather_state(pool, slots, n_threads=threads)[1].any()
    expected = pool.copy()
    expected[[8, 0, 3]] = states[[0, 2, 3]] * 2
    plugins.scatter_state(pool, slots, states * 2, threads)
    np.testing.assert_array_equal(pool, expected)


def test_no_rows() -> None:
    assert plugins.gather_state(some(2, 3), np.array([], np.int64)).shape == (0, 3)


def test_a_slot_outside_the_pool() -> None:
    pool = some(4, 2)
    before = pool.copy()
    with pytest.raises(plugins.PluginLibraryError, match="slot 4 of row 1 is not below n_slots = 4"):
        plugins.scatter_state(pool, np.array([0, 4]), some(2, 2))
    np.testing.assert_array_equal(pool, before)


@pytest.mark.parametrize(
    ("pool", "slots", "states", "message"),
    [
        (some(4), np.array([0]), some(1, 4), "pool is float32 \\(4,\\)"),
        (some(4, 2).astype(np.float64), np.array([0]), some(1, 2), "pool is float64"),
        (some(2, 4).T, np.array([0]), some(1, 2), "not contiguous"),
        (some(4, 2), np.array([0.0]), some(1, 2), "slots are float64"),
        (some(4, 2), np.array([[0]]), some(1, 2), "slots are int64 \\(1, 1\\)"),
        (some(4, 2), np.array([0]), some(2, 2), "states is float32 \\(2, 2\\)"),
    ],
)
def test_wrong_arrays(pool: np.ndarray, slots: np.ndarray, states: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugins.scatter_state(pool, slots, states)
