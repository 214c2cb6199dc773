"""A job: the rows of one call to the batcher, checked, cut into parts for its batches, and put together again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import RequestError
from recblr.runtime.limits import Limits

Result: TypeAlias = tuple[TopItemsArray, TopScoresArray, StatesArray]
AnyFuture: TypeAlias = Future[Result] | asyncio.Future[Result]

_INT32 = np.dtype(np.int32)
_FLOAT32 = np.dtype(np.float32)
_NO_ITEMS: ItemsArray = np.empty(0, _INT32)
_NO_STATES: StatesArray = np.empty((0, 0), _FLOAT32)
_NO_EXCLUSIONS: ExcludeArray = np.empty((0, 2), _INT32)


@dataclass(slots=True, eq=False)
class Part:
    """Consecutive rows of one job, or a piece of a longer row, for one run.

    Attributes:
        job: whose rows they are.
        first: the first of the rows in the job; the last is `first + n_rows - 1`.
        items: int32 [N] of these rows.
        lengths: items per row.
        states: float32 [B, S].
        exclude: int32 [M, 2]; rows counted from `first`.
        final: the rows end here; otherwise it is one row, whose next piece needs the new state.
    """

    job: Job
    first: int
    items: ItemsArray
    lengths: Sequence[int]
    states: StatesArray
    exclude: ExcludeArray
    final: bool

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    @property
    def k(self) -> int | None:
        """The most results per row; None for as many as the backend gives, 0 for the states alone."""
        return self.job.k if self.final else 0

    def halves(self) -> tuple[Part, Part]:
        """The same rows, at least two, in two parts."""
        middle = self.n_rows // 2
        token = sum(self.lengths[:middle])
        in_first = self.exclude[:, 0] < middle
        rest = self.exclude[~in_first]
        rest[:, 0] -= middle
        return (
            Part(
                self.job,
                self.first,
                self.items[:token],
                self.lengths[:middle],
                self.states[:middle],
                self.exclude[in_first],
                self.final,
            ),
            Part(
                self.job,
                self.first + middle,
                self.items[token:],
                self.lengths[middle:],
                self.states[middle:],
                rest,
                self.final,
            ),
        )


class Job:
    """The rows of one call, which are answered as a whole.

    Parts are taken in the order of the rows. How a row is cut into pieces depends on the limits alone, never on what
    else waits. Nothing here locks: the queue's lock covers `take`, `resume` and `add`.

    Attributes:
        future: where the answer goes: a `concurrent.futures.Future`, or an `asyncio.Future` of `loop`; None once done.
        loop: the event loop that waits for it, or None.
        arrived: when it came, on the batcher's clock.
        deadline: when it expires, or None.
        k: results per row, at most; None for as many as the backend gives, 0 where the states alone are asked for.
        longest: items of the longest row.
        rows_left, tokens_left: what no part was taken of yet.
        done: answered, failed or withdrawn.
        started: a part was taken.
    """

    __slots__ = (
        "_exclude",
        "_items",
        "_offsets",
        "_result",
        "_row",
        "_state",
        "_states",
        "_token",
        "_unanswered",
        "arrived",
        "deadline",
        "done",
        "future",
        "k",
        "longest",
        "loop",
        "rows_left",
        "started",
        "tokens_left",
    )

    def __init__(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        future: AnyFuture,
        loop: asyncio.AbstractEventLoop | None = None,
        k: int | None = None,
        places: list[int] | None = None,
    ) -> None:
        """Check the arrays' form, so that a malformed job cannot reach the rows of another.

        Args:
            items: int32 [N].
            offsets: int32 [B + 1].
            state_in: float32 [B, S].
            exclude: int32 [M, 2].
            future: where the answer goes.
            loop: the event loop of `future`, where it is asyncio's.
            k: the most results per row; see the attribute.
            places: what `checked_offsets` gave, where the arrays were checked before.

        Raises:
            RequestError: other dtypes or shapes, offsets that do not describe `items`, exclusions of other rows, or a
                negative k.
        """
        if k is not None and k < 0:
            raise RequestError(f"k is {k}: give at least 0, or None")
        if places is None:
            places = checked_offsets(items, offsets, state_in, exclude)
        n_rows = len(places) - 1
        self.future: AnyFuture | None = future
        self.loop = loop
        self.k = k
        self.arrived = 0.0
        self.deadline: float | None = None
        self.rows_left = n_rows
        self.tokens_left = len(items)
        self.longest = places[1] if n_rows == 1 else max(map(int.__sub__, places[1:], places))
        self.done = False
        self.started = False
        self._items = items
        self._offsets = places
        self._states = state_in
        self._exclude = exclude
        self._row = 0  # the next row
        self._token = 0  # the next item of all; inside a row once a piece of it was taken
        self._state: StatesArray | None = None  # [1, S] of that row then
        self._unanswered = n_rows
        self._result: Result | None = None  # of several parts

    @property
    def n_rows(self) -> int:
        return len(self._offsets) - 1

    @property
    def tokens_left_in_row(self) -> int:
        """Items of the next row that were not taken yet."""
        return int(self._offsets[self._row + 1] - self._token)

    def take(self, rows: int, tokens: int, exclusions: int, limits: Limits, alone: bool) -> Part | None:
        """The next part that fits what is left of a batch; None where none does.

        Args:
            rows: left in the batch.
            tokens: left in the batch.
            exclusions: left in the batch.
            limits: of a whole batch; a row of more tokens is fed in pieces of exactly so many.
            alone: the batch is empty, so that a row by itself may exceed its exclusions.
        """
        first, offsets, left_in_row = self._row, self._offsets, self.tokens_left_in_row
        if left_in_row > limits.tokens:
            return self._take_piece(limits.tokens) if alone else None
        whole = first == 0 and self._token == 0
        if whole and self.n_rows <= rows and len(self._items) <= tokens and len(self._exclude) <= exclusions:
            lengths = [left_in_row] if self.n_rows == 1 else list(map(int.__sub__, offsets[1:], offsets))
            if self.longest <= limits.tokens:
                self._row = self.n_rows
                self.rows_left = self.tokens_left = 0
                return Part(self, 0, self._items, lengths, self._states, self._exclude, final=True)
        return self._take_rows(rows, tokens, exclusions, limits, alone)

    def _take_piece(self, size: int) -> Part:
        start, row = self._token, self._row
        states = self._states[row : row + 1] if self._state is None else self._state
        self._token += size
        self.tokens_left -= size
        return Part(self, row, self._items[start : start + size], [size], states, self._exclude[:0], final=False)

    def _take_rows(self, rows: int, tokens: int, exclusions: int, limits: Limits, alone: bool) -> Part | None:
        first, start, offsets = self._row, self._token, self._offsets
        counts = np.bincount(self._exclude[:, 0], minlength=self.n_rows).tolist()
        lengths: list[int] = []
        row, excluded = first, 0
        while row < self.n_rows and len(lengths) < rows:
            length = offsets[row + 1] - (start if row == first else offsets[row])
            excluded += counts[row]
            too_many = excluded > exclusions and not (alone and not lengths)
            if length > tokens or length > limits.tokens or too_many:
                break
            tokens -= length
            lengths.append(length)
            row += 1
            if self._state is not None:
                break  # its state is not among the others'
        if not lengths:
            return None
        stop = offsets[row]
        states = self._states[first:row] if self._state is None else self._state
        mine = (self._exclude[:, 0] >= first) & (self._exclude[:, 0] < row)
        exclude = self._exclude[mine]
        exclude[:, 0] -= first
        self._row, self._token, self._state = row, stop, None
        self.rows_left -= len(lengths)
        self.tokens_left -= stop - start
        return Part(self, first, self._items[start:stop], lengths, states, exclude, final=True)

    def resume(self, states: StatesArray) -> None:
        """Go on after a piece of a row: `states`, float32 [1, S], is the row's new state."""
        self._state = states.copy()

    def add(self, part: Part, result: Result) -> Result | None:
        """Add the result of a final part. Returns the whole job's result once all parts are there, else None."""
        self._unanswered -= part.n_rows
        if part.n_rows == self.n_rows:
            return result
        if self._result is None:
            shapes = [(self.n_rows, array.shape[1]) for array in result]
            self._result = (
                np.empty(shapes[0], result[0].dtype),
                np.empty(shapes[1], result[1].dtype),
                np.empty(shapes[2], result[2].dtype),
            )
        for whole, array in zip(self._result, result, strict=True):
            whole[part.first : part.first + part.n_rows] = array
        return None if self._unanswered else self._result

    def release(self) -> None:
        """Let go of what a job that is done holds.

        It may stay in the queue for a while; and its future, which knows it, would wait with it for Python's collector
        of cycles, whose runs stop all threads.
        """
        self.future = None
        self._items, self._states, self._exclude = _NO_ITEMS, _NO_STATES, _NO_EXCLUSIONS
        self._state = self._result = None


