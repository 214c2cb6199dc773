"""An engine that batches: concurrent callers share runs, and each gets the answer it would get alone.

The backend is one in Python, that tests stop and let fail.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.errors import (
    BackendError,
    ClosedError,
    ConfigError,
    DataError,
    DeadlineError,
    ForkError,
    OverloadedError,
    RequestError,
)
from recblr.runtime import Batching, Engine, Limits, Ranking

WAIT = 20.0  # a test that hangs fails after so many seconds
POISON = 80  # an item id

Ask = Callable[..., "Future[list[Ranking]]"]


class Faulty:
    """Another backend, with a gate that runs wait at, and faults."""

    description = "a backend with faults"

    def __init__(self, engine: Engine) -> None:
        assert engine.backend is not None
        self._run = engine.backend.run
        self.max_k, self.limits = engine.backend.max_k, Limits()
        self.runs: list[list[int]] = []
        self.threads: list[int] = []
        self.error: BaseException | None = None
        self.max_rows = 10**9
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(self, items: np.ndarray, offsets: np.ndarray, state_in: np.ndarray, exclude: np.ndarray, k: int) -> Any:
        self.runs.append(np.diff(offsets).tolist())
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.gate.wait(WAIT)
        if self.error is not None:
            raise self.error
        if len(state_in) > self.max_rows:
            raise MemoryError
        if POISON // 10 in items:
            raise RuntimeError("index out of range")
        return self._run(items, offsets, state_in, exclude, k)


@pytest.fixture
def backend(engine: Engine) -> Iterator[Faulty]:
    faulty = Faulty(engine)
    yield faulty
    faulty.gate.set()


@pytest.fixture
def make(engine: Engine, backend: Faulty) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def build(**options: Any) -> Engine:
        settings = {"max_batch_rows": 4, "max_batch_tokens": 8, "workers": 1, **options}
        made.append(Engine(engine.bundle, backend, batching=Batching(**settings)))
        return made[-1]

    yield build
    backend.gate.set()
    for batched in made:
        batched.close()


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Asks in threads of their own, one after the other."""
    with ThreadPoolExecutor(40) as pool:

        def submit(engine: Engine, *histories: list[int], **options: Any) -> Future[list[Ranking]]:
            return pool.submit(engine.recommend, list(histories), **{"k": 3, **options})

        yield submit


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def queued(engine: Engine) -> int:
    metrics = engine.metrics()
    assert metrics is not None
    return metrics.queued_rows


def block(engine: Engine, backend: Faulty, ask: Ask) -> Future[list[Ranking]]:
    """Keep the worker busy until the gate opens, so that what follows waits."""
    backend.gate.clear()
    future = ask(engine, [10])
    assert backend.entered.acquire(timeout=WAIT)
    return future


def ask_all(engine: Engine, ask: Ask, histories: list[list[int]], **options: Any) -> list[Future[list[Ranking]]]:
    """Ask for each by itself; all of them wait when this returns."""
    futures = []
    for history in histories:
        before = queued(engine)
        futures.append(ask(engine, history, **options))
        wait_until(lambda before=before: queued(engine) > before)  # type: ignore[misc]
    return futures


def assert_right(toy: Any, future: Future[list[Ranking]], history: list[int], k: int = 3) -> None:
    (ranking,) = future.result(WAIT)
    assert (ranking.items, ranking.scores.tolist()) == toy.ranking(history, k, exclude=history)


def test_waiting_requests_share_a_run(make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any) -> None:
    engine = make()
    first = block(engine, backend, ask)
    histories = [[20], [30], [10, 20]]
    futures = ask_all(engine, ask, histories)
    backend.gate.set()
    for future, history in zip([first, *futures], [[10], *histories], strict=True):
        assert_right(toy, future, history)
    assert backend.runs == [[1], [1, 1, 2]]
    metrics = engine.metrics()
    assert metrics is not None
    assert (metrics.accepted, metrics.answered, metrics.open_requests, metrics.batch_tokens) == (4, 4, 0, 5)
    assert metrics.batch_rows.counts[:3] == (1, 0, 1)
    assert metrics.batch_rows.total == 4
    assert sum(metrics.wait_seconds.counts) == 4
    assert sum(metrics.run_seconds.counts) == 2
    assert metrics.run_seconds.total > 0
    histograms = (metrics.batch_rows, metrics.wait_seconds, metrics.run_seconds)
    assert [len(h.counts) - len(h.bounds) for h in histograms] == [1, 1, 1]


