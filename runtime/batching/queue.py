"""The queue of a batcher: jobs wait in two lanes for its workers, bounded, with deadlines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from recblr.errors import ClosedError, DeadlineError, OverloadedError
from recblr.runtime.batching.callers import Callers, Outcome
from recblr.runtime.batching.job import Answer, BatchResults, Job, Part, Result
from recblr.runtime.batching.lane import Lane
from recblr.runtime.batching.metrics import BatcherCounts, BatcherMetrics
from recblr.runtime.limits import Limits

# Fewer items are not shared among workers: a run of its own would cost more than their waiting.
FEWEST_SHARED_TOKENS = 128

# Where small batches are hardly dearer, a worker takes its share of what waits in so many batches: a few rows that wait
# are answered one after the other, sooner than together, and many still fill batches.
_SHARES_OF_WORKER = 4

# For so many seconds after a short row came, batches of long ones are cut to this share of the limit: others will come,
# and wait for them. Without any, large batches leave more of the CPUs to the backend.
_SHORT_EXPECTED_SECONDS = 1.0
_SHARE_WHILE_SHORT_COME = 0.5

_CLOSED = "the batcher is closed: make a new one"

# The condition's waits are bounded by the platform; a worker looks again after so many seconds.
_LONGEST_WAIT = 3600.0


class BatchQueue:
    """Takes jobs from any thread, and gives workers the parts of the next batch.

    Two lanes, short rows and long ones, take turns, so that a batch of one kind waits for at most one of the other.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        short_tokens: int,
        max_delay: float,
        preferred: Limits,
        max_rows: int,
        max_tokens: int,
        workers: int,
        callers: int = 0,
        clock: Callable[[], float],
        deliver: Callable[[Iterable[Answer]], None],
    ) -> None:
        """An empty queue.

        Args:
            limits: of one batch.
            short_tokens: jobs whose rows all have at most so many items are in the short lane.
            max_delay: seconds that the first job of a batch waits for others.
            preferred: so many rows, or items, wait for no others; nor does a full batch.
            max_rows: that may wait.
            max_tokens: that may wait.
            workers: how many batches run at once.
            callers: how many more callers may run rows themselves at once.
            clock: seconds, never going back.
            deliver: hands answers to their callers; called without the lock.
        """
        self._deliver = deliver
        self._limits = limits
        self._short_tokens = short_tokens
        self._max_delay = max_delay
        self._enough_rows = min(preferred.rows, limits.rows)
        self._enough_tokens = min(preferred.tokens, limits.tokens)
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._workers = workers
        self._callers = Callers(callers)  # besides those in workers' places
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._short, self._long = Lane(), Lane()
        self._long_next = False
        self._last_short = -float("inf")  # when the last short job came
        self._held: set[Job] = set()  # in no lane while a piece of a row runs
        self._next_deadline = float("inf")  # none waiting has an earlier one
        self._open: set[Job] = set()
        self._running = self._in_places = 0  # workers, and callers in their places
        self._closed = False
        self._counts = BatcherCounts()

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    def put(self, job: Job, timeout: float | None) -> None:
        """Take a job from any thread that expires after `timeout` seconds, or never.

        Raises:
            OverloadedError: the queue is full.
            ClosedError: it is closed.
        """
        now = self._clock()
        expired: list[Answer] = []
        with self._changed:
            if self._closed:
                raise ClosedError(_CLOSED)
            if self._full(job):
                expired = self._expire(now)
            full = self._full(job)
            if full:
                self._counts.refused += 1
            else:
                nothing_waits = not (self._short.rows or self._long.rows)
                job.arrived = now
                # Where something waits already, a worker looks again when its delay is over, or when it is free.
                wake = self._max_delay == 0 or nothing_waits
                if timeout is not None:
                    job.deadline = now + timeout
                    if job.deadline < self._next_deadline:
                        self._next_deadline, wake = job.deadline, True
                lane = self._lane_of(job)
                if lane is self._short:
                    self._last_short = now
                lane.put(job)
                self._counts.accepted += 1
                self._open.add(job)
                # Where all workers run, one looks when its batch is over.
                if (wake or self._enough(lane.rows, lane.tokens)) and self._busy() < self._workers:
                    self._changed.notify()
        if expired:
            self._deliver(expired)
        if full:
            raise OverloadedError(
                f"no room for {job.n_rows:,} more rows, where at most {self._max_rows:,} rows and "
                f"{self._max_tokens:,} items may wait: send the request again later, or elsewhere"
            )

    def enter(self, n_rows: int, n_tokens: int) -> bool:
        """Whether a caller may run rows itself, as a batch; it must `leave` after.

        `callers` of them may at any time. Others take a worker's place, if it would start with their rows at once:
        nothing waits, and a worker is free.

        Args:
            n_rows: within the limits of a batch.
            n_tokens: items of these rows, within them, too.

        Raises:
            ClosedError: the queue is closed.
        """
        if self._callers.enter():
            if self._closed:
                self._leave_callers()
                raise ClosedError(_CLOSED)
        else:
            with self._changed:
                if self._closed:
                    raise ClosedError(_CLOSED)
                waits = self._short.rows or self._long.rows
                delayed = self._max_delay > 0 and not self._enough(n_rows, n_tokens)
                if waits or delayed or self._busy() >= self._workers:
                    return False
                self._in_places += 1
        if n_tokens <= n_rows * self._short_tokens:
            self._last_short = self._clock()
        return True

    def leave(self, n_rows: int, n_tokens: int, outcome: Outcome) -> None:
        """End the run of a caller that `enter` let in, and note how it ended."""
        self._callers.ran(n_rows, n_tokens, outcome)
        if self._in_places or self._callers.uncounted:
            with self._changed:
                self._callers.count(self._counts)
                if self._in_places:  # a worker's is given back first
                    self._in_places -= 1
                    self._place_is_free()
                    return
        self._leave_callers()

    def _leave_callers(self) -> None:
        self._callers.leave()
        if self._closed:
            with self._changed:
                self._changed.notify_all()

    def withdraw(self, job: Job) -> bool:
        """Drop a job whose caller no longer waits; its place is free at once. False where it was done already."""
        with self._changed:
            if job.done:
                return False
            self._counts.cancelled += 1
            self._end(job)
            return True

    def take(self) -> list[Part] | None:
        """Wait for work, and give the parts of the next batch; None once the queue is closed and empty."""
        while True:
            with self._changed:
                parts = self._wait_for_batch()
                expired = self._expire(self._clock()) if parts == [] else []
            if parts or parts is None:
                return parts
            self._deliver(expired)

    def finish(self, batch: BatchResults) -> None:
        """End a batch that `take` gave: answer jobs that are whole or failed, and queue those with more to run."""
        answers: list[Answer] = []
        counts = self._counts
        with self._changed:
            self._running -= 1
            counts.backend_errors += batch.raised
            for n_rows, n_tokens in batch.runs:
                counts.ran(n_rows, n_tokens)
            for part, result in batch.of_parts:
                job = part.job
                if job.done:  # withdrawn, expired or failed by another part
                    pass
                elif isinstance(result, Exception):
                    counts.failed += 1
                    answers.append(self._end(job, error=result))
                elif part.final:
                    whole = job.add(part, result)
                    if whole is not None:
                        counts.answered += 1
                        answers.append(self._end(job, whole))
                else:
                    job.resume(result[2])
                    self._lane_of(job).put(job)
                if not part.final:
                    self._held.discard(job)  # after `_end`, which must know that it is in no lane
            self._place_is_free()
        self._deliver(answers)

    def wait_until_idle(self, seconds: float | None) -> bool:
        """Wait until no batch runs, once the queue is closed; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._running or self._entered()), seconds)

    def close(self) -> None:
        """Take no more jobs; those that wait are still answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def fail_open(self, reason: str, *, running: bool) -> None:
        """Answer jobs with a ClosedError: those not yet done, or only those with parts that do not run yet."""
        answers = []
        with self._changed:
            for job in tuple(self._open):
                if running or job.rows_left:
                    self._counts.failed += 1
                    answers.append(self._end(job, error=ClosedError(reason)))
            self._changed.notify_all()
        self._deliver(answers)

    def metrics(self) -> BatcherMetrics:
        """The counts at this moment."""
        with self._changed:
            self._callers.count(self._counts)
            entered = self._entered()
            return self._counts.metrics(
                queued_rows=self._short.rows + self._long.rows,
                queued_tokens=self._short.tokens + self._long.tokens,
                open_requests=len(self._open) + entered,
                running_batches=self._running + entered,
            )

    # What follows is called with the lock held.

    def _busy(self) -> int:
        """How many workers run a batch or have lent their place to a caller."""
        return self._running + self._in_places

    def _entered(self) -> int:
        """How many callers run rows themselves."""
        return self._callers.running + self._in_places

    def _place_is_free(self) -> None:
        if self._closed:
            self._changed.notify_all()
        elif self._short.rows or self._long.rows:
            self._changed.notify()  # a worker may wait because callers ran as many batches as there may be

    def _lane_of(self, job: Job) -> Lane:
        return self._short if job.longest <= self._short_tokens else self._long

    def _full(self, job: Job) -> bool:
        """Whether there is no room for a job; where nothing waits there is room for any."""
        rows, tokens = self._short.rows + self._long.rows, self._short.tokens + self._long.tokens
        return rows > 0 and (rows + job.rows_left > self._max_rows or tokens + job.tokens_left > self._max_tokens)

    def _end(self, job: Job, result: Result | None = None, error: Exception | None = None) -> Answer:
        """Mark a job done, wherever it is; one whose last part was taken is in no lane and has no rows left."""
        assert job.future is not None  # it was not done before
        answer = Answer(job, job.future, result, error)
        job.done = True
        self._open.discard(job)
        if job.rows_left and job not in self._held:
            self._lane_of(job).remove(job)
        job.release()
        return answer

    def _expire(self, now: float) -> list[Answer]:
        if now < self._next_deadline:
            return []
        self._next_deadline = float("inf")
        answers = []
        for job in (*self._short.jobs, *self._long.jobs, *self._held):
            if job.done or job.deadline is None:
                continue
            if job.deadline > now:
                self._next_deadline = min(self._next_deadline, job.deadline)
                continue
            waited = now - job.arrived
            reason = f"the request waited {waited:.3g} s, longer than it may: allow more time, or send fewer requests"
            self._counts.expired += 1
            answers.append(self._end(job, error=DeadlineError(reason)))
        return answers

    def _wait_for_batch(self) -> list[Part] | None:
        """The next batch; [] where jobs expired first, None once closed and empty."""
        while True:
            now = self._clock()
            if now >= self._next_deadline:
                return []
            lane, seconds = self._choose(now) if self._busy() < self._workers else (None, None)
            if lane is not None:
                return self._fill(lane, now)
            if self._closed and not (self._held or self._short.rows or self._long.rows):
                return None
            if self._next_deadline < float("inf"):
                left = self._next_deadline - now
                seconds = left if seconds is None else min(seconds, left)
            self._changed.wait(seconds if seconds is None else min(seconds, _LONGEST_WAIT))

    def _choose(self, now: float) -> tuple[Lane | None, float | None]:
        """The lane whose batch may start, or after how many seconds one may; (None, None) where nothing waits."""
        lanes = (self._long, self._short) if self._long_next else (self._short, self._long)
        seconds: float | None = None
        for lane in lanes:
            front = lane.front()
            if front is None:
                continue
            left = front.arrived + self._max_delay - now
            if left <= 0 or self._enough(lane.rows, lane.tokens) or self._closed:
                self._long_next = lane is self._short
                return lane, None
            seconds = left if seconds is None else min(seconds, left)
        return None, seconds

    def _enough(self, n_rows: int, n_tokens: int) -> bool:
        """Whether so many rows or items are enough for a batch that waits for no more."""
        return n_rows >= self._enough_rows or n_tokens >= self._enough_tokens

    def _tokens_for(self, lane: Lane, now: float) -> int:
        """The most items of the next batch of a lane.

        For long rows a worker's share of what waits, as the other workers will be free soon, and no more than short
        rows should wait for.
        """
        front, limit = lane.front(), self._limits.tokens
        if lane is self._short or front is None:
            return limit
        divided = self._workers * (_SHARES_OF_WORKER if self._enough_tokens < limit else 1)
        share = max(min(self._enough_tokens, FEWEST_SHARED_TOKENS), -(-lane.tokens // divided))
        if now - self._last_short < _SHORT_EXPECTED_SECONDS:
            share = min(share, int(limit * _SHARE_WHILE_SHORT_COME))
        return min(limit, max(share, front.tokens_left_in_row))

    def _fill(self, lane: Lane, now: float) -> list[Part]:
        rows, tokens, exclusions = self._limits.rows, self._tokens_for(lane, now), self._limits.exclusions
        parts: list[Part] = []
        again: list[Job] = []
        while rows and (job := lane.front()) is not None:
            rows_before, tokens_before = job.rows_left, job.tokens_left
            part = job.take(rows, tokens, exclusions, self._limits, alone=not parts)
            if part is None:
                break
            if not job.started:
                job.started = True
                self._counts.wait_seconds.add(now - job.arrived)
            lane.jobs.popleft()
            lane.rows -= rows_before - job.rows_left
            lane.tokens -= tokens_before - job.tokens_left
            parts.append(part)
            rows -= part.n_rows
            tokens -= len(part.items)
            exclusions -= len(part.exclude)
            if not part.final:
                self._held.add(job)
                lane.rows -= job.rows_left
                lane.tokens -= job.tokens_left
                break
            if job.rows_left:
                again.append(job)
        lane.jobs.extend(again)  # its other rows go behind those of others
        self._running += 1
        if self._short.rows or self._long.rows:
            self._changed.notify()  # another worker may be idle
        return parts
