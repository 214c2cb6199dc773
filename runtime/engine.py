"""The engine: takes item ids, gives rankings; users' states are kept by the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from functools import cached_property
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import numpy as np

from recblr.array_types import (
    ItemsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import ConfigError, RequestError
from recblr.item_ids import IdType
from recblr.runtime.backends.base import Backend
from recblr.runtime.backends.catalogue import FEWEST_INDEXED, Catalogue, CatalogueBackend
from recblr.runtime.batching.batcher import Batcher
from recblr.runtime.batching.worker import run_rows
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.gpu.state_pool import DeviceStates, LeasingBackend
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
from recblr.runtime.limits import Limits
from recblr.runtime.ranking import Ranking, rank_found, rank_popular
from recblr.runtime.request import (
    BackendRun,
    CatalogueRun,
    LeasedRun,
    LeasedStates,
    Request,
    pairs,
    ragged,
)

_Result: TypeAlias = tuple[TopItemsArray, TopScoresArray, StatesArray]
_T = TypeVar("_T")


# `_answer` is a generator of what is to be computed next, so that a thread or a task may wait for it.
_Run: TypeAlias = BackendRun | LeasedRun | CatalogueRun
_Steps: TypeAlias = Generator[_Run, _Result, _T]


class Engine:
    """Answers for one bundle. It keeps nothing between calls; threads and event loops may share it.

    Attributes:
        bundle: the bundle.
        backend: runs the bundle's model.
        limits: the most that the backend is given at once.
    """

    def __init__(self, bundle: Bundle, backend: Backend, limits: Limits | None = None) -> None:
        """Join a verified bundle and a backend for it, as `recblr.runtime.load` does.

        Args:
            bundle: verified.
            backend: runs the bundle's model; a `Batcher` merges what concurrent callers ask.
            limits: the most that the backend is given at once; None for the defaults.
        """
        self.bundle = bundle
        self.backend = backend
        self.limits = limits or Limits()

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
        return self.backend.description

    @property
    def fingerprint(self) -> str:
        """The model's name, "sha256:<hex>"; states belong to one fingerprint."""
        return self.bundle.manifest.fingerprint

    @property
    def n_items(self) -> int:
        """V, how many items the catalogue has."""
        return self.bundle.manifest.n_items

    @property
    def id_type(self) -> IdType:
        """The type of the model's item ids, "integer" or "string"; others are converted where that is exact."""
        return self.bundle.vocabulary.id_type

    @property
    def max_k(self) -> int:
        """The most results per row that the backend ranks; for more, the engine ranks the catalogue by itself."""
        return min(self.bundle.manifest.max_k, self.n_items)

    @property
    def state_size(self) -> int:
        """S, the size of a state."""
        return self.bundle.manifest.state_size

    @property
    def batcher(self) -> Batcher | None:
        """What merges concurrent requests, with its metrics; None where nothing does."""
        return self.backend if isinstance(self.backend, Batcher) else None

    def recommend(
        self,
        histories: RowsOfIds,
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """The best next items for users given by their whole histories.

        Args:
            histories: [B] per user the item ids in chronological order, as list, tuple, NumPy array or what else
                `ItemVocabulary.encode` takes. It says, too, what the ids of another type than `id_type` mean.
            k: results per user; None is 10, or all items of a smaller catalogue. A user gets fewer where `exclude` and
                `only` leave fewer.
            exclude_seen: leave out the items of the history.
            exclude: [B] further item ids to leave out, or None.
            only: item ids to choose from, the best among them exactly: one list for all users, or [B] lists with None
                for a user who may have all; None for the whole catalogue. An `AllowList` is a list that is looked up
                once and not for every request.

        Returns:
            One ranking per user, in order.

        Raises:
            RequestError: `k` out of range, arguments of another form, or a row or list of ids of which the model knows
                none and one is of a type that it cannot know.
            OverloadedError, DeadlineError, ClosedError, BackendError, ForkError: see `recblr.runtime.Batcher.submit`,
                where the engine batches.
        """
        return self._answer_now(self._read_histories(histories, k, exclude_seen, exclude, only))[0]

    async def arecommend(
        self,
        histories: RowsOfIds,
        k: int | None = None,
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
        k: int | None = None,
        exclude: Exclude = None,
        only: Only = None,
    ) -> tuple[list[Ranking], StatesArray]:
        """The best next items for users given by their states and what is new since.

        What it costs does not depend on how long their histories are.

        Args:
            states: float32 [B, S] as the last step returned them, or one state per user with None for a new
                one, or None where all are new. They must come from a model of the same fingerprint.
            new_items: [B] per user the new item ids, in chronological order; none to ask again.
            k: results per user, fewer where `exclude` and `only` leave fewer.
            exclude: [B] item ids to leave out, or None; what a user has seen is not in the state.
            only: item ids to choose from; see `recommend`.

        Returns:
            One ranking per user, in order, and the new states, a new float32 array [B, S].

        Raises:
            RequestError: `k` out of range, states of another shape or not finite, or arguments of another
                form.
            OverloadedError, DeadlineError, ClosedError, BackendError, ForkError: see `recommend`.
        """
        request = self._read_new_items(new_items, k, exclude, only)
        prepared = prepare_states(states, request.n_rows, self.bundle.initial_state)
        return self._answer_now(request, prepared)

    def device_states(self, max_bytes: int) -> DeviceStates:
        """A pool of users' states on the GPU, for `step_leased`.

        Args:
            max_bytes: the most of the GPU's memory that it takes.

        Raises:
            ConfigError: what runs the model is not TensorRT, or it cannot keep states; there is no memory for one.
            BackendError: CUDA failed.
        """
        return self._leasing.device_states(max_bytes)

    def step_leased(
        self,
        states: LeasedStates,
        new_items: RowsOfIds,
        k: int | None = None,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """`step` on states that stay on the GPU; batches of concurrent callers are not merged.

        Args:
            states: a pool of this engine with a lease of B users. Those unknown to it start anew: their new items are
                the whole history.
            new_items: [B] per user the new item ids, in chronological order.
            k, exclude, only: see `step`.

        Returns:
            One ranking per user, in order.

        Raises:
            ConfigError: what runs the model is not TensorRT.
            RequestError: see `step`, and other than B users.
            BackendError: the GPU failed; the users' states may be lost.
        """
        request = self._read_new_items(new_items, k, exclude, only)
        if request.n_rows != len(states.lease.users):
            raise RequestError(f"the lease is of {len(states.lease.users)} users, new_items of {request.n_rows}")
        return self._finish(self._answer(request, states))[0]

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """End the batching, where there is any; see `recblr.runtime.Batcher.close`. Safe to call again."""
        if self.batcher is not None:
            self.batcher.close(drain, timeout)

    @cached_property
    def _catalogue(self) -> Catalogue:
        """Ranks what the backend cannot: allow-lists, and more than `max_k` results.

        Raises:
            BundleError: the embedding's file cannot be read any more.
        """
        if isinstance(self._unbatched, CatalogueBackend):
            return self._unbatched.catalogue
        return Catalogue.of_bundle(self.bundle, indexed=self.n_items >= FEWEST_INDEXED)

    @property
    def _unbatched(self) -> Backend:
        return self.backend.backend if isinstance(self.backend, Batcher) else self.backend

    @property
    def _leasing(self) -> LeasingBackend:
        backend = self._unbatched
        if not isinstance(backend, LeasingBackend):
            raise ConfigError(f"states stay on the GPU only in a TensorRT engine, and this is {self.description}")
        return backend

    def _read_new_items(self, new_items: RowsOfIds, k: int | None, exclude: Exclude, only: Only) -> Request:
        k = check_k(k, self.n_items)
        items, unknown = encode_rows(self.bundle.vocabulary, new_items, "new_items")
        exclusions = encode_exclusions(self.bundle.vocabulary, exclude, len(items))
        return Request(items, unknown, exclusions, encode_allowed(self.bundle.vocabulary, only, len(items)), k)

    def _read_histories(
        self, histories: RowsOfIds, k: int | None, exclude_seen: bool, exclude: Exclude, only: Only
    ) -> Request:
        vocabulary = self.bundle.vocabulary
        k = check_k(k, self.n_items)
        items, unknown = encode_rows(vocabulary, histories, "histories")
        exclusions = encode_exclusions(vocabulary, exclude, len(items), items if exclude_seen else None)
        return Request(items, unknown, exclusions, encode_allowed(vocabulary, only, len(items)), k)

    def _answer_now(self, request: Request, states: StatesArray | None = None) -> tuple[list[Ranking], StatesArray]:
        """The result of `_answer`, by a shorter way for one row and one run: half the time of a step is Python."""
        if not request.is_plain(self.max_k, self.limits.tokens):
            return self._finish(self._answer(request, states))
        if states is None:
            states = self.bundle.initial_state[None]
        items, offsets = ragged(request.items)
        exclude = pairs(request.exclusions)
        top_items, top_scores, new_states = run_rows(self.backend, items, offsets, states, exclude, request.k)
        if len(items) == 0 and not new_states[0, -self.bundle.manifest.dim :].any():
            return [rank_popular(self.bundle.vocabulary, request, 0)], new_states
        return [rank_found(self.bundle, request, 0, top_items[0], top_scores[0])], new_states

    def _finish(self, steps: _Steps[_T]) -> _T:
        """Compute one step after the other, and return the generator's result."""
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
                if self.batcher is not None and isinstance(step, BackendRun):
                    result = await self.batcher.arun(step.items, step.offsets, step.states, step.exclude, k=step.k)
                else:
                    result = await asyncio.to_thread(self._compute, step)
                step = steps.send(result)
        except StopIteration as end:
            finished: _T = end.value
            return finished

    def _compute(self, step: _Run) -> _Result:
        if isinstance(step, CatalogueRun):
            queries = step.states[:, -self.bundle.manifest.dim :]
            return (*self._catalogue.top_items(queries, step.k, step.exclude, step.only), step.states)
        if isinstance(step, LeasedRun):
            pool, lease = step.states.pool, step.states.lease
            return self._leasing.run_leased(step.items, step.offsets, pool, lease, step.exclude, fetch=step.fetch)
        return run_rows(self.backend, step.items, step.offsets, step.states, step.exclude, step.k)

    def _answer(
        self, request: Request, states: StatesArray | LeasedStates | None = None
    ) -> _Steps[tuple[list[Ranking], StatesArray]]:
        """The rankings, and the new states [B, S]; none [0, S] where no array of `states` [B, S] is given."""
        rankings: list[Ranking] = []
        states_of_parts: list[StatesArray] = []
        limit, initial = self.limits.tokens, self.bundle.initial_state
        for rows in request.parts(self.limits):
            items = request.items[rows]
            part: StatesArray | LeasedStates
            if isinstance(states, LeasedStates):
                part = states.rows(rows)
            elif states is not None:
                part = states[rows]
            else:
                part = initial[None] if len(items) == 1 else np.tile(initial, (len(items), 1))
            if max(map(len, items)) > limit:
                if not isinstance(part, LeasedStates):
                    part = part.copy()
                for b, history in enumerate(items):
                    if len(history) > limit:
                        at = slice(b, b + 1)
                        state = part.rows(at) if isinstance(part, LeasedStates) else part[at]
                        items[b] = yield from self._feed(history, state)
            by_catalogue = request.ranked_by_catalogue(rows, self.max_k)
            k = request.k if len(by_catalogue) < len(items) else 0
            exclude = pairs(request.exclusions[rows] if k else [])
            if isinstance(part, LeasedStates):
                top_items, top_scores, new_states = yield LeasedRun(
                    *ragged(items), part, exclude, fetch=bool(by_catalogue)
                )
                known = part.lease.fed.tolist()
            else:
                top_items, top_scores, new_states = yield BackendRun(*ragged(items), part, exclude, k)
                if states is not None:
                    states_of_parts.append(new_states)
                # The query vector of a new user is zero, of all others the output of a layer norm.
                dim = self.bundle.manifest.dim
                known = [len(row) > 0 or bool(new_states[b, -dim:].any()) for b, row in enumerate(items)]
            best_by_catalogue: dict[int, tuple[TopItemsArray, TopScoresArray]] = {}
            if by_catalogue and any(known[b] for b in by_catalogue):
                by_catalogue = [b for b in by_catalogue if known[b]]
                exclude = pairs([request.exclusions[rows.start + b] for b in by_catalogue])
                only = request.allowed_lists([rows.start + b for b in by_catalogue], self.n_items)
                of_rows = yield CatalogueRun(new_states[by_catalogue], exclude, only, request.k)
                best_by_catalogue = dict(zip(by_catalogue, zip(*of_rows[:2], strict=True), strict=True))
            for b, row in enumerate(range(rows.start, rows.stop)):
                if known[b]:
                    best = best_by_catalogue[b] if b in best_by_catalogue else (top_items[b], top_scores[b])
                    rankings.append(rank_found(self.bundle, request, row, *best))
                else:
                    rankings.append(rank_popular(self.bundle.vocabulary, request, row))
        if len(states_of_parts) == 1:
            return rankings, states_of_parts[0]
        return rankings, np.concatenate([np.empty((0, self.state_size), np.float32), *states_of_parts])

    def _feed(self, items: ItemsArray, state: StatesArray | LeasedStates) -> _Steps[ItemsArray]:
        """Feed a row's items to its state [1, S], in place, while they exceed the limit; return the rest."""
        size = self.limits.tokens
        while len(items) > size:
            piece, items = items[:size], items[size:]
            if isinstance(state, LeasedStates):
                yield LeasedRun(*ragged([piece]), state, pairs([]), fetch=False)
            else:
                _, _, state[:] = yield BackendRun(*ragged([piece]), state, pairs([]), k=0)
        return items
