"""Leave-one-out and global-time splits against definitions spelled out user by user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recblr.data import Interactions, Sequences, leave_one_out, split_at_times
from recblr.errors import ConfigError, DataError

History = list[tuple[int, float]]  # (item, time)


def interactions(histories: list[History]) -> Interactions:
    """Histories of (item, time), in the order of a file and not of time."""
    ordered = [sorted(history, key=lambda pair: pair[1]) for history in histories]
    flat = [pair for history in ordered for pair in history]
    return Interactions(
        user_ids=np.arange(len(histories)),
        item_ids=np.arange(1, 100),
        items=np.array([item for item, _ in flat], np.int32),
        offsets=np.append(0, np.cumsum([len(history) for history in ordered])),
        timestamps=np.array([time for _, time in flat]),
    )


def untimed(*histories: list[int]) -> Interactions:
    return interactions([[(item, float(n)) for n, item in enumerate(history)] for history in histories])


def rows(sequences: Sequences) -> list[list[int]]:
    ends = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [sequences.items[start:end].tolist() for start, end in ends]


def test_leave_one_out_of_lengths_1_2_3_and_more() -> None:
    split = leave_one_out(untimed([1], [2, 3], [4, 5, 6], [7, 8, 9, 10]))
    assert rows(split.train) == [[1], [2, 3], [4], [7, 8]]
    assert split.validation.users.tolist() == split.test.users.tolist() == [2, 3]
    assert rows(split.validation.histories) == [[4], [7, 8]]
    assert split.validation.targets.tolist() == [5, 9]
    assert rows(split.test.histories) == [[4, 5], [7, 8, 9]]
    assert split.test.targets.tolist() == [6, 10]
    assert split.test.targets.dtype == split.train.items.dtype == np.int32
    assert split.train.lengths.tolist() == [1, 2, 1, 2]
    assert len(split.train) == 4
    assert len(split.test) == 2


def test_tied_times_are_held_out_in_file_order() -> None:
    tied = interactions([[(3, 5), (1, 5), (2, 5), (9, 1)], [(8, 0), (7, 0), (6, 0)]])
    split = leave_one_out(tied)
    assert rows(split.train) == [[9, 3], [8]]
    assert split.validation.targets.tolist() == [1, 7]
    assert split.test.targets.tolist() == [2, 6]


def test_training_histories_are_shared_where_every_user_is_long_enough() -> None:
    split = leave_one_out(untimed([1, 2, 3], [4, 5, 6, 7]))
    assert split.validation.histories is split.train


@pytest.mark.parametrize("histories", [[[1, 2, 3, 4, 5]], [[1, 2, 3], [1, 2], [3, 4]], [[1, 2], [3]]])
def test_too_few_users_to_hold_out(histories: list[list[int]]) -> None:
    with pytest.raises(DataError, match=r"users have 3 interactions or more, .* use data of more users") as error:
        leave_one_out(untimed(*histories))
    assert "\n" not in str(error.value)


HISTORIES = st.lists(
    st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), min_size=1, max_size=8), min_size=1, max_size=8
)


@given(histories=HISTORIES)
def test_leave_one_out_equals_the_definition(histories: list[History]) -> None:
    data = interactions(histories)
    whole = rows(Sequences(data.items, data.offsets))
    long = [user for user, items in enumerate(whole) if len(items) >= 3]
    if len(long) < 2:
        with pytest.raises(DataError):
            leave_one_out(data)
        return
    split = leave_one_out(data)
    assert rows(split.train) == [items[:-2] if len(items) >= 3 else items for items in whole]
    for part, held_out in ((split.validation, 2), (split.test, 1)):
        assert part.users.tolist() == long
        assert rows(part.histories) == [whole[user][:-held_out] for user in long]
        assert part.targets.tolist() == [whole[user][-held_out] for user in long]
        assert part.without_history == 0


@given(histories=HISTORIES, start=st.integers(0, 9), length=st.integers(1, 5))
def test_split_at_times_equals_the_definition(histories: list[History], start: int, length: int) -> None:
    data = interactions(histories)
    end = start + length
    ordered = [sorted(history, key=lambda pair: pair[1]) for history in histories]
    train = [items for h in ordered if (items := [item for item, time in h if time < start])]
    expected = []
    for low, high in ((start, end), (end, np.inf)):
        part = []
        for user, history in enumerate(ordered):
            inside = [n for n, (_, time) in enumerate(history) if low <= time < high]
            if inside:
                part.append((user, [item for item, _ in history[: inside[0]]], history[inside[0]][0]))
        expected.append(part)
    with_history = [[target for target in part if target[1]] for part in expected]
    if not train or min(map(len, with_history)) < 2:
        with pytest.raises(DataError):
            split_at_times(data, start, end)
        return
    split = split_at_times(data, start, end)
    assert rows(split.train) == train
    for targets, part, kept in zip((split.validation, split.test), expected, with_history, strict=True):
        found = zip(targets.users.tolist(), rows(targets.histories), targets.targets.tolist(), strict=True)
        assert list(found) == kept
        assert targets.without_history == len(part) - len(kept)


TIMED: list[History] = [
    [(1, 0), (2, 10), (3, 20)],  # exactly at both times
    [(4, 9.5), (5, 19.5), (6, 30)],
    [(7, 10), (8, 25)],  # nothing to train on; no history for validation
    [(9, 0), (10, 5)],  # nothing to predict
    [(11, 1), (12, 40), (13, 50)],  # silent during validation
    [(14, 60)],  # arrives in the test
]


def test_split_at_times_edges() -> None:
    split = split_at_times(interactions(TIMED), 10, 20)
    assert rows(split.train) == [[1], [4], [9, 10], [11]]
    assert split.validation.users.tolist() == [0, 1]
    assert rows(split.validation.histories) == [[1], [4]]
    assert split.validation.targets.tolist() == [2, 5]
    assert split.validation.without_history == 1
    assert split.test.users.tolist() == [0, 1, 2, 4]
    assert rows(split.test.histories) == [[1, 2], [4, 5], [7], [11]]
    assert split.test.targets.tolist() == [3, 6, 8, 12]
    assert split.test.without_history == 1


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((-5, 20), "nothing to train on before -5: the data reach from 0.0 to 60.0"),
        ((9.6, 9.7), "0 users have a validation item"),
        ((10, 100), "0 users have a test item"),
        ((26, 31), "1 users have a validation item"),
    ],
)
def test_times_that_leave_a_part_empty(times: tuple[float, float], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        split_at_times(interactions(TIMED), *times)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("times", [(10, 10), (20, 10), (float("nan"), 10), (0, float("inf"))])
def test_times_out_of_order_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="the earlier first"):
        split_at_times(interactions(TIMED), *times)


def test_the_latest_items_of_each_row():
    rows = Sequences(np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([0, 4, 4, 5, 6]))
    latest = rows.latest(2)
    np.testing.assert_array_equal(latest.items, [3, 4, 5, 6])
    np.testing.assert_array_equal(latest.offsets, [0, 2, 2, 3, 4])
    assert rows.latest(9).items.tolist() == rows.items.tolist()
