"""Merges the requests of concurrent callers into batches."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray
from recblr.errors import ConfigError, ForkError, RecblrError, RequestError, short_reason
from recblr.runtime.backends.base import Backend
from recblr.runtime.batching.callers import Outcome
from recblr.runtime.batching.delivery import deliver
from recblr.runtime.batching.job import Job, Result, checked_offsets
from recblr.runtime.batching.metrics import BatcherMetrics
from recblr.runtime.batching.queue import BatchQueue
from recblr.runtime.batching.settings import BATCH_LIMITS
from recblr.runtime.batching.worker import BatchRunner, explained, run_rows
from recblr.runtime.limits import Limits

# What a batcher that nobody closed may take to answer the rest, when it is collected or the process ends.
_EXIT_SECONDS = 10.0


class Batcher:
    """A `recblr.runtime.Backend` in front of another, which merges what concurrent callers send.

    `Engine(bundle, Batcher(backend))` batches without the engine's knowing. A worker that is free takes what waits at
    once, so a lone request is not delayed; while workers are busy, requests gather and go together, up to `limits`.
    A thread in `run` that finds nothing waiting and a worker free computes its rows itself, in the worker's place; up
    to `callers` threads do so whatever waits, where to merge rows saves less than to hand them over costs.

    Rows of at most `short_tokens` items (steps) and longer ones are batched apart and take turns. Of longer ones that
    wait, a worker takes its share, so that none is idle while another computes them all, or a quarter of that where a
    smaller batch is hardly dearer (`preferred`), and while steps come, half of `limits.tokens` at most. A row longer
    than `limits.tokens` is fed in pieces of that size, through its state: a step never waits for the whole of a long
    history, and neither kind is starved.

    A result is that of the same request alone: the backend is given the same pieces of every row, whatever else runs.
    What is left is the backend's rounding. On the native library's kernels, and in ONNX Runtime's CPU with the native
    ops at a fixed number of threads, results are equal bit for bit. With the ops as ONNX functions, that holds for rows
    of one item; longer ones agree within 1e-5 of their largest value, since the functions compute them in padded or in
    chunked form, as the rows of the batch make it cheaper.

    A run that raises is repeated in halves, down to single rows, so that only the request at fault gets the error,
    and a batch too large for the memory becomes two. Safe for any number of threads and event loops.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits = BATCH_LIMITS,
        *,
        max_delay: float = 0.0,
        preferred: Limits | None = None,
        max_queued_rows: int = 4096,
        max_queued_tokens: int = 1_048_576,
        timeout: float | None = None,
        short_tokens: int = 16,
        workers: int = 1,
        callers: int = 0,
        cpus: Sequence[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the workers.

        Args:
            backend: runs the batches; it may be given buffers that are used again after the run.
            limits: of one batch. The exclusions of one row are never split.
            max_delay: seconds that a free worker waits for more before it starts a batch smaller than `preferred`.
            preferred: so many rows or items are a batch that waits for no more, which would hardly be cheaper per row;
                the exclusions do not matter. None for full batches.
            max_queued_rows: rows that may wait; a request beyond is refused, unless nothing waits.
            max_queued_tokens: items that may wait, in the same way.
            timeout: seconds that a request may wait where it does not say; None for no bound.
            short_tokens: the longest row that counts as short.
            workers: threads; more than one where the backend gains from several runs at once.
            callers: threads in `run` that compute their rows themselves besides.
            cpus: a CPU for each worker to stay on, as `os.sched_getaffinity` numbers them; None to have the system
                choose. Threads that the backend starts in a run would inherit it.
            clock: seconds, never going back.

        Raises:
            ConfigError: a value out of its range.
        """
        preferred = limits if preferred is None else preferred
        for name, value, least in (
            ("limits.rows", limits.rows, 1),
            ("limits.tokens", limits.tokens, 1),
            ("limits.exclusions", limits.exclusions, 1),
            ("preferred.rows", preferred.rows, 1),
            ("preferred.tokens", preferred.tokens, 1),
            ("max_queued_rows", max_queued_rows, 1),
            ("max_queued_tokens", max_queued_tokens, 1),
            ("workers", workers, 1),
            ("callers", callers, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} is {value!r}: give a whole number of at least {least}")
        if not 0 <= max_delay < float("inf"):
            raise ConfigError(f"max_delay is {max_delay!r}: give seconds, 0 for none")
        _check_timeout(timeout, ConfigError)
        if cpus is not None:
            _check_cpus(cpus, workers)
        self._backend = backend
        self._limits = limits
        self._timeout = timeout
        self._process = os.getpid()
        self._queue = BatchQueue(
            limits,
            short_tokens=short_tokens,
            max_delay=max_delay,
            preferred=preferred,
            max_rows=max_queued_rows,
            max_tokens=max_queued_tokens,
            workers=workers,
            callers=callers,
            clock=clock,
            deliver=deliver,
        )
        # Workers know the queue and not the batcher: one that is forgotten is collected, and its workers end.
        self._workers = [
            threading.Thread(
                target=_work,
                args=(self._queue, backend, limits, None if cpus is None else cpus[n]),
                name=f"recblr-batch-{n}",
                daemon=True,
            )
            for n in range(workers)
        ]
        self._finalizer = weakref.finalize(self, _close, self._queue, self._workers, self._process, True, _EXIT_SECONDS)
        for worker in self._workers:
            worker.start()

    @property
    def backend(self) -> Backend:
        """What runs the batches."""
        return self._backend

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The workers' threads."""
        return tuple(self._workers)

    @property
    def description(self) -> str:
        """What runs the model and how, and that requests are merged, on one line for people."""
        return f"{self._backend.description}, batching"

    def submit(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        timeout: float | None = None,
        k: int | None = None,
    ) -> Future[Result]:
        """Send rows, and get a future of what `run` returns.

        The arrays must not change until the answer is there. Cancelling the future, at any time before the answer,
        frees its place in the queue at once; a part that runs already is dropped after. `running()` stays False.

        Args:
            items: int32 [N], see `recblr.runtime.Backend.run`.
            offsets: int32 [B + 1].
            state_in: float32 [B, S].
            exclude: int32 [M, 2].
            timeout: seconds that the rows may wait for their run; None for the batcher's. Time is looked at between
                batches: a run is never interrupted.
            k: results per row, at most; None for as many as the backend gives, 0 for the states alone.

        Returns:
            A future of (int32 [B, k], float32 [B, k], float32 [B, S]). Its error is a DeadlineError, a ClosedError, a
            BackendError where the backend failed on these rows, or what it raised if that is a RecblrError.

        Raises:
            RequestError: arrays of another form.
            OverloadedError: the queue is full.
            ClosedError: the batcher is closed.
            ForkError: this process was forked after the batcher was made.
        """
        self._check_process()
        future = self._future(items, offsets, state_in, exclude, k)
        self._queue.put(future.job, self._seconds(timeout))
        return future

    def _future(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        k: int | None,
        places: list[int] | None = None,
    ) -> _WithdrawingFuture:
        future = _WithdrawingFuture(self._queue)
        future.job = Job(items, offsets, state_in, exclude, future, k=k, places=places)
        return future

    async def arun(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        timeout: float | None = None,
        k: int | None = None,
    ) -> Result:
        """`run` for asyncio: no thread waits, and cancelling the task withdraws the rows."""
        self._check_process()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        job = Job(items, offsets, state_in, exclude, future, loop, k)
        self._queue.put(job, self._seconds(timeout))
        try:
            return await future
        finally:
            if not job.done:  # cancelled
                self._queue.withdraw(job)

    def run(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray) -> Result:
        """Have the rows run in a batch, and wait; arguments, results and errors are those of `submit`."""
        return self._wait(items, offsets, state_in, exclude, None)

    def run_best(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> Result:
        """As `run`, with the first k results per row, or all where there are fewer."""
        return self._wait(items, offsets, state_in, exclude, k)

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """As `run`, for the new states alone."""
        return self._wait(items, offsets, state_in, np.empty((0, 2), np.int32), 0)[2]

    def _wait(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int | None
    ) -> Result:
        thread = threading.current_thread()
        if thread in self._workers:
            raise RequestError("run was called in a future's callback, where it would wait for itself: use submit")
        self._check_process()
        places = checked_offsets(items, offsets, state_in, exclude)
        # Ctrl-C may come in the main thread, and must not meet the queue's bookkeeping.
        if thread is not threading.main_thread():
            result = self._run_alone(items, offsets, state_in, exclude, k)
            if result is not None:
                return result
        future = self._future(items, offsets, state_in, exclude, k, places)
        self._queue.put(future.job, self._timeout)
        try:
            return future.result()
        finally:
            future.cancel()  # where Ctrl-C ended the wait

    def _run_alone(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int | None
    ) -> Result | None:
        """Run rows, once checked, in this thread, where nothing waits; None where they must go through the queue."""
        limits, n_rows, n_tokens = self._limits, len(state_in), len(items)
        too_many = n_rows > 1 and len(exclude) > limits.exclusions
        if n_rows > limits.rows or n_tokens > limits.tokens or too_many or not self._queue.enter(n_rows, n_tokens):
            return None
        outcome: Outcome = "failed"
        try:
            result = run_rows(self._backend, items, offsets, state_in, exclude, k)
            outcome = "answered"
            return result
        except Exception as error:
            if n_rows > 1:  # which may be too large for the memory: workers repeat it in halves
                outcome = "again"
                return None
            explanation = explained(error)
            raise explanation from explanation.__cause__
        finally:
            self._queue.leave(n_rows, n_tokens, outcome)

    def metrics(self) -> BatcherMetrics:
        """What waits now, and counts since the start."""
        self._check_process()
        return self._queue.metrics()

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Take no more requests, answer or fail those that wait, and end the workers. Safe to call again.

        Args:
            drain: run what waits; otherwise it fails with a ClosedError, except what runs just now.
            timeout: seconds after which the rest fails, too, and a run that does not end is left behind.
        """
        self._finalizer.detach()
        _close(self._queue, self._workers, self._process, drain, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def _seconds(self, timeout: float | None) -> float | None:
        if timeout is None:
            return self._timeout
        _check_timeout(timeout, RequestError)
        return timeout

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkError(
                f"the batcher was made in process {self._process}, before this one was forked from it, and its threads "
                "stayed there: load the engine after the fork"
            )


class _WithdrawingFuture(Future[Result]):
    """A future whose cancelling frees its job's place in the queue."""

    job: Job

    def __init__(self, queue: BatchQueue) -> None:
        super().__init__()
        self._queue = queue

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled and self._queue.withdraw(self.job):
            self.set_running_or_notify_cancel()  # tells `concurrent.futures.wait`
        return cancelled


def _check_timeout(timeout: float | None, error: type[RecblrError]) -> None:
    if timeout is not None and not timeout > 0:
        raise error(f"timeout is {timeout!r}: give seconds above 0, or None")


def _check_cpus(cpus: Sequence[int], workers: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("workers cannot be kept on CPUs on this system: give no cpus")
    usable = sorted(os.sched_getaffinity(0))
    if len(cpus) != workers or not set(cpus) <= set(usable):
        raise ConfigError(f"cpus is {list(cpus)!r}: give one of {usable} for each of the {workers} workers")


def _work(queue: BatchQueue, backend: Backend, limits: Limits, cpu: int | None) -> None:
    """Run batches until the queue is closed and empty: what a worker's thread does."""
    runner = BatchRunner(queue, backend, limits)
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})  # of this thread alone
        while (parts := queue.take()) is not None:
            runner.run(parts)
            del parts
    except BaseException as error:
        # Nothing is known of the queue any more, so every caller is told rather than left waiting.
        queue.close()
        queue.fail_open(f"the batcher's worker ended ({type(error).__name__}: {short_reason(error)})", running=True)
        raise


def _close(
    queue: BatchQueue, workers: Sequence[threading.Thread], process: int, drain: bool, timeout: float | None
) -> None:
    if os.getpid() != process:
        return
    queue.close()
    if not drain:
        queue.fail_open("the batcher was closed before the request ran", running=False)
    end = None if timeout is None else time.monotonic() + timeout

    def left() -> float | None:
        return None if end is None else max(0.0, end - time.monotonic())

    for worker in workers:
        if worker is not threading.current_thread():
            worker.join(left())
    idle = threading.current_thread() in workers or queue.wait_until_idle(left())
    if not idle or any(worker.is_alive() for worker in workers if worker is not threading.current_thread()):
        queue.fail_open(f"the batcher was closed, and had not answered within {timeout} s", running=True)
