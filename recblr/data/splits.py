"""Holding out what comes last: the latest items of each user, or all that happened after a time."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from recblr.data.arrays import ItemsArray, RowOffsetsArray, RowsArray
from recblr.data.interactions import Interactions
from recblr.data.ragged import row_offsets, row_positions
from recblr.data.times import Moment, moment_in_unit, time_span
from recblr.errors import ConfigError, DataError

_MIN_TARGETS = 2  # a metric over one user says nothing


@dataclass(frozen=True, eq=False)
class Sequences:
    """Ragged rows of items.

    Args:
        items: [n] the model's indices, row after row.
        offsets: [R + 1] row r is `items[offsets[r]:offsets[r + 1]]`.
    """

    items: ItemsArray
    offsets: RowOffsetsArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> RowsArray:
        """[R] items of each row."""
        return np.diff(self.offsets)

    def latest(self, n: int) -> Sequences:
        """Each row's last `n` items, or all where it has fewer."""
        lengths = np.minimum(self.lengths, n)
        return Sequences(self.items[row_positions(self.offsets[1:] - lengths, lengths)], row_offsets(lengths))


@dataclass(frozen=True, eq=False)
class Targets:
    """For each of R users, a history of at least one item and the item that came next.

    Args:
        users: [R] rows of the users in the `Interactions`, ascending.
        histories: R rows, everything before the target.
        targets: [R] the next item.
        without_history: targets left out because nothing came before them.
    """

    users: RowsArray
    histories: Sequences
    targets: ItemsArray
    without_history: int = 0

    def __len__(self) -> int:
        return len(self.users)

    def latest(self, n: int) -> Targets:
        """The same with each history cut to its last `n` items."""
        return dataclasses.replace(self, histories=self.histories.latest(n))


@dataclass(frozen=True, eq=False)
class Split:
    """What to train on and what to predict. Parts may share arrays, with the `Interactions` too."""

    train: Sequences
    validation: Targets
    test: Targets


def leave_one_out(interactions: Interactions) -> Split:
    """Hold out each user's last item for the test and the one before it for validation.

    Users with fewer than 3 interactions are in the training part with all of them, and have no targets. Row u
    of the training part is user u. A test history includes the validation target.

    Raises:
        DataError: fewer than 2 users have 3 interactions.
    """
    lengths = interactions.lengths
    users = np.flatnonzero(lengths >= 3)
    if len(users) < _MIN_TARGETS:
        raise DataError(
            f"{len(users)} of {len(lengths):,} users have 3 interactions or more, and holding out needs "
            f"{_MIN_TARGETS}: use data of more users, or lower the filter's minimums"
        )
    train = _prefixes(interactions, np.arange(len(lengths)), np.where(lengths >= 3, lengths - 2, lengths))
    histories = train if len(users) == len(lengths) else _prefixes(interactions, users, lengths[users] - 2)
    ends = interactions.offsets[users + 1]
    return Split(
        train=train,
        validation=Targets(users, histories, interactions.items[ends - 2]),
        test=Targets(users, _prefixes(interactions, users, lengths[users] - 1), interactions.items[ends - 1]),
    )


def split_at_times(interactions: Interactions, validation_time: Moment, test_time: Moment) -> Split:
    """Train on what came before a time, and predict each user's next item after it.

    The training part holds everything before `validation_time`; users without any there have no row in it.
    A validation target is a user's first item in [validation_time, test_time), a test target the first at or
    after `test_time`; the history of each is everything before it. Targets without a history are left out and
    counted.

    Args:
        interactions: what to split.
        validation_time: a number in the unit of the timestamps; or ISO 8601 text, where they are dates and times.
        test_time: likewise; later than `validation_time`.

    Raises:
        ConfigError: the times are neither finite numbers nor ISO 8601, or not in ascending order.
        DataError: a part has nothing to train on, or fewer than 2 targets; text where the timestamps are plain numbers.
    """
    starts = [
        moment_in_unit(time, interactions.time_unit, interactions.timestamps) for time in (validation_time, test_time)
    ]
    if not (all(map(math.isfinite, starts)) and starts[0] < starts[1]):
        raise ConfigError(f"validation time {validation_time} and test time {test_time}: give two, the earlier first")
    seen_by_validation, seen_by_test = (_counts_before(interactions, start) for start in starts)
    users = np.flatnonzero(seen_by_validation)
    if len(users) == 0:
        raise DataError(f"nothing to train on before {validation_time}: {_span(interactions)}, so choose a later time")
    validation = _targets(interactions, seen_by_validation, seen_by_test)
    test = _targets(interactions, seen_by_test, interactions.lengths)
    for name, part in (("validation", validation), ("test", test)):
        if len(part) < _MIN_TARGETS:
            raise DataError(
                f"{len(part)} users have a {name} item after a history, and {_MIN_TARGETS} are needed, "
                f"with validation from {validation_time} and test from {test_time}: {_span(interactions)}, "
                "so choose other times"
            )
    same = np.array_equal(users, validation.users)
    train = validation.histories if same else _prefixes(interactions, users, seen_by_validation[users])
    return Split(train, validation, test)


def _span(interactions: Interactions) -> str:
    unit = "" if interactions.time_unit is None else f" (in {interactions.time_unit} since 1970-01-01)"
    return f"the data reach {time_span(interactions.timestamps, interactions.time_unit)}{unit}"


def _counts_before(interactions: Interactions, time: float) -> RowsArray:
    """[U] interactions of each user before `time`."""
    before = np.zeros(interactions.n_interactions + 1, np.int64)
    np.cumsum(interactions.timestamps < time, out=before[1:])
    return np.diff(before[interactions.offsets])


def _targets(interactions: Interactions, seen: RowsArray, limits: RowsArray) -> Targets:
    """Targets right after each user's first `seen` interactions, for users with more before `limits`."""
    has_target = seen < limits
    users = np.flatnonzero(has_target & (seen > 0))
    return Targets(
        users=users,
        histories=_prefixes(interactions, users, seen[users]),
        targets=interactions.items[interactions.offsets[users] + seen[users]],
        without_history=int(np.count_nonzero(has_target)) - len(users),
    )


def _prefixes(interactions: Interactions, users: RowsArray, lengths: RowsArray) -> Sequences:
    """The first `lengths` interactions of each of `users`."""
    offsets = row_offsets(lengths)
    if offsets[-1] == interactions.n_interactions:  # everything: nothing to copy
        return Sequences(interactions.items, interactions.offsets)
    return Sequences(interactions.items[row_positions(interactions.offsets[users], lengths)], offsets)