@dataclass(slots=True, eq=False)
class Answer:
    """The result or the error of a job that is done, to be set on its future."""

    job: Job
    future: AnyFuture
    result: Result | None
    error: Exception | None


@dataclass(slots=True, eq=False)
class BatchResults:
    """The results of a batch.

    Attributes:
        of_parts: the result or the error of each part.
        runs: rows and items of the backend's runs that succeeded.
        raised: how many of its runs raised.
    """

    of_parts: list[tuple[Part, Result | Exception]] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    raised: int = 0


def checked_offsets(
    items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
) -> list[int]:
    """The offsets as Python's numbers, once all arrays have the form that `recblr.runtime.Backend.run` asks for.

    Raises:
        RequestError: other dtypes or shapes, offsets that do not describe `items`, or exclusions of other rows.
    """
    for array, name, dtype, ndim in (
        (items, "items", _INT32, 1),
        (offsets, "offsets", _INT32, 1),
        (state_in, "state_in", _FLOAT32, 2),
        (exclude, "exclude", _INT32, 2),
    ):
        if not isinstance(array, np.ndarray):
            raise RequestError(f"{name} is {type(array).__name__}: give a NumPy array of {dtype}")
        if array.dtype != dtype or array.ndim != ndim:
            raise RequestError(f"{name} is {array.dtype} of shape {array.shape}: give {dtype} with {ndim} dimension(s)")
    places: list[int] = offsets.tolist()
    n_rows = len(places) - 1
    if n_rows < 1 or places[0] != 0 or places[-1] != len(items) or (n_rows > 1 and places != sorted(places)):
        raise RequestError(f"offsets do not describe rows of {len(items)} items: give 0, rising, up to {len(items)}")
    if len(state_in) != n_rows:
        raise RequestError(f"state_in has {len(state_in)} rows where offsets have {n_rows}: give one state per row")
    if exclude.shape[1] != 2:
        raise RequestError(f"exclude has shape {exclude.shape}: give int32 [M, 2] pairs of (row, item)")
    if len(exclude) and not (exclude[:, 0].min() >= 0 and exclude[:, 0].max() < n_rows):
        raise RequestError(f"exclude names a row outside 0..{n_rows - 1}: its rows are those of offsets")
    return places