def test_each_request_gets_as_many_results_as_it_asks_for(
    make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any
) -> None:
    engine = make()
    block(engine, backend, ask)
    futures = [ask_all(engine, ask, [[20]], k=k)[0] for k in (1, 9, 5)]
    backend.gate.set()
    for future, k in zip(futures, (1, 9, 5), strict=True):
        assert_right(toy, future, [20], k)


def test_a_long_history_goes_in_pieces(make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any) -> None:
    engine = make(max_batch_tokens=4)
    assert_right(toy, ask(engine, [10, 20, 30] * 5), [10, 20, 30] * 5)
    assert [run for run in backend.runs if run] == [[4], [4], [4], [3]]


def test_a_poisonous_request_fails_alone(make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any) -> None:
    engine = make()
    block(engine, backend, ask)
    good = ask_all(engine, ask, [[20], [30]])
    (bad,) = ask_all(engine, ask, [[POISON]])
    backend.gate.set()
    for future, history in zip(good, [[20], [30]], strict=True):
        assert_right(toy, future, history)
    with pytest.raises(BackendError, match=r"failed on this request \(RuntimeError: index out of range\): ") as error:
        bad.result(WAIT)
    assert isinstance(error.value.__cause__, RuntimeError)
    metrics = engine.metrics()
    assert metrics is not None
    assert (metrics.failed, metrics.answered, metrics.open_requests) == (1, 3, 0)


def test_a_batch_too_large_for_the_memory_is_halved(
    make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any
) -> None:
    backend.max_rows = 1
    histories = [[10], [20], [30], [40]]
    rankings = ask(make(), *histories).result(WAIT)
    assert [r.items for r in rankings] == [toy.ranking(h, 3, exclude=h)[0] for h in histories]


@pytest.mark.parametrize("error", [MemoryError("none left"), ValueError("x"), SystemExit(3)])
def test_a_failing_backend_answers_everyone_and_recovers(
    make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any, error: BaseException
) -> None:
    engine = make()
    first = block(engine, backend, ask)
    others = ask_all(engine, ask, [[20]] * 3)
    backend.error = error
    backend.gate.set()
    for future in others:
        with pytest.raises(BackendError, match=type(error).__name__):
            future.result(WAIT)
    assert isinstance(first.exception(WAIT), BackendError | SystemExit)  # it ran in its caller's thread
    backend.error = None
    assert_right(toy, ask(engine, [20]), [20])


@pytest.mark.parametrize("error", [RequestError("too much"), BackendError("CUDA failed"), DataError("no data")])
@pytest.mark.parametrize("batching", [None, Batching()])
def test_errors_of_ours_stay_as_they_are(
    engine: Engine, backend: Faulty, error: Exception, batching: Batching | None
) -> None:
    backend.error = error
    with Engine(engine.bundle, backend, batching=batching) as failing:
        with pytest.raises(type(error), match=str(error)):
            failing.recommend([[10]])
        with pytest.raises(type(error), match=str(error)):
            asyncio.run(failing.arecommend([[10]]))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lambda items, scores, states: (items[:0], scores, states), "gave 0 rows for 1: its graph is another"),
        (lambda items, scores, states: (items[:, ::-1], scores[:, ::-1], states), "ranked a score of .* after .*"),
        (lambda items, scores, states: (items, scores * np.nan, states), "gave a score of nan: its graph is another"),
        (lambda items, scores, states: (items, scores, states * np.nan), "gave a state that holds nan: its graph"),
        (lambda items, scores, states: (items[:, [0, 0, 2]], scores, states), "ranked item . twice: its graph"),
        (lambda items, scores, states: (items, scores[:, :1], states), "as scores where .1, 3. are needed"),
        (lambda items, scores, states: (items, scores, states[:, :2]), "as states where .1, 5. are needed"),
        (lambda items, scores, states: (items + 100, scores, states), "gave item 1.. of 9: its graph is another"),
        (lambda items, scores, states: (items, scores), "gave .*: give top_items, top_scores and states"),
        (lambda items, scores, states: None, "gave None: give top_items, top_scores and states"),
    ],
)
def test_results_of_another_form_are_refused(engine: Engine, backend: Faulty, result: Any, reason: str) -> None:
    run = backend.run
    backend.run = lambda *arguments: result(*run(*arguments))  # type: ignore[method-assign]
    with pytest.raises(BackendError, match=reason):
        Engine(engine.bundle, backend).recommend([[10], [20]], k=3)


