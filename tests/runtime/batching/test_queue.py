"""The batcher's queue by itself: callers and workers are a sequence of calls, in any order, and time is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.errors import BackendError, ClosedError, DeadlineError, OverloadedError
from recblr.runtime import Batcher, Limits
from recblr.runtime.batching import queue as batch_queue
from recblr.runtime.batching.callers import Callers
from recblr.runtime.batching.job import Answer, BatchResults, Job, Part, Result
from recblr.runtime.batching.queue import BatchQueue

WAIT = 20.0
LIMITS = Limits(rows=4, tokens=8, exclusions=6)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def job(lists: list[list[int]], exclusions: int = 0) -> Job:
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum([len(row) for row in lists], out=offsets[1:])
    items = np.array([item for row in lists for item in row], np.int32)
    exclude = np.array([[n % len(lists), n + 1] for n in range(exclusions)], np.int32).reshape(-1, 2)
    return Job(items, offsets, np.zeros((len(lists), 2), np.float32), exclude, Future())


def make_queue(clock: Callable[[], float], answers: list[Answer], **options: Any) -> BatchQueue:
    settings: dict[str, Any] = {"short_tokens": 2, "max_delay": 0.0, "max_rows": 12, "max_tokens": 60, "workers": 1}
    settings |= {"preferred": LIMITS} | options
    return BatchQueue(LIMITS, clock=clock, deliver=lambda given: answers.extend(given), **settings)


def compute(parts: Iterable[Part]) -> list[tuple[Part, Result | Exception]]:
    """States [count, sum], and the ranking [sum of the state]."""
    results: list[tuple[Part, Result | Exception]] = []
    for part in parts:
        starts = np.cumsum([0, *part.lengths])
        states = part.states.copy()
        for b, (start, length) in enumerate(zip(starts, part.lengths, strict=False)):
            states[b] += [length, part.items[start : start + length].sum()]
        results.append((part, (states[:, 1:].astype(np.int32), states[:, 1:], states)))
    return results


actions = st.one_of(
    st.tuples(
        st.just("put"),
        st.lists(st.lists(st.integers(1, 50), max_size=20), min_size=1, max_size=6),
        st.integers(0, 9),
        st.sampled_from([None, 1.0, 5.0]),
    ),
    st.tuples(st.just("enter"), st.integers(1, LIMITS.rows), st.integers(0, LIMITS.tokens)),
    st.tuples(st.just("leave"), st.integers(0, 3), st.sampled_from(["answered", "failed", "again"])),
    st.tuples(st.just("take")),
    st.tuples(st.just("finish"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 1e9])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(actions, max_size=60), st.integers(1, 3), st.integers(0, 2))
def test_every_request_ends_once_and_right_in_any_interleaving(
    steps: list[tuple[Any, ...]], workers: int, callers: int
) -> None:
    clock, answers = Clock(), list[Answer]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_queue, "FEWEST_SHARED_TOKENS", 3)
        queue = make_queue(clock, answers, workers=workers, callers=callers)
        check_interleaving(steps, clock, answers, queue, workers, callers)


def check_interleaving(
    steps: list[tuple[Any, ...]], clock: Clock, answers: list[Answer], queue: BatchQueue, workers: int, callers: int
) -> None:
    expected: dict[Job, list[float]] = {}
    running: list[list[Part]] = []
    failed: set[Job] = set()
    entered: list[tuple[int, int]] = []
    refused = withdrawn = answered_alone = failed_alone = 0

    def ready() -> bool:
        """Whether a worker would find work at once, once what expired is gone."""
        return any(r.deadline is None or r.deadline > clock.now for r in waiting())

    def waiting() -> list[Job]:
        return [r for r in expected if not r.done and r.rows_left and r not in held()]

    def held() -> set[Job]:
        return {part.job for parts in running for part in parts if not part.final}

    def free() -> bool:
        """Whether a worker may start a batch."""
        return len(running) + max(0, len(entered) - callers) < workers

    def take(parts: list[Part] | None) -> None:
        assert parts
        assert sum(part.n_rows for part in parts) <= LIMITS.rows
        assert sum(len(part.items) for part in parts) <= LIMITS.tokens
        assert len(parts) == 1 or sum(len(part.exclude) for part in parts) <= LIMITS.exclusions
        running.append(parts)

    def end(parts: list[Part], error: Exception | None = None) -> None:
        if error is not None:
            failed.update(part.job for part in parts)
        queue.finish(BatchResults(compute(parts) if error is None else [(part, error) for part in parts]))

    for step in steps:
        if step[0] == "put":
            new = job(step[1], step[2])
            try:
                queue.put(new, step[3])
                expected[new] = [float(sum(row)) for row in step[1]]
            except OverloadedError:
                refused += 1
        elif step[0] == "enter":
            size = step[1:]
            may = len(entered) < callers or (free() and not waiting())
            assert queue.enter(*size) == may
            if may:
                entered.append(size)
        elif step[0] == "leave" and entered:
            queue.leave(*entered.pop(step[1] % len(entered)), step[2])
            answered_alone += step[2] == "answered"
            failed_alone += step[2] == "failed"
        elif step[0] == "take" and ready() and free():
            take(queue.take())
        elif step[0] in ("finish", "fail") and running:
            error = BackendError("failed") if step[0] == "fail" else None
            end(running.pop(step[1] % len(running)), error)
        elif step[0] == "withdraw" and expected:
            withdrawn += queue.withdraw(list(expected)[step[1] % len(expected)])
        elif step[0] == "wait":
            clock.now += step[1]
    queue.close()
    while entered:
        queue.leave(*entered.pop(), "again")
    while running:
        end(running.pop())
    while (parts := queue.take()) is not None:
        running.append(parts)
        end(running.pop())

    assert len({answer.job for answer in answers}) == len(answers)
    assert all(asked.done for asked in expected)
    for answer in answers:
        if answer.result is not None:
            assert answer.result[1][:, 0].tolist() == expected[answer.job]
        elif answer.job in failed:
            assert isinstance(answer.error, BackendError | DeadlineError)
        else:
            assert isinstance(answer.error, DeadlineError)
    metrics = queue.metrics()
    assert (metrics.accepted, metrics.refused) == (len(expected) + answered_alone + failed_alone, refused)
    ended = metrics.answered + metrics.failed + metrics.expired - answered_alone - failed_alone
    assert ended == len(answers) == len(expected) - withdrawn
    assert metrics.cancelled == withdrawn
    assert metrics.answered == sum(answer.result is not None for answer in answers) + answered_alone
    assert (metrics.open_requests, metrics.queued_rows, metrics.queued_tokens, metrics.running_batches) == (0, 0, 0, 0)


def test_a_partly_full_batch_waits_out_its_delay() -> None:
    clock, answers = Clock(), list[Answer]()
    queue = make_queue(clock, answers, max_delay=0.2, workers=3)
    taken: list[list[Part] | None] = []

    def take() -> list[int]:
        worker = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
        worker.start()
        worker.join(0.05)
        return [0 if parts is None else sum(part.n_rows for part in parts) for parts in taken] if taken else []

    queue.put(job([[1], [2]]), None)
    assert take() == []
    clock.now += 0.19
    queue.put(job([[3]]), None)
    assert taken == []
    clock.now += 0.02  # the first has waited long enough, the second goes with it
    queue.put(job([[4] * 5]), None)  # of the other lane
    deadline = threading.Event()
    for _ in range(400):
        if taken:
            break
        deadline.wait(WAIT / 400)
    assert [[part.n_rows for part in parts or ()] for parts in taken] == [[2, 1]]
    queue.put(job([[5] * 6]), None)  # with the other, more tokens than a batch: no more delay
    parts = queue.take()
    assert parts is not None
    assert [part.lengths for part in parts] == [[5]]


@pytest.mark.parametrize("preferred", [Limits(rows=2, tokens=8), Limits(rows=4, tokens=5), Limits(rows=99, tokens=99)])
def test_a_batch_of_the_preferred_size_does_not_wait(preferred: Limits) -> None:
    clock, taken = Clock(), list[list[int]]()
    queue = make_queue(clock, [], max_delay=3600.0, preferred=preferred)
    enough = threading.Event()

    def take() -> None:
        parts = queue.take()
        assert parts is not None
        taken.append([part.n_rows for part in parts])
        enough.set()

    threading.Thread(target=take, daemon=True).start()
    queue.put(job([[1, 2]]), None)
    if preferred.rows == 2:
        rest = [[3, 4]]
    elif preferred.tokens == 5:
        rest = [[3, 4], [5]]
    else:  # beyond the limits: those count
        rest = [[3, 4], [5, 6], [7, 8]]
    for row in rest:
        assert not enough.wait(0.02)
        queue.put(job([row]), None)
    assert enough.wait(WAIT)
    assert taken == [[1] * (len(rest) + 1)]


def test_a_jump_of_the_clock_expires_what_it_must_and_starts_the_rest() -> None:
    clock, answers = Clock(), list[Answer]()
    queue = make_queue(clock, answers, max_delay=3600.0)
    late, patient = job([[1]]), job([[2]])
    queue.put(late, 60.0)
    queue.put(patient, None)
    clock.now += 1e9
    parts = queue.take()
    assert parts is not None
    assert [part.job for part in parts] == [patient]
    assert [(answer.job, type(answer.error)) for answer in answers] == [(late, DeadlineError)]


def test_closing_between_the_pieces_of_a_row_runs_the_rest() -> None:
    clock, answers = Clock(), list[Answer]()
    queue = make_queue(clock, answers)
    queue.put(job([list(range(1, 21)), [3]]), None)
    piece = queue.take()
    assert piece is not None
    assert not piece[0].final
    queue.close()
    waiter = threading.Thread(target=queue.take, daemon=True)  # another worker must not end before the rest is there
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    queue.fail_open("closed", running=False)
    queue.finish(BatchResults(compute(piece)))
    waiter.join(WAIT)
    assert not waiter.is_alive()
    assert [str(answer.error) for answer in answers] == ["closed"]
    assert queue.take() is None


def test_time_that_runs_out_while_a_piece_runs_holds_up_nobody() -> None:
    clock, answers = Clock(), list[Answer]()
    queue = make_queue(clock, answers, workers=2)
    long, other = job([list(range(1, 31))]), job([[7] * 5])
    queue.put(long, 1.0)
    piece = queue.take()
    clock.now += 2
    queue.put(other, None)
    parts = queue.take()  # by another worker
    assert parts is not None
    assert piece is not None
    assert [part.job for part in parts] == [other]
    queue.finish(BatchResults(compute(piece)))
    queue.finish(BatchResults(compute(parts)))
    assert [(answer.job, type(answer.error)) for answer in answers] == [(long, DeadlineError), (other, type(None))]
    assert (queue.metrics().queued_rows, queue.metrics().queued_tokens) == (0, 0)


class Sums:
    """A backend."""

    description = ""

    def run(self, items: np.ndarray, offsets: np.ndarray, states: np.ndarray, exclude: np.ndarray) -> Any:
        totals = np.add.reduceat(np.append(items, 0), offsets[:-1]).astype(np.float32)[:, None]
        return totals.astype(np.int32), totals, states


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_dies_leaves_no_caller_waiting(workers: int) -> None:
    broken = threading.Event()

    def clock() -> float:
        if broken.is_set() and threading.current_thread().name.startswith("recblr-batch"):
            raise OSError("no clock")
        return 0.0

    batcher = Batcher(Sums(), LIMITS, max_delay=0.5, workers=workers, clock=clock)
    rows = np.ones(1, np.int32), np.array([0, 1], np.int32), np.zeros((1, 2), np.float32), np.empty((0, 2), np.int32)
    first = batcher.submit(*rows)
    broken.set()
    second = batcher.submit(*rows)
    for future in (first, second):
        with pytest.raises(ClosedError, match="worker ended"):
            future.result(WAIT)
    with pytest.raises(ClosedError):
        batcher.submit(*rows)
    batcher.close(timeout=WAIT)


def test_callers_beside_the_workers_start_whatever_waits() -> None:
    queue = make_queue(Clock(), [], callers=2)
    for _ in range(2):  # the second batch would wait for the first
        queue.put(job([[1] * 8]), None)
    assert queue.take() is not None
    assert queue.enter(1, 1)
    assert queue.enter(1, 1)
    assert not queue.enter(1, 1)
    assert queue.metrics().running_batches == 3
    queue.finish(BatchResults())
    assert queue.take() is not None  # callers hold no worker up
    queue.leave(1, 1, "answered")
    assert queue.enter(1, 1)


def test_a_delay_holds_up_those_that_would_take_a_workers_place() -> None:
    queue = make_queue(Clock(), [], callers=1, max_delay=1.0)
    assert queue.enter(1, 1)
    assert not queue.enter(1, 1)
    assert queue.enter(1, LIMITS.tokens)  # a batch already


def test_callers_that_run_their_own_batch_take_a_workers_place() -> None:
    clock, answers = Clock(), list[Answer]()
    queue = make_queue(clock, answers, workers=2)
    assert queue.enter(1, 1)
    assert queue.enter(1, 1)
    assert not queue.enter(1, 1)  # two batches run
    step = job([[2]])
    queue.put(step, None)
    taken: list[list[Part] | None] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    worker.start()
    worker.join(0.05)
    assert taken == []
    queue.leave(1, 1, "answered")
    worker.join(WAIT)
    assert [[part.job for part in parts or ()] for parts in taken] == [[step]]
    queue.finish(BatchResults(compute(taken[0] or ())))
    queue.close()
    with pytest.raises(ClosedError):
        queue.enter(1, 1)
    assert not queue.wait_until_idle(0.01)
    queue.leave(1, 1, "failed")
    assert queue.wait_until_idle(WAIT)
    metrics = queue.metrics()
    assert (metrics.accepted, metrics.answered, metrics.failed, metrics.open_requests) == (3, 2, 1, 0)
    assert (metrics.backend_errors, metrics.batch_rows.total) == (1, 1.0)


def large_queue(clock: Clock, workers: int = 1, preferred: Limits | None = None) -> BatchQueue:
    return BatchQueue(
        Limits(rows=64, tokens=1000),
        short_tokens=2,
        max_delay=0.0,
        preferred=preferred or Limits(),
        max_rows=100,
        max_tokens=100_000,
        workers=workers,
        clock=clock,
        deliver=lambda given: None,
    )


def lengths_of_next_batch(queue: BatchQueue) -> list[int]:
    parts = queue.take()
    assert parts is not None
    queue.finish(BatchResults())
    return [len(part.items) for part in parts]


def test_workers_share_the_long_rows_that_wait() -> None:
    queue = large_queue(Clock(), workers=2)
    for length in [90, 90, 90, 90, 90, 400, 30, 30]:
        queue.put(job([[1] * length]), None)
    taken = []
    while queue.metrics().queued_rows:
        taken.append(lengths_of_next_batch(queue))
    # 455 of 910; of the 460 that are left, all of a longer row; then no less than 128.
    assert taken == [[90] * 5, [400], [30, 30]]
    for _ in range(70):
        queue.put(job([[1, 1]]), None)
    assert len(lengths_of_next_batch(queue)) == 64  # short rows are not shared


def test_where_small_batches_are_hardly_dearer_few_long_rows_go_one_after_the_other() -> None:
    queue = large_queue(Clock(), workers=2, preferred=Limits(rows=32, tokens=96))

    def taken_of(n_rows: int) -> list[list[int]]:
        for _ in range(n_rows):
            queue.put(job([[1] * 90]), None)
        taken = []
        while queue.metrics().queued_rows:
            taken.append(lengths_of_next_batch(queue))
        return taken

    assert taken_of(5) == [[90]] * 5
    assert taken_of(20)[0] == [90] * 2  # 225 of 1,800, an eighth


@pytest.mark.parametrize("alone", [False, True])
def test_long_rows_leave_time_for_short_ones_while_these_come(alone: bool) -> None:
    clock = Clock()
    queue = large_queue(clock)

    def short_comes() -> None:
        if alone:
            assert queue.enter(1, 1)
            queue.leave(1, 1, "answered")
        else:
            queue.put(job([[1]]), None)
            assert lengths_of_next_batch(queue) == [1]

    def next_batch() -> list[int]:
        for _ in range(12):
            queue.put(job([[1] * 90]), None)
        taken = lengths_of_next_batch(queue)
        while queue.metrics().queued_rows:
            lengths_of_next_batch(queue)
        return taken

    assert next_batch() == [90] * 11
    short_comes()
    assert next_batch() == [90] * 5  # half the limit
    queue.put(job([[1] * 900]), None)
    assert lengths_of_next_batch(queue) == [900]  # a row is not cut for that
    clock.now += 0.9
    assert next_batch() == [90] * 5
    clock.now += 0.2
    assert next_batch() == [90] * 11


def test_runs_of_callers_are_counted_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, count = list[int](), Callers.count
    monkeypatch.setattr(Callers, "count", lambda callers, counts: (counted.append(1), count(callers, counts)))
    queue = make_queue(Clock(), [], callers=1)
    for n in range(600):
        assert queue.enter(2, 3)
        queue.leave(2, 3, "failed" if n % 3 == 0 else "answered")
    assert len(counted) == 2
    metrics = queue.metrics()
    assert (metrics.accepted, metrics.answered, metrics.failed, metrics.backend_errors) == (600, 400, 200, 200)
    assert (metrics.batch_rows.total, metrics.batch_tokens, metrics.open_requests) == (800.0, 1200, 0)


def test_callers_that_enter_as_it_closes_leave_at_once() -> None:
    queue = make_queue(Clock(), [], callers=2)
    assert queue.enter(1, 1)
    queue.close()
    with pytest.raises(ClosedError):
        queue.enter(1, 1)
    assert not queue.wait_until_idle(0.01)  # for the first
    waiter = threading.Thread(target=queue.wait_until_idle, args=(WAIT,), daemon=True)
    waiter.start()
    queue.leave(1, 1, "answered")
    waiter.join(WAIT / 2)
    assert not waiter.is_alive()
