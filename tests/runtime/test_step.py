"""Steps: a history in pieces with the state equals the whole, and states are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recblr.errors import BackendError, RequestError
from recblr.runtime import Backend, Engine, Limits


class Limited:
    """A backend that takes less at once than another."""

    description = "limited"

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.run, self.max_k, self.limits = backend.run, backend.max_k, limits


HISTORY = [10, 20, 99, 30, 10, 80]


@pytest.mark.parametrize("cut", range(len(HISTORY) + 1))
def test_two_steps_equal_the_whole(engine: Engine, toy: Any, cut: int) -> None:
    _, states = engine.step(None, [HISTORY[:cut]], k=3)
    (ranking,), states = engine.step(states, [HISTORY[cut:]], k=3, exclude=[HISTORY])
    (whole,) = engine.recommend([HISTORY], k=3)
    assert ranking.items == whole.items
    assert ranking.scores.tolist() == whole.scores.tolist()
    assert states[0].tolist() == [5, *toy.query(HISTORY)]


def test_states_are_new_float32_arrays(engine: Engine) -> None:
    before = np.zeros((2, 5), np.float32)
    _, states = engine.step(before, [[10], []], k=3)
    assert states.dtype == np.float32
    assert states.shape == (2, 5)
    assert states.flags.writeable
    assert not np.shares_memory(states, before)
    assert not before.any()
    again = engine.step(states, [[], []], k=3)[1]
    assert again.tolist() == states.tolist()
    assert not np.shares_memory(again, states)


def test_states_given_stay_as_they_are_where_rows_are_fed_in_pieces(engine: Engine) -> None:
    assert engine.backend is not None
    in_pieces = Engine(engine.bundle, Limited(engine.backend, Limits(tokens=2)))
    _, before = engine.step(None, [[10], [20, 30]], k=3)
    kept = before.copy()
    _, states = in_pieces.step(before, [[20, 30, 10, 20, 30], [10]], k=3)
    assert before.tolist() == kept.tolist()
    assert states.tolist() == engine.step(before, [[20, 30, 10, 20, 30], [10]], k=3)[1].tolist()


def test_no_new_items_rank_from_the_state(engine: Engine, toy: Any) -> None:
    first, states = engine.step(None, [[10, 20]], k=4)
    again, _ = engine.step(states, [[]], k=4)
    assert again[0].items == first[0].items == toy.ranking([10, 20], 4)[0]
    assert not again[0].popular


def test_unknown_items_leave_the_state_alone(engine: Engine) -> None:
    rankings, states = engine.step(None, [[1, "11"], []], k=2)
    assert states.tolist() == [[0] * 5, [0] * 5]
    assert [(r.unknown, r.popular, r.items) for r in rankings] == [(2, True, [20, 30]), (0, True, [20, 30])]


def test_new_users_among_known_ones(engine: Engine, toy: Any) -> None:
    _, states = engine.step(None, [[10], [20]], k=2)
    forms: list[Any] = [
        [states[0], None, states[1].tolist()],
        (states[0].astype(np.float64), None, states[1].astype(np.int64)),
        np.array([states[0], None, states[1]], dtype=object),
    ]
    for form in forms:
        rankings, new_states = engine.step(form, [[30], [30], [30]], k=2)
        assert [r.items for r in rankings] == [toy.ranking(h, 2)[0] for h in ([10, 30], [30], [20, 30])]
        assert new_states[:, 0].tolist() == [2, 1, 2]
    assert engine.step(states.astype(np.float64), [[], []], k=2)[1].tolist() == states.tolist()


def test_no_rows(engine: Engine) -> None:
    for states in (None, [], np.zeros((0, 5), np.float32)):
        rankings, new_states = engine.step(states, [], k=3)
        assert rankings == []
        assert new_states.shape == (0, 5)
        assert new_states.dtype == np.float32


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (np.zeros((1, 5), np.float32), "1 states for 2 rows"),
        ([None], "1 states for 2 rows"),
        (np.zeros((2, 6), np.float32), r"states has shape \(2, 6\), this model's states need \(2, 5\)"),
        ([None, np.zeros(4)], r"states\[1\] has shape \(4,\), this model's states need \(5,\)"),
        (np.zeros((2, 5), bool), "states has type bool"),
        (np.zeros((2, 5), complex), "states has type complex128"),
        ([None, ["0"] * 5], r"states\[1\] has type <U1"),
        ([None, [[1], [2, 3]]], r"states\[1\] is no array"),
        ([None, "state"], r"states\[1\] has type"),
        ([None, [0, 0, np.nan, 0, 0]], r"states\[1\]\[2\] is nan"),
        (np.array([[0] * 5, [0, 0, 0, np.inf, 0]], np.float32), r"states\[1\]\[3\] is inf"),
        ([[0, 1e300, 0, 0, 0], None], r"states\[0\]\[1\] is inf"),
        (3, "states is 3"),
        ("ab", "states is 'ab'"),
    ],
)
def test_states_that_are_none(engine: Engine, states: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        engine.step(states, [[10], [20]], k=2)


def test_scores_that_are_not_numbers(engine: Engine) -> None:
    class Broken:
        description, max_k, limits = "broken", 3, Limits()

        def run(self, items: Any, offsets: Any, state_in: Any, exclude: Any, k: int) -> tuple[Any, Any, Any]:
            rows = len(state_in)
            scores = np.array([[3, 2, 1], [2, np.nan, np.nan]], np.float32)[-rows:]
            return np.array([[1, 2, 3]] * rows, np.int32)[:, :k], scores[:, :k], state_in + np.float32(1)

    broken = Engine(engine.bundle, Broken())
    states = np.ones((2, engine.state_size), np.float32)
    with pytest.raises(RequestError, match="row 1: the scores are not numbers; was its state made by model sha256:toy"):
        broken.step(states, [[10], [10]], k=2)
    with pytest.raises(BackendError, match="the backend gave a score of nan: its graph is another"):
        broken.step(None, [[10], [10]], k=2)  # no state of the caller's is to blame