def test_a_backend_may_keep_what_it_is_given(engine: Engine, backend: Faulty) -> None:
    kept: list[np.ndarray] = []
    run = backend.run

    def keeping(*arguments: Any) -> Any:
        kept.extend(arguments[:4])
        return run(*arguments)

    backend.run = keeping  # type: ignore[method-assign]
    asked = Engine(engine.bundle, backend)
    asked.recommend([[10, 20], [30]], k=3)
    before = [array.tolist() for array in kept]
    for _ in range(5):
        asked.recommend([[40] * 50], k=3)
    assert (
        [array.tolist() for array in kept[:4]]
        == before
        == [[1, 2, 3], [0, 2, 3], [[0] * 5] * 2, [[0, 1], [0, 2], [1, 3]]]
    )


def test_a_full_queue_refuses(make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any) -> None:
    engine = make(max_queue=2)
    block(engine, backend, ask)
    waiting = ask_all(engine, ask, [[20], [30]])
    with pytest.raises(OverloadedError, match="2"):
        ask(engine, [40]).result(WAIT)
    backend.gate.set()
    for future, history in zip(waiting, [[20], [30]], strict=True):
        assert_right(toy, future, history)
    metrics = engine.metrics()
    assert metrics is not None
    assert (metrics.refused, metrics.answered) == (1, 3)


def test_expired_requests_do_not_run(make: Callable[..., Engine], backend: Faulty, ask: Ask) -> None:
    engine = make(timeout=0.05)
    block(engine, backend, ask)
    (late,) = ask_all(engine, ask, [[20]])
    with pytest.raises(DeadlineError, match="waited"):
        late.result(WAIT)
    assert isinstance(late.exception(), TimeoutError)
    backend.gate.set()
    engine.close()
    assert backend.runs == [[1]]


def test_closing_answers_what_waits(make: Callable[..., Engine], backend: Faulty, ask: Ask) -> None:
    engine = make()
    first = block(engine, backend, ask)
    waiting = ask_all(engine, ask, [[20], [10, 20, 30] * 10])
    backend.gate.set()
    engine.close()
    assert all(future.result(WAIT) for future in (first, *waiting))
    with pytest.raises(ClosedError):
        engine.recommend([[10]], k=1)
    engine.close()


def test_closing_without_draining_fails_what_waits(make: Callable[..., Engine], backend: Faulty, ask: Ask) -> None:
    engine = make()
    first = block(engine, backend, ask)
    waiting = ask_all(engine, ask, [[20], [10, 20, 30] * 10])
    closing = threading.Thread(target=engine.close, kwargs={"drain": False})
    closing.start()
    for future in waiting:
        with pytest.raises(ClosedError):
            future.result(WAIT)
    backend.gate.set()
    closing.join(WAIT)
    assert first.result(WAIT)


def test_closing_leaves_a_run_that_does_not_end(make: Callable[..., Engine], backend: Faulty, ask: Ask) -> None:
    engine = make()
    block(engine, backend, ask)
    (waiting,) = ask_all(engine, ask, [[20]])
    engine.close(timeout=0.01)
    with pytest.raises(ClosedError):
        waiting.result(WAIT)


def test_a_thread_that_finds_nothing_waiting_computes_itself(
    make: Callable[..., Engine], backend: Faulty, ask: Ask
) -> None:
    engine = make()
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit(threading.get_ident).result(WAIT)
        assert pool.submit(engine.recommend, [[10, 20]], 3).result(WAIT)
    assert engine.recommend([[10]], k=3)
    assert backend.threads[0] == own
    assert backend.threads[1] not in (own, threading.get_ident())  # of the main thread, where Ctrl-C comes


