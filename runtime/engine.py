"""The engine: takes item ids, gives rankings; users' states are kept by the caller."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import weakref
from types import TracebackType
from typing import NoReturn, Self

from recblr.array_types import StatesArray
from recblr.errors import ConfigError, ForkError, shown
from recblr.item_ids import IdType, is_sequence
from recblr.runtime import _core
from recblr.runtime.arguments import check_flag, check_seconds
from recblr.runtime.backends.base import Backend
from recblr.runtime.backends.threads import check_threads
from recblr.runtime.batching.metrics import BatcherMetrics
from recblr.runtime.batching.settings import Batching
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.event_loops import mailbox
from recblr.runtime.gpu.state_pool import DeviceStates, LeasingBackend
from recblr.runtime.inputs import Exclude, Only, RowsOfIds, States, check_k, prepare_states
from recblr.runtime.leasing import LeasedStates, rank_leased
from recblr.runtime.ranking import Ranking

# What an engine that nobody closed may take to answer the rest, when it is collected or the process ends.
_EXIT_SECONDS = 10.0

atexit.register(_core.wait_for_calls, _EXIT_SECONDS)


class Engine:
    """Answers for one bundle. It keeps nothing between calls; threads and event loops may share it.

    Attributes:
        bundle: the bundle.
        backend: what runs the model in place of the library's own kernels; None for those.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend | None = None,
        *,
        threads: int | None = None,
        batching: Batching | None = None,
        workers: int = 0,
        full_batches: bool = False,
    ) -> None:
        """Make an engine of a verified bundle, as `recblr.runtime.load` does.

        Args:
            bundle: verified.
            backend: runs the bundle's model; None for the library's own kernels on the CPU.
            threads: of one run of these, and of rankings that a backend leaves to the library; None for one per CPU
                that this process may use, or one where the engine batches.
            batching: merge the requests of concurrent callers so; None to run each by itself.
            workers: batches that run at once, where `batching` says nothing; 0 for one per CPU for their threads.
            full_batches: whether only a full batch is so cheap per user that it waits for no more, as on a GPU.

        Raises:
            BundleError: the library's kernels are asked for, and the bundle does not hold what they need.
            ConfigError: `threads` or `batching` has a value that it cannot have.
        """
        if not isinstance(bundle, Bundle):
            raise ConfigError(f"bundle is {shown(bundle)}: give what open_bundle returns")
        if batching is not None and not isinstance(batching, Batching):
            raise ConfigError(f"batching is {shown(batching)}: give a Batching, or None")
        self.bundle = bundle
        self.backend = backend
        threads = 0 if threads is None else check_threads(threads)
        options = None if batching is None else batching.options(workers, full_batches=full_batches)
        self._batches = options is not None
        self._core = _core.Engine(bundle.core, threads, options, backend)
        self._finalizer = weakref.finalize(self, _close_at_exit, self._core.closer())

    def __repr__(self) -> str:
        return f"<Engine of {self.n_items:,} items, {self.fingerprint}, {self.description}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Engine can be neither copied nor pickled: load it in the process that uses it")

    @property
    def core(self) -> _core.Engine:
        """The engine of the C++ library."""
        return self._core

    @property
    def description(self) -> str:
        """What runs the model and how, for people, such as "recblr's own kernels on the CPU, 2 threads"."""
        return self._core.description

    @property
    def fingerprint(self) -> str:
        """The model's name, "sha256:<hex>"; states belong to one fingerprint."""
        return self.bundle.manifest.fingerprint

    @property
    def n_items(self) -> int:
        """V, how many items the catalogue has."""
        return self.bundle.n_items

    @property
    def id_type(self) -> IdType:
        """The type of the model's item ids, "integer" or "string"; others are converted where that is exact."""
        return self.bundle.id_type

    @property
    def max_k(self) -> int:
        """The most results per row that the bundle's graph ranks; for more, the engine ranks the catalogue itself."""
        return min(self.bundle.manifest.max_k, self.n_items)

    @property
    def state_size(self) -> int:
        """S, the size of a state."""
        return self.bundle.state_size

    def metrics(self) -> BatcherMetrics | None:
        """What waits now, and counts since the start; None where the engine does not batch."""
        counts = self._core.metrics()
        return None if counts is None else BatcherMetrics.of_core(counts)

    def recommend(
        self,
        histories: RowsOfIds,
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """The best next items for users given by their whole histories.

        This decides what an item id that a caller gives means. One of the model's type is known or not. One of the
        other type is converted where that is exact, and then known or not: the string "25" is the integer 25, and the
        other way around. What is left, such as "A-1" or 1.0 for integers or None, can be no id of this model, and is
        skipped like an unknown one as long as another id is known. Where none is, the caller evidently speaks of
        another catalogue, or in another type, and that is an error.

        Args:
            histories: [B] per user the item ids in chronological order, as list, tuple, NumPy array, tensor, pandas or
                polars Series or Arrow array. Lists of Python's `int` or `str`, and arrays of integers, are the fastest.
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
            OverloadedError: the queue is full; nothing of the request was done.
            DeadlineError: the request waited longer than `Batching.timeout`.
            ClosedError: the engine is closed.
            BackendError: what runs the model failed on this request.
            ForkError: this process was forked after the engine was made.
        """
        return self._core.recommend(
            histories, check_k(k, self.n_items), check_flag(exclude_seen, "exclude_seen"), exclude, only
        )

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
        arguments = histories, check_k(k, self.n_items), check_flag(exclude_seen, "exclude_seen"), exclude, only
        if not self._batches:
            return await asyncio.to_thread(self._core.recommend, *arguments)
        rankings: list[Ranking] = await mailbox().ask(self._core, *arguments)
        return rankings

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
        k = check_k(k, self.n_items)
        n_rows = len(new_items) if is_sequence(new_items) else None  # None: that is what the core refuses first
        prepared = None if n_rows is None else prepare_states(states, n_rows, self.bundle.initial_state)
        return self._core.step(prepared, new_items, k, exclude, only)

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
        return rank_leased(
            self.bundle, self._leasing, self.step, states, new_items, check_k(k, self.n_items), exclude, only
        )

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Take no more requests, answer or fail those that wait, and end the workers. Safe to call again.

        Args:
            drain: run what waits; otherwise it fails with a ClosedError, except what runs just now.
            timeout: seconds after which the rest fails, too, and a run that does not end is left behind; None to
                wait for it.

        Raises:
            ConfigError: an argument is of another form.
        """
        drain = check_flag(drain, "drain", ConfigError)
        if timeout is not None:
            timeout = check_seconds(timeout, "timeout", "seconds from 0, or None for no bound", zero=True)
        self._finalizer.detach()
        self._core.close(drain, timeout)

    @property
    def _leasing(self) -> LeasingBackend:
        backend: object = self.backend
        if not isinstance(backend, LeasingBackend):
            raise ConfigError(f"states stay on the GPU only in a TensorRT engine, and this is {self.description}")
        return backend


def _close_at_exit(core: _core.EngineCloser) -> None:
    with contextlib.suppress(ForkError):  # its workers are the parent's
        core.close(True, _EXIT_SECONDS)
