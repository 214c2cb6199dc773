"""A request to an engine in the model's indices, and the runs that answer it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray
from recblr.runtime.gpu.slots import Lease
from recblr.runtime.gpu.state_pool import DeviceStates
from recblr.runtime.limits import Limits

_NO_PAIRS: ExcludeArray = np.empty((0, 2), np.int32)
_NO_PAIRS.flags.writeable = False


@dataclass(slots=True, eq=False)  # not frozen: that takes microseconds
class Request:
    """A request in the model's indices. Lists have one entry per row.

    Attributes:
        items: the items to feed.
        unknown: how many item ids were skipped.
        exclusions: items that must not be ranked.
        allowed: items that may be ranked: one array for all rows, or one per row; None for all items.
        k: results per row.
    """

    items: list[ItemsArray]
    unknown: list[int]
    exclusions: list[ItemsArray]
    allowed: ItemsArray | list[ItemsArray | None] | None
    k: int

    @property
    def n_rows(self) -> int:
        """B, how many rows there are."""
        return len(self.items)

    def parts(self, limits: Limits) -> Iterator[slice]:
        """Consecutive rows within the limits; a row by itself may exceed that of exclusions."""
        if self.n_rows == 1:
            yield slice(0, 1)
            return
        start = tokens = exclusions = 0
        for row in range(self.n_rows):
            # What is left of a longer row once it was fed in pieces is at most the limit.
            row_tokens = min(len(self.items[row]), limits.tokens)
            row_exclusions = len(self.exclusions[row])
            full = (
                row - start == limits.rows
                or tokens + row_tokens > limits.tokens
                or exclusions + row_exclusions > limits.exclusions
            )
            if full and row > start:
                yield slice(start, row)
                start, tokens, exclusions = row, 0, 0
            tokens += row_tokens
            exclusions += row_exclusions
        if start < self.n_rows:
            yield slice(start, self.n_rows)

    def is_plain(self, max_k: int, limit: int) -> bool:
        """Whether it is one row of at most `limit` items that one run of the backend answers."""
        if len(self.items) != 1 or self.allowed is not None or self.k > max_k:
            return False
        return len(self.items[0]) <= limit

    def ranked_by_catalogue(self, rows: slice, max_k: int) -> list[int]:
        """Which of these rows, counted from their first, the backend cannot rank, as it gives `max_k` items of all."""
        if self.k > max_k:
            return list(range(rows.stop - rows.start))
        if self.allowed is None:
            return []
        return [b for b in range(rows.stop - rows.start) if self.allowed_of(rows.start + b) is not None]

    def allowed_of(self, row: int) -> ItemsArray | None:
        """The items that this row may have; None for all."""
        return self.allowed[row] if isinstance(self.allowed, list) else self.allowed

    def allowed_lists(self, rows: Sequence[int], n_items: int) -> ItemsArray | Sequence[ItemsArray] | None:
        """The items that some rows may have, as `Catalogue.top_items` takes them, of a catalogue of `n_items`."""
        if not isinstance(self.allowed, list):
            return self.allowed
        lists = [self.allowed[row] for row in rows]
        if lists[0] is not None and all(items is lists[0] for items in lists):
            return lists[0]
        everything: ItemsArray = np.arange(1, n_items + 1, dtype=np.int32)
        return [everything if items is None else items for items in lists]


@dataclass(slots=True, eq=False)
class BackendRun:
    """A run of the backend, with at most k results per row; where k is 0, for the states alone."""

    items: ItemsArray
    offsets: OffsetsArray
    states: StatesArray
    exclude: ExcludeArray
    k: int


@dataclass(slots=True, eq=False)
class LeasedStates:
    """Leased states in a pool on the GPU, which take the place of an array of states [B, S]."""

    pool: DeviceStates
    lease: Lease

    def rows(self, rows: slice) -> LeasedStates:
        """The states of some of the rows."""
        return LeasedStates(self.pool, self.lease.rows(rows))


@dataclass(slots=True, eq=False)
class LeasedRun:
    """A run of the backend on states that stay on the GPU; with `fetch` they are returned, too."""

    items: ItemsArray
    offsets: OffsetsArray
    states: LeasedStates
    exclude: ExcludeArray
    fetch: bool


@dataclass(slots=True, eq=False)
class CatalogueRun:
    """A ranking by the catalogue, of rows given by their states [B, S]."""

    states: StatesArray
    exclude: ExcludeArray
    only: ItemsArray | Sequence[ItemsArray] | None
    k: int


def ragged(rows: Sequence[ItemsArray]) -> tuple[ItemsArray, OffsetsArray]:
    """Join rows of items: the items one row after another, int32 [N], and the rows' offsets, int32 [B + 1]."""
    if len(rows) == 1:
        return rows[0], np.array((0, len(rows[0])), np.int32)
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate(rows), offsets


def pairs(exclusions: Sequence[ItemsArray]) -> ExcludeArray:
    """The exclusions of all rows as int32 [M, 2] pairs of (row, item)."""
    n_pairs = sum(map(len, exclusions))
    if not n_pairs:
        return _NO_PAIRS
    array = np.empty((n_pairs, 2), np.int32)
    if len(exclusions) == 1:
        array[:, 0], array[:, 1] = 0, exclusions[0]
        return array
    array[:, 0] = np.repeat(np.arange(len(exclusions)), [len(row) for row in exclusions])
    array[:, 1] = np.concatenate(exclusions)
    return array
