"""The engine: item ids in, rankings out, with users' states kept by the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float32

from recblr.array_types import (
    ItemId,
    ItemsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BundleError, RequestError
from recblr.runtime.backend import Backend, Limits, advance
from recblr.runtime.batcher import Batcher
from recblr.runtime.bundle import Bundle, StateArray
from recblr.runtime.catalogue import Catalogue
from recblr.runtime.engine_request import CatalogueRun, EngineRequest, GraphRun, pairs, ragged
from recblr.runtime.inputs import (
    Exclude,
    Only,
    RowsOfIds,
    States,
    check_k,
    encode_allowed,
    encode_exclusions,
    encode_rows,
    prepare_states,
)

ScoresArray: TypeAlias = Float32[np.ndarray, "n"]
_Result: TypeAlias = tuple[TopItemsArray, TopScoresArray, StatesArray]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best items for one row.

    Attributes:
        items: n <= k item ids, best first; fewer than k where exclusions and allow-list leave no more.
        scores: float32 [n], descending; equal ones in the order of the model's indices.
        unknown: how many of the row's item ids the model does not know; they were skipped.
        popular: nothing is known of the user, so these are the most popular items, and scores their counts.
    """

    items: list[ItemId]
    scores: ScoresArray
    unknown: int
    popular: bool


# What is to be computed next, for whom it does not matter how it is waited for.
_Steps: TypeAlias = Generator[GraphRun | CatalogueRun, _Result, _T]


