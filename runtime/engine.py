"""The engine: item ids in, rankings out, with users' states kept by the caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32

from recblr.array_types import (
    ExcludeArray,
    ItemId,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import RequestError
from recblr.runtime.backend import Backend, Limits
from recblr.runtime.bundle import Bundle, StateArray
from recblr.runtime.inputs import (
    Exclude,
    RowsOfIds,
    States,
    check_k,
    encode_exclusions,
    encode_rows,
    prepare_states,
)

ScoresArray: TypeAlias = Float32[np.ndarray, "n"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best items for one row.

    Attributes:
        items: n <= k item ids, best first; fewer than k where the exclusions leave no more.
        scores: float32 [n], descending; equal ones in the order of the model's indices.
        unknown: how many of the row's item ids the model does not know; they were skipped.
        popular: nothing is known of the user, so these are the most popular items, and scores their counts.
    """

    items: list[ItemId]
    scores: ScoresArray
    unknown: int
    popular: bool


@dataclass(frozen=True, eq=False)
class _Request:
    """A request in the model's indices; lists have one entry per row."""

    items: list[ItemsArray]
    unknown: list[int]
    exclusions: list[ItemsArray]
    k: int

    @property
    def n_rows(self) -> int:
        return len(self.items)


class Engine:
    """Answers for one bundle. It keeps nothing between calls; any number of threads may call it at once."""

    def __init__(self, bundle: Bundle, backend: Backend, limits: Limits | None = None) -> None:
        """Join a bundle and what runs its graph; `recblr.runtime.load` does both.

        Args:
            bundle: verified.
            backend: runs the bundle's graph.
            limits: the most that the backend is given at once.
        """
        self.bundle = bundle
        self._backend = backend
        self._limits = limits or Limits()

    def __repr__(self) -> str:
        return f"<Engine of {self.n_items:,} items, {self.fingerprint}, {self.description}>"

    @property
    def description(self) -> str:
        """What runs the model and how, for people, such as "ONNX Runtime 1.31.1 on the CPU, 2 threads, native ops"."""
        return self._backend.description

    @property
    def fingerprint(self) -> str:
        """Names the model; states belong to one fingerprint."""
        return self.bundle.manifest.fingerprint

    @property
    def n_items(self) -> int:
        """V."""
        return self.bundle.manifest.n_items

    @property
    def max_k(self) -> int:
        """The most results per row."""
        return min(self.bundle.manifest.max_k, self.n_items)

    @property
    def state_size(self) -> int:
        """S."""
        return self.bundle.manifest.state_size

    def recommend(
        self,
        histories: RowsOfIds,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Exclude = None,
    ) -> list[Ranking]:
        """The best next items for users given by their whole histories.

        Args:
            histories: [B] per user the item ids in chronological order, as list, tuple or NumPy array.
            k: results per user.
            exclude_seen: leave out the items of the history.
            exclude: [B] item ids to leave out besides, or None.

        Returns:
            One ranking per user, in order.

        Raises:
            RequestError: `k` out of range, or arguments of another form.
        """
        k = check_k(k, self.bundle.manifest.max_k, self.n_items)
        items, unknown = encode_rows(self.bundle.vocabulary, histories, "histories")
        seen = items if exclude_seen else None
        exclusions = encode_exclusions(self.bundle.vocabulary, exclude, len(items), seen)
        return self._answer(_Request(items, unknown, exclusions, k))

    def step(
        self,
        states: States,
        new_items: RowsOfIds,
        k: int = 10,
        exclude: Exclude = None,
    ) -> tuple[list[Ranking], StatesArray]:
        """The best next items for users given by their states and what is new since.

        What it costs does not depend on how long their histories are.

        Args:
            states: float32 [B, S] as the last step returned them, or one state per user with None for a new
                one, or None where all are new. They must come from a model of the same fingerprint.
            new_items: [B] per user the new item ids, in chronological order; none to ask again.
            k: results per user.
            exclude: [B] item ids to leave out, or None; what a user has seen is not in the state.

        Returns:
            One ranking per user, in order, and the new states, a new float32 array [B, S].

        Raises:
            RequestError: `k` out of range, states of another shape or not finite, or arguments of another
                form.
        """
        k = check_k(k, self.bundle.manifest.max_k, self.n_items)
        items, unknown = encode_rows(self.bundle.vocabulary, new_items, "new_items")
        exclusions = encode_exclusions(self.bundle.vocabulary, exclude, len(items))
        new_states = prepare_states(states, len(items), self.bundle.initial_state)
        return self._answer(_Request(items, unknown, exclusions, k), new_states), new_states

    def _answer(self, request: _Request, states: StatesArray | None = None) -> list[Ranking]:
        """The rankings; `states` [B, S], where given, are replaced by the new ones."""
        rankings: list[Ranking] = []
        for rows in self._parts(request):
            initial = self.bundle.initial_state
            part = np.tile(initial, (rows.stop - rows.start, 1)) if states is None else states[rows]
            items = [self._feed(row, part[b]) for b, row in enumerate(request.items[rows])]
            exclude = _pairs(request.exclusions[rows])
            top_items, top_scores, new_states = self._backend.run(*_ragged(items), part, exclude)
            part[:] = new_states
            known = np.any(part[:, -self.bundle.manifest.dim :], axis=1).tolist()
            for b, row in enumerate(range(rows.start, rows.stop)):
                if known[b]:
                    rankings.append(self._ranked(request, row, top_items[b], top_scores[b]))
                else:
                    rankings.append(self._popular(request, row))
        return rankings

    def _parts(self, request: _Request) -> Iterator[slice]:
        """Consecutive rows within the limits; a row by itself may exceed that of exclusions."""
        limits = self._limits
        start = tokens = exclusions = 0
        for row in range(request.n_rows):
            # What is left of a longer row once it was fed in pieces is at most the limit.
            row_tokens = min(len(request.items[row]), limits.tokens)
            row_exclusions = len(request.exclusions[row])
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
        if start < request.n_rows:
            yield slice(start, request.n_rows)

    def _feed(self, items: ItemsArray, state: StateArray) -> ItemsArray:
        """Feed a row's items to its state, in place, while they exceed the limit; return the rest."""
        size = self._limits.tokens
        while len(items) > size:
            piece, items = items[:size], items[size:]
            _, _, new_states = self._backend.run(*_ragged([piece]), state[None], _pairs([]))
            state[:] = new_states[0]
        return items

    def _ranked(self, request: _Request, row: int, items: TopItemsArray, scores: TopScoresArray) -> Ranking:
        items, scores = items[: request.k], scores[: request.k]
        if np.isnan(scores).any():
            raise RequestError(
                f"row {row}: the scores are not numbers; was its state made by model {self.fingerprint}?"
            )
        ranked = scores > -np.inf
        ids = self.bundle.vocabulary.decode(items[ranked])
        return Ranking(ids, scores[ranked], request.unknown[row], popular=False)

    def _popular(self, request: _Request, row: int) -> Ranking:
        excluded, vocabulary = request.exclusions[row], self.bundle.vocabulary
        candidates = vocabulary.popular()[: request.k + len(excluded)]
        items = candidates[~np.isin(candidates, excluded)][: request.k]
        scores = vocabulary.counts[items - 1].astype(np.float32)
        return Ranking(vocabulary.decode(items), scores, request.unknown[row], popular=True)


def _ragged(rows: Sequence[ItemsArray]) -> tuple[ItemsArray, OffsetsArray]:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate(rows), offsets


def _pairs(exclusions: Sequence[ItemsArray]) -> ExcludeArray:
    """int32 [M, 2] of (row, item)."""
    pairs = np.empty((sum(map(len, exclusions)), 2), np.int32)
    if len(pairs):
        pairs[:, 0] = np.repeat(np.arange(len(exclusions)), [len(row) for row in exclusions])
        pairs[:, 1] = np.concatenate(exclusions)
    return pairs
