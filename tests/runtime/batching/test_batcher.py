"""The batcher: concurrent callers share runs, and each gets the answer it would get alone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from recblr.errors import (
    BackendError,
    ClosedError,
    ConfigError,
    DeadlineError,
    ForkError,
    OverloadedError,
    RequestError,
)
from recblr.runtime import Batcher, Engine, Limits

WAIT = 20.0  # a test that hangs fails after so many seconds
POISON = 666
LIMITS = Limits(rows=4, tokens=8, exclusions=6)


class FakeBackend:
    """Sums: a state [count, sum] grows by each item. The ranking is [sum, count, excluded items' sum]."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.error: BaseException | None = None
        self.max_rows = 10**9
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(self, items: np.ndarray, offsets: np.ndarray, state_in: np.ndarray, exclude: np.ndarray) -> Any:
        lengths = np.diff(offsets)
        self.runs.append(lengths.tolist())
        self.entered.release()
        assert self.gate.wait(WAIT)
        if self.error is not None:
            raise self.error
        if len(lengths) > self.max_rows:
            raise MemoryError
        if POISON in items:
            raise RuntimeError("index out of range")
        states = state_in.copy()
        excluded = np.zeros(len(lengths), np.int64)
        np.add.at(excluded, exclude[:, 0], exclude[:, 1])
        for b in range(len(lengths)):
            states[b] += [lengths[b], items[offsets[b] : offsets[b + 1]].sum()]
        scores = np.stack([states[:, 1], states[:, 0], excluded], axis=1).astype(np.float32)
        return scores.astype(np.int32), scores, states


Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def rows(*lists: list[int], state: float = 0.0, exclude: list[tuple[int, int]] | None = None) -> Rows:
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum([len(row) for row in lists], out=offsets[1:])
    items = np.array([item for row in lists for item in row], np.int32)
    return items, offsets, np.full((len(lists), 2), state, np.float32), np.array(exclude or [], np.int32).reshape(-1, 2)


def sums(result: Any) -> list[list[float]]:
    return result[1].tolist()


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    fake = FakeBackend()
    yield fake
    fake.gate.set()


@pytest.fixture
def make(backend: FakeBackend) -> Iterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def build(**options: Any) -> Batcher:
        made.append(Batcher(backend, **{"limits": LIMITS, "short_tokens": 2, **options}))
        return made[-1]

    yield build
    backend.gate.set()
    for batcher in made:
        batcher.close()


def block(batcher: Batcher, backend: FakeBackend) -> concurrent.futures.Future[Any]:
    """Keep the worker busy until the gate opens, so that what follows waits."""
    backend.gate.clear()
    future = batcher.submit(*rows([1]))
    assert backend.entered.acquire(timeout=WAIT)
    return future


def test_waiting_requests_share_a_run_and_keep_their_order(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    first = block(batcher, backend)
    futures = [batcher.submit(*rows([n], state=n, exclude=[(0, 10 + n)])) for n in (1, 2)] + [
        batcher.submit(*rows([5], [], exclude=[(1, 7)]))
    ]
    backend.gate.set()
    assert sums(first.result(WAIT)) == [[1, 1, 0]]
    assert [sums(f.result(WAIT)) for f in futures] == [[[2, 2, 11]], [[4, 3, 12]], [[5, 1, 0], [0, 0, 7]]]
    assert backend.runs == [[1], [1, 1, 1, 0]]


class BestFake(FakeBackend):
    """Notes how many results it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def run_best(self, items: Any, offsets: Any, state_in: Any, exclude: Any, k: int) -> Any:
        self.asked.append(k)
        top_items, top_scores, states = self.run(items, offsets, state_in, exclude)
        return top_items[:, :k], top_scores[:, :k], states


@pytest.mark.parametrize("kind", [BestFake, FakeBackend])
def test_each_request_gets_as_many_results_as_it_asks_for(kind: type[FakeBackend]) -> None:
    fake = kind()
    with Batcher(fake, LIMITS) as batcher:
        first = block(batcher, fake)
        futures = [batcher.submit(*rows([n]), k=k) for n, k in ((3, 1), (4, 2), (5, 0))]
        fake.gate.set()
        assert sums(first.result(WAIT)) == [[1, 1, 0]]
        assert [sums(future.result(WAIT)) for future in futures] == [[[3]], [[4, 1]], [[]]]
        assert batcher.submit(*rows([6]), k=9).result(WAIT)[0].tolist() == [[6, 1, 0]]
        assert batcher.submit(*rows([7]), k=2).result(WAIT)[0].tolist() == [[7, 1]]
        assert batcher.run_best(*rows([8]), 1)[0].tolist() == [[8]]
        with pytest.raises(RequestError, match="k is -1"):
            batcher.submit(*rows([1]), k=-1)
    if isinstance(fake, BestFake):
        assert fake.asked == [2, 9, 2, 1]


def test_a_request_for_all_results_gets_them_beside_others(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    block(batcher, backend)
    few, whole = batcher.submit(*rows([3]), k=1), batcher.submit(*rows([4]))
    backend.gate.set()
    assert sums(few.result(WAIT)) == [[3]]
    assert sums(whole.result(WAIT)) == [[4, 1, 0]]


def test_batches_keep_the_limits(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    block(batcher, backend)
    many = batcher.submit(*rows(*([n] for n in range(10))))
    excluding = batcher.submit(*rows([1], [2], exclude=[(0, 1)] * 4 + [(1, 2)] * 9))
    backend.gate.set()
    assert [total for total, _, _ in sums(many.result(WAIT))] == list(range(10))
    assert sums(excluding.result(WAIT)) == [[1, 1, 4], [2, 1, 18]]
    assert all(len(run) <= LIMITS.rows and sum(run) <= LIMITS.tokens for run in backend.runs)


def test_a_long_history_goes_in_pieces_between_steps(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    block(batcher, backend)
    history = batcher.submit(*rows(list(range(1, 101)), [3], exclude=[(0, 5), (1, 6)]))
    steps = [batcher.submit(*rows([n])) for n in range(8)]
    backend.gate.set()
    assert sums(history.result(WAIT)) == [[5050, 100, 5], [3, 1, 6]]
    assert [sums(step.result(WAIT)) for step in steps] == [[[n, 1, 0]] for n in range(8)]
    # Both batches of steps are through before the third piece of the history.
    assert backend.runs[1:5] in ([[1] * 4, [8], [1] * 4, [8]], [[8], [1] * 4, [8], [1] * 4])


def test_a_poisonous_request_fails_alone(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    block(batcher, backend)
    good = [batcher.submit(*rows([1])), batcher.submit(*rows([2]))]
    bad = batcher.submit(*rows([4], [POISON]))
    backend.gate.set()
    assert [sums(f.result(WAIT)) for f in good] == [[[1, 1, 0]], [[2, 1, 0]]]
    with pytest.raises(BackendError, match="RuntimeError: index out of range"):
        bad.result(WAIT)
    metrics = batcher.metrics()
    assert (metrics.failed, metrics.open_requests) == (1, 0)


def test_states_of_another_size_fail_alone(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    block(batcher, backend)
    good = batcher.submit(*rows([1]))
    items, offsets, _, exclude = rows([1])
    bad = batcher.submit(items, offsets, np.zeros((1, 5), np.float32), exclude)
    backend.gate.set()
    assert sums(good.result(WAIT)) == [[1, 1, 0]]
    with pytest.raises(BackendError):
        bad.result(WAIT)


def test_a_batch_too_large_for_the_memory_is_halved(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    backend.max_rows = 1
    assert sums(make().run(*rows([1], [2], [3], [4], exclude=[(0, 1), (3, 9)]))) == [
        [1, 1, 1],
        [2, 1, 0],
        [3, 1, 0],
        [4, 1, 9],
    ]


@pytest.mark.parametrize("error", [MemoryError("none left"), ValueError("x"), SystemExit(3)])
def test_a_failing_backend_answers_everyone_and_recovers(
    backend: FakeBackend, make: Callable[..., Batcher], error: BaseException
) -> None:
    batcher = make()
    first = block(batcher, backend)
    others = [batcher.submit(*rows([1])) for _ in range(9)]
    backend.error = error
    backend.gate.set()
    for future in (first, *others):
        with pytest.raises(BackendError, match=type(error).__name__):
            future.result(WAIT)
    backend.error = None
    assert sums(batcher.run(*rows([7]))) == [[7, 1, 0]]


def test_a_full_queue_refuses_and_cancelling_frees_its_place(
    backend: FakeBackend, make: Callable[..., Batcher]
) -> None:
    batcher = make(max_queued_rows=2)
    block(batcher, backend)
    waiting = [batcher.submit(*rows([n])) for n in (1, 2)]
    with pytest.raises(OverloadedError, match="at most 2 rows"):
        batcher.submit(*rows([3]))
    assert waiting[0].cancel()
    assert waiting[0].cancel()
    assert concurrent.futures.wait(waiting[:1], timeout=WAIT).done == {waiting[0]}
    third = batcher.submit(*rows([3]))
    backend.gate.set()
    assert sums(third.result(WAIT)) == [[3, 1, 0]]
    assert sums(waiting[1].result(WAIT)) == [[2, 1, 0]]
    assert not waiting[1].cancel()
    assert backend.runs == [[1], [1, 1]]
    metrics = batcher.metrics()
    assert (metrics.refused, metrics.cancelled, metrics.answered) == (1, 1, 3)


def test_a_history_cancelled_half_way_stops(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    backend.gate.clear()
    future = batcher.submit(*rows([1] * 1000))
    assert backend.entered.acquire(timeout=WAIT)
    assert future.cancel()
    backend.gate.set()
    batcher.close()
    assert backend.runs == [[8]]


def test_expired_requests_do_not_run(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    now = [100.0]
    batcher = make(clock=lambda: now[0], max_queued_rows=2)
    block(batcher, backend)
    late = batcher.submit(*rows([1]), timeout=5)
    patient = batcher.submit(*rows([2]), timeout=50)
    now[0] += 10
    third = batcher.submit(*rows([3]))  # the expired one's place is free
    with pytest.raises(DeadlineError, match="waited 10 s"):
        late.result(0)
    backend.gate.set()
    assert sums(patient.result(WAIT)) == [[2, 1, 0]]
    assert sums(third.result(WAIT)) == [[3, 1, 0]]
    assert batcher.metrics().expired == 1


def test_a_delay_gathers_until_the_batch_is_full(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make(max_delay=3600.0, clock=lambda: 0.0)
    futures = [batcher.submit(*rows([n])) for n in range(4)]
    assert [sums(f.result(WAIT)) for f in futures] == [[[n, 1, 0]] for n in range(4)]
    assert backend.runs == [[1, 1, 1, 1]]


def test_closing_answers_what_waits(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    first = block(batcher, backend)
    waiting = [batcher.submit(*rows([n])) for n in range(6)] + [batcher.submit(*rows([1] * 30))]
    backend.gate.set()
    batcher.close()
    assert all(f.done() and f.exception() is None for f in (first, *waiting))
    with pytest.raises(ClosedError):
        batcher.submit(*rows([1]))
    batcher.close()


def test_closing_without_draining_fails_what_waits(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    first = block(batcher, backend)
    waiting = [batcher.submit(*rows([1])), batcher.submit(*rows([1] * 30))]
    closing = threading.Thread(target=batcher.close, kwargs={"drain": False})
    closing.start()
    for future in waiting:
        with pytest.raises(ClosedError, match="before the request ran"):
            future.result(WAIT)
    backend.gate.set()
    closing.join(WAIT)
    assert sums(first.result(0)) == [[1, 1, 0]]


def test_closing_leaves_a_run_that_does_not_end(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    stuck, waiting = block(batcher, backend), batcher.submit(*rows([1]))
    batcher.close(timeout=0.01)
    for future in (stuck, waiting):
        with pytest.raises(ClosedError, match="within 0.01 s"):
            future.result(0)


def test_a_thread_that_finds_nothing_waiting_computes_itself(
    backend: FakeBackend, make: Callable[..., Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher, threads = make(), list[threading.Thread]()
    run = backend.run
    monkeypatch.setattr(backend, "run", lambda *rows: threads.append(threading.current_thread()) or run(*rows))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        own = pool.submit(threading.current_thread).result(WAIT)
        assert sums(pool.submit(batcher.run, *rows([1, 2])).result(WAIT)) == [[3, 2, 0]]
        long = list(range(1, 21))  # three pieces, for workers
        assert sums(pool.submit(batcher.run, *rows(long)).result(WAIT)) == [[210, 20, 0]]
        with pytest.raises(BackendError, match="index out of range"):
            pool.submit(batcher.run, *rows([POISON])).result(WAIT)
        assert batcher.metrics().failed == 1
        with pytest.raises(RequestError, match="offsets do not describe"):
            pool.submit(batcher.run, *rows([1])[:1], np.array([0, 2], np.int32), *rows([1])[2:]).result(WAIT)
    worker = batcher.threads[0]
    assert threads == [own, worker, worker, worker, own]
    assert sums(batcher.run(*rows([4]))) == [[4, 1, 0]]
    assert threads[-1] is worker  # of the main thread, where Ctrl-C comes


def test_rows_that_fail_in_the_callers_thread_are_repeated_in_halves(
    backend: FakeBackend, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        backend.max_rows = 1
        assert sums(pool.submit(batcher.run, *rows([1], [2], [3])).result(WAIT)) == [[1, 1, 0], [2, 1, 0], [3, 1, 0]]
        with pytest.raises(BackendError, match="index out of range"):
            pool.submit(batcher.run, *rows([1], [POISON])).result(WAIT)
    metrics = batcher.metrics()
    assert (metrics.accepted, metrics.answered, metrics.failed, metrics.open_requests) == (2, 1, 1, 0)


def test_closing_waits_for_what_callers_run(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    backend.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = pool.submit(batcher.run, *rows([1, 2]))
        assert backend.entered.acquire(timeout=WAIT)
        closing = pool.submit(batcher.close)
        with pytest.raises(concurrent.futures.TimeoutError):
            closing.result(0.05)
        backend.gate.set()
        closing.result(WAIT)
        assert sums(asked.result(WAIT)) == [[3, 2, 0]]


def test_closing_leaves_a_callers_run_that_does_not_end(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()
    backend.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(batcher.run, *rows([1, 2]))
        assert backend.entered.acquire(timeout=WAIT)
        batcher.close(timeout=0.01)
        with pytest.raises(ClosedError):
            batcher.submit(*rows([1]))
        backend.gate.set()
        assert sums(asked.result(WAIT)) == [[3, 2, 0]]


def test_a_forgotten_batcher_ends_its_workers(backend: FakeBackend) -> None:
    batcher = Batcher(backend)
    (worker,) = batcher.threads
    forgotten = weakref.ref(batcher)
    del batcher
    gc.collect()
    worker.join(WAIT)
    assert forgotten() is None
    assert not worker.is_alive()


def test_asyncio_callers_share_runs_and_may_be_cancelled(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    batcher = make()

    async def scenario() -> list[Any]:
        block(batcher, backend)
        tasks = [asyncio.create_task(batcher.arun(*rows([n]))) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert batcher.metrics().queued_rows == 3
        backend.gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)

    results = asyncio.run(scenario())
    assert isinstance(results[1], asyncio.CancelledError)
    assert [sums(results[n]) for n in (0, 2, 3)] == [[[n, 1, 0]] for n in (0, 2, 3)]
    assert backend.runs == [[1], [1, 1, 1]]


def test_a_future_that_is_done_is_freed_at_once(backend: FakeBackend, make: Callable[..., Batcher]) -> None:
    """Left to the collector of cycles, whose runs stop all threads, futures and their results were a long tail."""
    batcher = make()
    gc.disable()
    try:
        done = block(batcher, backend)
        cancelled = batcher.submit(*rows([2]))
        assert cancelled.cancel()
        backend.gate.set()
        assert sums(done.result(WAIT))
        futures = [weakref.ref(done), weakref.ref(cancelled)]
        del done, cancelled
        for _ in range(2000):  # the worker may hold one for a moment
            if not any(future() for future in futures):
                break
            threading.Event().wait(WAIT / 2000)
        assert [future() for future in futures] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("workers", [1, 3])
def test_no_answer_is_lost_or_doubled_under_contention(
    backend: FakeBackend, make: Callable[..., Batcher], workers: int
) -> None:
    batcher = make(workers=workers)
    wrong: list[object] = []

    def request(generator: np.random.Generator) -> tuple[Rows, list[int]]:
        lists = [generator.integers(1, 50, generator.integers(0, 20)).tolist() for _ in range(generator.integers(1, 7))]
        return rows(*lists), [sum(row) for row in lists]

    def check(result: Any, expected: list[int]) -> None:
        if [row[0] for row in sums(result)] != expected:
            wrong.append((result, expected))

    def threaded(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for n in range(40):
            arrays, expected = request(generator)
            future = batcher.submit(*arrays)
            if n % 5 == 0 and future.cancel():
                continue
            check(future.result(WAIT), expected)

    async def tasks() -> None:
        async def one(seed: int) -> None:
            generator = np.random.default_rng(seed)
            for _ in range(20):
                arrays, expected = request(generator)
                check(await asyncio.wait_for(batcher.arun(*arrays), WAIT), expected)

        await asyncio.gather(*(one(100 + seed) for seed in range(8)))

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        done = [pool.submit(threaded, seed) for seed in range(8)] + [pool.submit(asyncio.run, tasks())]
        for future in done:
            future.result(WAIT * 3)
    assert wrong == []
    metrics = batcher.metrics()
    assert metrics.accepted == metrics.answered + metrics.cancelled == 8 * 40 + 8 * 20
    assert (metrics.open_requests, metrics.queued_rows, metrics.queued_tokens) == (0, 0, 0)
    assert sum(metrics.batch_rows.counts) == len(backend.runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": [1]}, "items is list"),
        ({"items": np.array([1], np.int64)}, "items is int64"),
        ({"offsets": np.array([0, 2], np.int32)}, "offsets do not describe"),
        ({"state_in": np.zeros((2, 2), np.float32)}, "state_in has 2 rows"),
        ({"exclude": np.array([[1, 5]], np.int32)}, "row outside"),
        ({"exclude": np.array([[0]], np.int32)}, "pairs"),
    ],
)
def test_malformed_arrays_are_refused(make: Callable[..., Batcher], change: dict[str, Any], message: str) -> None:
    arrays = dict(zip(("items", "offsets", "state_in", "exclude"), rows([1]), strict=True))
    with pytest.raises(RequestError, match=message):
        make().submit(**{**arrays, **change})


def test_settings_out_of_range_are_refused(backend: FakeBackend) -> None:
    for options in ({"workers": 0}, {"max_delay": -1.0}, {"timeout": 0.0}, {"limits": Limits(rows=0)}):
        with pytest.raises(ConfigError, match="give"):
            Batcher(backend, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_process_is_told(make: Callable[..., Batcher]) -> None:
    batcher = make()
    child = os.fork()
    if child == 0:
        try:
            batcher.submit(*rows([1]))
        except ForkError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_an_engine_batches_without_knowing(engine: Engine) -> None:
    histories = [[10], [20, 30], [], [40] * 30, [50, 999]]
    expected = engine.recommend(histories, k=5)
    with Batcher(engine.backend, LIMITS) as batcher, concurrent.futures.ThreadPoolExecutor(5) as pool:
        batched = Engine(engine.bundle, batcher)
        results = list(pool.map(lambda history: batched.recommend([history], k=5)[0], histories))
    for ranking, other in zip(expected, results, strict=True):
        assert (ranking.items, ranking.scores.tolist()) == (other.items, other.scores.tolist())


def test_not_a_number_stays_in_its_row(engine: Engine) -> None:
    size = engine.state_size
    items, offsets, exclude = np.array([1, 2, 3], np.int32), np.arange(4, dtype=np.int32), np.empty((0, 2), np.int32)
    states = np.zeros((3, size), np.float32)
    with Batcher(engine.backend) as batcher:
        clean = batcher.run(items, offsets, states, exclude)
        states = states.copy()
        states[1] = np.nan
        mixed = batcher.run(items, offsets, states, exclude)
    for before, after in zip(clean, mixed, strict=True):
        np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert np.isnan(mixed[2][1]).all()