def test_asyncio_callers_share_runs_and_may_be_cancelled(
    make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any
) -> None:
    engine = make()
    histories = [[20], [30], [40], [50]]

    async def scenario() -> list[Any]:
        block(engine, backend, ask)
        tasks = [asyncio.create_task(engine.arecommend([history], k=3)) for history in histories]
        await asyncio.sleep(0)
        assert queued(engine) == 4
        tasks[1].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert queued(engine) == 3
        backend.gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)

    results = asyncio.run(scenario())
    assert isinstance(results[1], asyncio.CancelledError)
    for n in (0, 2, 3):
        assert results[n][0].items == toy.ranking(histories[n], 3, exclude=histories[n])[0]
    assert backend.runs == [[1], [1, 1, 1]]
    metrics = engine.metrics()
    assert metrics is not None
    assert metrics.cancelled == 1


def test_errors_in_asyncio(make: Callable[..., Engine], backend: Faulty, ask: Ask) -> None:
    engine = make(max_queue=1)

    async def scenario() -> None:
        block(engine, backend, ask)
        waiting = asyncio.create_task(engine.arecommend([[POISON]], k=3))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await engine.arecommend([[20]], k=3)
        with pytest.raises(RequestError, match=r"histories\[0\]: item id None"):
            await engine.arecommend([[None]])  # type: ignore[list-item]
        backend.gate.set()
        with pytest.raises(BackendError, match="index out of range"):
            await waiting

    asyncio.run(scenario())


def test_a_loop_that_ends_before_its_answers(make: Callable[..., Engine], backend: Faulty, ask: Ask, toy: Any) -> None:
    engine = make()
    block(engine, backend, ask)

    async def abandon() -> None:
        asyncio.create_task(engine.arecommend([[20]], k=3))  # noqa: RUF006 - ended with the loop
        await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(abandon())
    backend.gate.set()
    (ranking,) = asyncio.run(engine.arecommend([[30]], k=3))
    assert ranking.items == toy.ranking([30], 3, exclude=[30])[0]
    assert len(os.listdir("/proc/self/fd")) < 500


def test_no_answer_is_lost_or_mixed_up_under_contention(make: Callable[..., Engine], toy: Any) -> None:
    engine = make(workers=2)
    ids = [10, 20, 30, 40, 50, 60, 70]
    wrong: list[object] = []

    def draw(generator: np.random.Generator) -> list[list[int]]:
        return [generator.choice(ids, generator.integers(0, 20)).tolist() for _ in range(generator.integers(1, 6))]

    def check(rankings: list[Ranking], histories: list[list[int]]) -> None:
        for ranking, history in zip(rankings, histories, strict=True):
            expected = toy.ranking(history, 2, exclude=history)[0] if history else toy.ids_by_popularity()[:2]
            if ranking.items != expected:
                wrong.append((ranking, history))

    def threaded(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(20):
            histories = draw(generator)
            check(engine.recommend(histories, 2), histories)

    async def tasks() -> None:
        async def one(seed: int) -> None:
            generator = np.random.default_rng(seed)
            for n in range(20):
                histories = draw(generator)
                asked = asyncio.create_task(engine.arecommend(histories, 2))
                if n % 5 == 0:
                    await asyncio.sleep(0)
                    asked.cancel()
                    continue
                check(await asyncio.wait_for(asked, WAIT), histories)

        await asyncio.gather(*(one(100 + seed) for seed in range(8)))

    with ThreadPoolExecutor(7) as pool:
        done = [pool.submit(threaded, seed) for seed in range(6)] + [pool.submit(asyncio.run, tasks())]
        for future in concurrent.futures.as_completed(done, WAIT * 3):
            future.result()
    assert wrong == []
    engine.close()
    metrics = engine.metrics()
    assert metrics is not None
    assert metrics.accepted == metrics.answered + metrics.cancelled == 6 * 20 + 8 * 20
    assert (metrics.open_requests, metrics.queued_rows, metrics.queued_tokens) == (0, 0, 0)


def test_settings_out_of_range_are_refused(make: Callable[..., Engine]) -> None:
    for options in (
        *({"workers": 0}, {"max_delay_ms": -1.0}, {"timeout": 0.0}, {"max_batch_rows": 0}, {"max_batch_tokens": -1}),
        *({"max_queue": 0}, {"workers": True}, {"timeout": float("nan")}, {"max_batch_rows": 1.5}),
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(options))} is .*: give"):
            make(**options)


