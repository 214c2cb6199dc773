"""Load: requests sent by callers that wait for each answer (closed loop), or at times set beforehand (open loop)."""

from __future__ import annotations

import itertools
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recblr.errors import RecblrError

TimesArray: TypeAlias = Float64[np.ndarray, "R"]
CountsArray: TypeAlias = Int64[np.ndarray, "R"]
FlagsArray: TypeAlias = Bool[np.ndarray, "R"]

_LONGEST_SLEEP = 0.1  # seconds until a waiting worker looks whether it shall stop
_COLUMNS = 6  # scheduled, sent, done, rows, tokens, whether it failed


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an engine.

    Attributes:
        call: makes it.
        rows: users it asks for.
        tokens: items it feeds.
    """

    call: Callable[[], object]
    rows: int
    tokens: int


MakeRequest: TypeAlias = Callable[[int], Request]  # of the request with this number, from 0


@dataclass(frozen=True, slots=True)
class Clock:
    """Tells the time in seconds, and sleeps; tests have another one."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, eq=False)
class Samples:
    """The requests that were measured: those of the warm-up are left out. R of them; times on one clock, in seconds.

    Attributes:
        scheduled: when each should have been sent; in a closed loop, when it was.
        sent, done: when each was.
        rows, tokens: of each.
        failed: which were refused or failed, with a `RecblrError`.
        caller: which worker sent each.
        errors: how many requests failed, by the error's class.
        unanswered: [U] when those should have been sent that were scheduled, but were not answered by the end.
        started, ended: of the measurement, warm-up left out.
        warm_up_requests: how many were sent before.
        interrupted: by Ctrl-C.
    """

    scheduled: TimesArray
    sent: TimesArray
    done: TimesArray
    rows: CountsArray
    tokens: CountsArray
    failed: FlagsArray
    caller: CountsArray
    errors: dict[str, int]
    unanswered: TimesArray
    started: float
    ended: float
    warm_up_requests: int
    interrupted: bool


def closed_loop(
    make_request: MakeRequest, callers: int, warm_up: float, seconds: float, clock: Clock | None = None
) -> Samples:
    """Every caller sends its next request when the last one is answered.

    A caller ends with the first request that is done after the time; each sends at least one that is measured.

    Args:
        make_request: from several threads at once.
        callers: threads; one is the calling thread itself.
        warm_up: seconds before the measurement.
        seconds: of the measurement.

    Raises:
        Exception: what `make_request` or a call raised, but for `RecblrError`, which is counted.
    """
    run = _Run(callers, clock or Clock())
    started = run.clock.now() + warm_up
    numbers = itertools.count()

    def work(worker: _Worker) -> None:
        measured = False
        while not run.stop.is_set():
            now = run.clock.now()
            if measured and now >= started + seconds:
                break
            measured = now >= started
            worker.send(make_request(next(numbers)))

    run.start(work)
    return run.samples(started)


def open_loop(
    make_request: MakeRequest,
    arrivals: TimesArray,
    in_flight: int,
    warm_up: float,
    seconds: float,
    clock: Clock | None = None,
) -> Samples:
    """Requests are sent at times that do not depend on the answers, as users do.

    Where all of `in_flight` wait for answers, the next request is late; since its latency counts from the time it was
    scheduled for, that time is in the result and a stall meets all requests that fell into it. Sending ends one
    measurement's time after the measurement's end at the latest; what was not sent until then counts as unanswered.

    Args:
        make_request: from several threads at once.
        arrivals: [A] ascending, seconds from the start; those before `warm_up` are not measured.
        in_flight: threads, the most requests under way at once; one is the calling thread itself.
        warm_up: seconds before the measurement.
        seconds: of the measurement.

    Raises:
        Exception: what `make_request` or a call raised, but for `RecblrError`, which is counted.
    """
    run = _Run(in_flight, clock or Clock())
    beginning = run.clock.now()
    schedule = (beginning + arrivals).tolist()
    started = beginning + warm_up
    last_chance = started + 2 * seconds
    numbers = itertools.count()

    def work(worker: _Worker) -> None:
        while (number := next(numbers)) < len(schedule):
            scheduled = schedule[number]
            request = make_request(number)  # before its time: making it is no part of the latency
            while not run.stop.is_set() and (wait := scheduled - run.clock.now()) > 0:
                run.clock.sleep(min(wait, _LONGEST_SLEEP))
            if run.stop.is_set() or run.clock.now() >= last_chance:
                break
            worker.send(request, scheduled)

    run.start(work)
    return run.samples(started, schedule)


def poisson_arrivals(rate: float, seconds: float, generator: np.random.Generator) -> TimesArray:
    """Arrivals at random, `rate` per second on average, ascending, in [0, seconds)."""
    count = generator.poisson(rate * seconds)
    return np.sort(generator.uniform(0, seconds, count))


@dataclass(eq=False)
class _Worker:
    """The requests that one thread sent."""

    clock: Clock
    records: array[float] = field(default_factory=lambda: array("d"))
    errors: list[tuple[float, str]] = field(default_factory=list)  # scheduled, class

    def send(self, request: Request, scheduled: float | None = None) -> None:
        failed = 0.0
        sent = self.clock.now()
        if scheduled is None:
            scheduled = sent
        try:
            request.call()
        except RecblrError as error:
            failed = 1.0
            self.errors.append((scheduled, type(error).__name__))
        self.records.extend((scheduled, sent, self.clock.now(), request.rows, request.tokens, failed))


class _Run:
    """Run threads until all end, one fails, or Ctrl-C comes."""

    def __init__(self, workers: int, clock: Clock) -> None:
        self.clock = clock
        self.stop = threading.Event()
        self._workers = [_Worker(clock) for _ in range(workers)]
        self._failure: BaseException | None = None
        self._interrupted = False

    def start(self, work: Callable[[_Worker], None]) -> None:
        if len(self._workers) == 1:
            try:
                work(self._workers[0])
            except KeyboardInterrupt:
                self._interrupted = True
            return

        def guarded(worker: _Worker) -> None:
            try:
                work(worker)
            except BaseException as error:
                self._failure = error
                self.stop.set()

        threads = [threading.Thread(target=guarded, args=(worker,)) for worker in self._workers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._interrupted = True
        finally:  # every request under way is still waited for
            if self._interrupted:
                self.stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._failure is not None:
            raise self._failure

    def samples(self, started: float, schedule: Sequence[float] = ()) -> Samples:
        ended = self.clock.now()
        tables = [np.array(worker.records).reshape(-1, _COLUMNS) for worker in self._workers]
        table = np.concatenate(tables)
        caller = np.repeat(np.arange(len(tables)), [len(rows) for rows in tables])
        measured = table[:, 0] >= started
        failures = [name for worker in self._workers for time, name in worker.errors if time >= started]
        reached = np.array([time for time in schedule if started <= time <= ended])
        scheduled, sent, done, rows, tokens, failed = table[measured].T
        return Samples(
            scheduled=scheduled,
            sent=sent,
            done=done,
            rows=rows.astype(np.int64),
            tokens=tokens.astype(np.int64),
            failed=failed > 0,
            caller=caller[measured],
            errors=dict(Counter(failures)),
            unanswered=np.setdiff1d(reached, scheduled),
            started=started,
            ended=max(ended, started),
            warm_up_requests=len(table) - int(measured.sum()),
            interrupted=self._interrupted,
        )
