"""The metrics of a batcher."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HistogramSnapshot:
    """A histogram: how many values fell into each bucket.

    Attributes:
        bounds: the buckets' upper bounds, inclusive; one more bucket holds what is above the last.
        counts: values per bucket, one more than bounds.
        total: the sum of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True)
class BatcherMetrics:
    """A batcher at one moment: what waits now, and counts since it was made.

    Every request taken is in exactly one of answered, failed, expired, cancelled, or still open.

    Attributes:
        queued_rows, queued_tokens: rows and items that wait now.
        open_requests: taken and not answered yet, those in a running batch included.
        running_batches: batches that run now.
        accepted: requests taken.
        refused: requests refused because the queue was full.
        answered: requests answered with a result.
        failed: requests answered with an error of the backend, or because the batcher closed.
        expired: requests whose time ran out.
        cancelled: requests that their callers withdrew.
        backend_errors: runs of the backend that raised, those repeated in halves included.
        batch_rows: rows per run of the backend.
        batch_tokens: items of all runs.
        wait_seconds: from a request's arrival to its first run.
    """

    queued_rows: int
    queued_tokens: int
    open_requests: int
    running_batches: int
    accepted: int
    refused: int
    answered: int
    failed: int
    expired: int
    cancelled: int
    backend_errors: int
    batch_rows: HistogramSnapshot
    batch_tokens: int
    wait_seconds: HistogramSnapshot


class Histogram:
    """Counts values in buckets; not locked."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def snapshot(self) -> HistogramSnapshot:
        """The counts so far."""
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._total)


ROW_BOUNDS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
WAIT_BOUNDS: tuple[float, ...] = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
)


@dataclass(slots=True, eq=False)
class BatcherCounts:
    """What `BatcherMetrics` counts since the start; not locked."""

    accepted: int = 0
    refused: int = 0
    answered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    backend_errors: int = 0
    batch_tokens: int = 0
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROW_BOUNDS))
    wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BOUNDS))

    def ran(self, n_rows: int, n_tokens: int) -> None:
        """Count a run of the backend that succeeded."""
        self.batch_rows.add(n_rows)
        self.batch_tokens += n_tokens

    def metrics(
        self, *, queued_rows: int, queued_tokens: int, open_requests: int, running_batches: int
    ) -> BatcherMetrics:
        """The counts so far, joined with what waits and runs now."""
        return BatcherMetrics(
            queued_rows=queued_rows,
            queued_tokens=queued_tokens,
            open_requests=open_requests,
            running_batches=running_batches,
            accepted=self.accepted,
            refused=self.refused,
            answered=self.answered,
            failed=self.failed,
            expired=self.expired,
            cancelled=self.cancelled,
            backend_errors=self.backend_errors,
            batch_rows=self.batch_rows.snapshot(),
            batch_tokens=self.batch_tokens,
            wait_seconds=self.wait_seconds.snapshot(),
        )