class Engine:
    """Answers for one bundle. It keeps nothing between calls; threads and event loops may share it."""

    def __init__(self, bundle: Bundle, backend: Backend, limits: Limits | None = None) -> None:
        """Join a bundle and what runs its graph; `recblr.runtime.load` does both.

        Args:
            bundle: verified.
            backend: runs the bundle's graph; a `Batcher` merges what concurrent callers ask.
            limits: the most that the backend is given at once.
        """
        self.bundle = bundle
        self._backend = backend
        self._limits = limits or Limits()

    def __repr__(self) -> str:
        return f"<Engine of {self.n_items:,} items, {self.fingerprint}, {self.description}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    @property
    def description(self) -> str:
        """What runs the model and how, for people, such as "recblr's own kernels on the CPU, 2 threads"."""
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
        """The most results per row that the graph itself ranks; the catalogue is ranked beside it for more."""
        return min(self.bundle.manifest.max_k, self.n_items)

    @property
    def state_size(self) -> int:
        """S."""
        return self.bundle.manifest.state_size

    @property
    def batcher(self) -> Batcher | None:
        """What merges concurrent requests, with its metrics; None where nothing does."""
        return self._backend if isinstance(self._backend, Batcher) else None

    def recommend(
        self,
        histories: RowsOfIds,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """The best next items for users given by their whole histories.

        Args:
            histories: [B] per user the item ids in chronological order, as list, tuple or NumPy array.
            k: results per user.
            exclude_seen: leave out the items of the history.
            exclude: [B] item ids to leave out besides, or None.
            only: item ids to choose from, the best among them exactly: one list for all users, or [B] lists with None
                for a user who may have all; None for the whole catalogue.

        Returns:
            One ranking per user, in order.

        Raises:
            RequestError: `k` out of range, or arguments of another form.
            OverloadedError, DeadlineError, ClosedError, BackendError, ForkError: see `recblr.runtime.Batcher.submit`,
                where the engine batches.
        """
        return self._finish(self._answer(self._read_histories(histories, k, exclude_seen, exclude, only)))[0]

    async def arecommend(
        self,
        histories: RowsOfIds,
        k: int = 10,
        exclude_seen: bool = True,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """`recommend` for asyncio.

        Where the engine batches, no thread waits, and cancelling the task withdraws what has not run; otherwise a
        thread computes.
        """
        request = self._read_histories(histories, k, exclude_seen, exclude, only)
        return (await self._finish_async(self._answer(request)))[0]

    def step(
        self,
        states: States,
        new_items: RowsOfIds,
        k: int = 10,
        exclude: Exclude = None,
        only: Only = None,
    ) -> tuple[list[Ranking], StatesArray]:
        """The best next items for users given by their states and what is new since.

        What it costs does not depend on how long their histories are.

        Args:
            states: float32 [B, S] as the last step returned them, or one state per user with None for a new
                one, or None where all are new. They must come from a model of the same fingerprint.
            new_items: [B] per user the new item ids, in chronological order; none to ask again.
            k: results per user.
            exclude: [B] item ids to leave out, or None; what a user has seen is not in the state.
            only: item ids to choose from; see `recommend`.

        Returns:
            One ranking per user, in order, and the new states, a new float32 array [B, S].

        Raises:
            RequestError: `k` out of range, states of another shape or not finite, or arguments of another
                form.
            OverloadedError, DeadlineError, ClosedError, BackendError, ForkError: see `recommend`.
        """
        k = check_k(k, self.n_items)
        items, unknown = encode_rows(self.bundle.vocabulary, new_items, "new_items")
        exclusions = encode_exclusions(self.bundle.vocabulary, exclude, len(items))
        allowed = encode_allowed(self.bundle.vocabulary, only, len(items))
        prepared = prepare_states(states, len(items), self.bundle.initial_state)
        return self._finish(self._answer(EngineRequest(items, unknown, exclusions, allowed, k), prepared))

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """End the batching, where there is any; see `recblr.runtime.Batcher.close`. Safe to call again."""
        if self.batcher is not None:
            self.batcher.close(drain, timeout)

    @cached_property
    def _catalogue(self) -> Catalogue:
        """Only for what the graph does not rank.

        Raises:
            RequestError: the bundle's graph holds no embedding that can be mapped.
        """
        try:
            return Catalogue.of_bundle(self.bundle)
        except BundleError as error:
            raise RequestError(f"only, and k above {self.max_k}, need the items' embedding, but {error}") from error

    def _read_histories(
        self, histories: RowsOfIds, k: int, exclude_seen: bool, exclude: Exclude, only: Only
    ) -> EngineRequest:
        vocabulary = self.bundle.vocabulary
        k = check_k(k, self.n_items)
        items, unknown = encode_rows(vocabulary, histories, "histories")
        exclusions = encode_exclusions(vocabulary, exclude, len(items), items if exclude_seen else None)
        return EngineRequest(items, unknown, exclusions, encode_allowed(vocabulary, only, len(items)), k)

    def _finish(self, steps: _Steps[_T]) -> _T:
        """Compute step after step; what the last one leads to."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._compute(step))
        except StopIteration as end:
            result: _T = end.value
            return result

    async def _finish_async(self, steps: _Steps[_T]) -> _T:
        try:
            step = next(steps)
            while True:
                if self.batcher is not None and isinstance(step, GraphRun):
                    result = await self.batcher.arun(
                        step.items, step.offsets, step.states, step.exclude, rank=step.rank
                    )
                else:
                    result = await asyncio.to_thread(self._compute, step)
                step = steps.send(result)
        except StopIteration as end:
            finished: _T = end.value
            return finished

    def _compute(self, step: GraphRun | CatalogueRun) -> _Result:
        if isinstance(step, CatalogueRun):
            queries = step.states[:, -self.bundle.manifest.dim :]
            return (*self._catalogue.top_items(queries, step.k, step.exclude, step.only), step.states)
        if step.rank:
            return self._backend.run(step.items, step.offsets, step.states, step.exclude)
        states = advance(self._backend, step.items, step.offsets, step.states)
        return np.empty((len(states), 0), np.int32), np.empty((len(states), 0), np.float32), states

    def _answer(
        self, request: EngineRequest, states: StatesArray | None = None
    ) -> _Steps[tuple[list[Ranking], StatesArray]]:
        """The rankings, and the new states [B, S]; none [0, S] where no `states` [B, S] are given."""
        rankings: list[Ranking] = []
        states_of_parts: list[StatesArray] = []
        limit, initial = self._limits.tokens, self.bundle.initial_state
        for rows in request.parts(self._limits):
            items = request.items[rows]
            if states is not None:
                part = states[rows]
            else:
                part = initial[None] if len(items) == 1 else np.tile(initial, (len(items), 1))
            if max(map(len, items)) > limit:
                part = part.copy()
                for b, history in enumerate(items):
                    if len(history) > limit:
                        items[b] = yield from self._feed(history, part[b])
            beside = self._beside(request, rows)
            rank = len(beside) < len(items)
            exclude = pairs(request.exclusions[rows] if rank else [])
            top_items, top_scores, new_states = yield GraphRun(*ragged(items), part, exclude, rank)
            if states is not None:
                states_of_parts.append(new_states)
            # The query vector of a new user is zero, of all others the output of a layer norm.
            dim = self.bundle.manifest.dim
            known = [len(row) > 0 or bool(new_states[b, -dim:].any()) for b, row in enumerate(items)]
            best_beside: dict[int, tuple[TopItemsArray, TopScoresArray]] = {}
            if beside and any(known[b] for b in beside):
                beside = [b for b in beside if known[b]]
                exclude = pairs([request.exclusions[rows.start + b] for b in beside])
                only = self._only(request, [rows.start + b for b in beside])
                of_rows = yield CatalogueRun(new_states[beside], exclude, only, request.k)
                best_beside = dict(zip(beside, zip(*of_rows[:2], strict=True), strict=True))
            for b, row in enumerate(range(rows.start, rows.stop)):
                if known[b]:
                    best = best_beside[b] if b in best_beside else (top_items[b], top_scores[b])
                    rankings.append(self._ranked(request, row, *best))
                else:
                    rankings.append(self._popular(request, row))
        if len(states_of_parts) == 1:
            return rankings, states_of_parts[0]
        return rankings, np.concatenate([np.empty((0, self.state_size), np.float32), *states_of_parts])

    def _beside(self, request: EngineRequest, rows: slice) -> list[int]:
        """Which of these rows, counted from their first, the catalogue ranks and not the graph."""
        if request.k > self.max_k:
            return list(range(rows.stop - rows.start))
        if request.allowed is None:
            return []
        return [b for b in range(rows.stop - rows.start) if request.allowed_of(rows.start + b) is not None]

    def _only(self, request: EngineRequest, rows: Sequence[int]) -> ItemsArray | Sequence[ItemsArray] | None:
        """What `Catalogue.top_items` takes for these rows."""
        if not isinstance(request.allowed, list):
            return request.allowed
        lists = [request.allowed[row] for row in rows]
        everything: ItemsArray = np.arange(1, self.n_items + 1, dtype=np.int32)
        return [everything if items is None else items for items in lists]

    def _feed(self, items: ItemsArray, state: StateArray) -> _Steps[ItemsArray]:
        """Feed a row's items to its state, in place, while they exceed the limit; return the rest."""
        size = self._limits.tokens
        while len(items) > size:
            piece, items = items[:size], items[size:]
            _, _, new_states = yield GraphRun(*ragged([piece]), state[None], pairs([]), rank=False)
            state[:] = new_states[0]
        return items

    def _ranked(self, request: EngineRequest, row: int, items: TopItemsArray, scores: TopScoresArray) -> Ranking:
        items, scores = items[: request.k], scores[: request.k]
        # NaN ranks first, what is excluded last.
        if not (scores[0] == scores[0] and scores[-1] > -np.inf):
            if np.isnan(scores).any():
                raise RequestError(
                    f"row {row}: the scores are not numbers; was its state made by model {self.fingerprint}?"
                )
            ranked = scores > -np.inf
            items, scores = items[ranked], scores[ranked]
        return Ranking(self.bundle.vocabulary.decode(items), scores, request.unknown[row], popular=False)

    def _popular(self, request: EngineRequest, row: int) -> Ranking:
        excluded, allowed, vocabulary = request.exclusions[row], request.allowed_of(row), self.bundle.vocabulary
        candidates = vocabulary.popular()
        if allowed is not None:
            candidates = candidates[np.isin(candidates, allowed)]
        candidates = candidates[: request.k + len(excluded)]
        items = candidates[~np.isin(candidates, excluded)][: request.k]
        scores = vocabulary.counts[items - 1].astype(np.float32)
        return Ranking(vocabulary.decode(items), scores, request.unknown[row], popular=True)
