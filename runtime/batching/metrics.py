"""What an engine counts that merges requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The upper bounds of the core's buckets.
_ROW_BOUNDS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS_BOUNDS: tuple[float, ...] = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


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
    """An engine that batches, at one moment: what waits now, and counts since it was made.

    Every request taken is in exactly one of answered, failed, expired, cancelled, or still open.

    Attributes:
        queued_rows, queued_tokens: rows and items that wait now.
        open_requests: taken and not answered yet, those in a running batch included.
        running_batches: batches that run now.
        accepted: requests taken.
        refused: requests refused because the queue was full.
        answered: requests answered with a result.
        failed: requests answered with an error of the backend, or because the engine closed.
        expired: requests whose time ran out.
        cancelled: requests that their callers withdrew.
        backend_errors: runs of the backend that raised, those repeated in halves included.
        batch_rows: rows per run of the backend.
        batch_tokens: items of all runs.
        wait_seconds: from a request's arrival to its first run.
        run_seconds: of the backend's runs, as batch_rows.
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
    run_seconds: HistogramSnapshot

    @classmethod
    def of_core(cls, counts: Mapping[str, Any]) -> BatcherMetrics:
        """From what the core counted."""
        bounds = {"batch_rows": _ROW_BOUNDS, "wait_seconds": _SECONDS_BOUNDS, "run_seconds": _SECONDS_BOUNDS}
        histograms = {name: HistogramSnapshot(bounds[name], *counts[name]) for name in bounds}
        return cls(**{**counts, **histograms})