@pytest.mark.parametrize("batching", [None, Batching()])
def test_a_forked_process_is_told(engine: Engine, backend: Faulty, batching: Batching | None) -> None:
    with Engine(engine.bundle, backend, batching=batching) as parent:
        parent.recommend([[10]], k=1)
        child = os.fork()
        if child == 0:
            try:
                parent.recommend([[10]], k=1)
            except ForkError as error:
                del parent  # which ends nothing of the parent's
                os._exit(7 if "load the engine after the fork" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert parent.recommend([[10]], k=1)


PROGRAM = """
import os, signal, sys, threading, time
import recblr.runtime
from recblr.runtime import Batching, Engine, Limits, load

inner = load(sys.argv[1], threads=1)

class Slow:
    description, max_k, limits = "slow", 8, Limits()
    def run(self, *arguments):
        entered.set()
        gate.wait(20)
        return inner.backend.run(*arguments)

entered, gate = threading.Event(), threading.Event()
engine = Engine(inner.bundle, Slow(), batching=Batching())
"""


def run_program(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + code, path], capture_output=True, text=True, check=False, timeout=WAIT * 2
    )


def test_ctrl_c_ends_the_wait_of_the_main_thread(toy: Any) -> None:
    code = """
def interrupt():
    entered.wait(20)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    engine.recommend([[10]], k=2)
except KeyboardInterrupt:
    print("interrupted", engine.metrics().cancelled, engine.metrics().open_requests)
gate.set()
print(len(engine.recommend([[20]], k=2)))
"""
    done = run_program(code, toy.path)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted 1 0\n1\n", "", 0)


@pytest.mark.parametrize(
    "code",
    [
        "gate.set(); engine.recommend([[10]], k=2)",
        # Others wait for a run when the process ends; it is answered first.
        """
threading.Thread(target=engine.recommend, args=([[10]], 2), daemon=True).start()
entered.wait(20)
threading.Timer(0.2, gate.set).start()
""",
        # Threads that go on asking to the last.
        """
gate.set()
def work():
    while True:
        try:
            inner.recommend([[10]], 2)
            engine.recommend([[10]], 2)
        except recblr.errors.ClosedError:
            pass
import recblr.errors
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
""",
    ],
)
def test_the_process_ends_cleanly(toy: Any, code: str) -> None:
    done = run_program(code, toy.path)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_an_engine_batches_without_knowing(engine: Engine) -> None:
    histories = [[10], [20, 30], [], [40] * 30, [50, 999]]
    expected = engine.recommend(histories, k=5)
    batching = Batching(max_batch_rows=4, max_batch_tokens=8)
    with Engine(engine.bundle, engine.backend, batching=batching) as batched, ThreadPoolExecutor(5) as pool:
        results = list(pool.map(lambda history: batched.recommend([history], k=5)[0], histories))
    for ranking, other in zip(expected, results, strict=True):
        assert (ranking.items, ranking.scores.tolist()) == (other.items, other.scores.tolist())


@pytest.mark.parametrize("threads", ["the main one", "another"])
def test_a_backend_that_asks_its_own_engine_is_told(make: Callable[..., Engine], backend: Faulty, threads: str) -> None:
    engine = make()
    run, inner = backend.run, []

    def ask_and_run(*arguments: Any) -> Any:
        if not inner:
            inner.append("")
            with pytest.raises(RequestError, match="would wait for itself") as caught:
                engine.recommend([[10]], k=1)
            inner.append(str(caught.value))
        return run(*arguments)

    backend.run = ask_and_run  # type: ignore[method-assign]
    if threads == "another":
        with ThreadPoolExecutor(1) as pool:
            assert len(pool.submit(engine.recommend, [[20]], 2).result(WAIT)) == 1
    else:
        assert len(engine.recommend([[20]], 2)) == 1
    assert len(inner) == 2


def test_event_loops_that_end_before_their_answers_leave_nothing_open(
    make: Callable[..., Engine], backend: Faulty
) -> None:
    engine = make()

    def wake_up_descriptors() -> int:
        gc.collect()
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum("eventfd" in str(path.readlink()) for path in links)

    async def leave() -> None:
        task = asyncio.create_task(engine.arecommend([[10]], k=1))
        await asyncio.to_thread(backend.entered.acquire)  # it runs
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    counts = []
    for _ in range(4):
        backend.gate.clear()
        asyncio.run(leave())
        backend.gate.set()
        wait_until(lambda: (metrics := engine.metrics()) is not None and not metrics.open_requests)
        counts.append(wake_up_descriptors())
    assert counts[-1] == counts[0]
