"""How an engine merges the requests of concurrent callers, in settings for people."""

from __future__ import annotations

from dataclasses import dataclass

from recblr.runtime.limits import Limits

# On the native library's kernels, four rows share a reading of the items; in ONNX Runtime the cost of a step falls
# until about 32 rows, that of an item of a history until about 128 items. Batches many times that size pay for
# Python's part, too: it takes the workers' turns, and their caches.
BATCH_LIMITS = Limits(rows=64, tokens=2560)

# Of the same: with so many rows or items a batch is hardly dearer per row than a full one. On a GPU, and where a large
# catalogue is ranked, only a full one is.
CPU_PREFERRED = Limits(rows=32, tokens=96)

# For each worker, on the CPU: to wake a thread and wait for Python's lock takes longer than a step, and the system
# shares the CPUs among threads. Where a large catalogue is ranked, to merge rows saves more.
CPU_CALLERS_PER_WORKER = 8


@dataclass(frozen=True)
class Batching:
    """How an engine merges the requests of concurrent callers; see `recblr.runtime.Batcher`.

    Attributes:
        max_batch_rows: of one run.
        max_batch_tokens: items of one run; a longer row is fed in pieces.
        max_delay_ms: milliseconds that a batch waits for more, if they would make it cheaper per user: on the CPU a
            history of a hundred items is as cheap alone, and waits for none; a lone step waits as long.
        max_queue: rows that may wait; a request beyond is refused.
        timeout: seconds that a request may wait for its run; None for no bound.
        workers: batches that run at once; None for as many as there are CPUs for their threads, at most 8. On the CPU,
            8 callers' threads per worker may besides compute what they ask for themselves, see `Batcher`.
        pin_workers: keep each worker on a CPU of its own, which needs runs that take one thread of the CPU. Otherwise
            Linux may wake one behind another, and have it wait there, with the next CPU idle. None does so where there
            is a worker for every CPU that this process may use.
    """

    max_batch_rows: int = BATCH_LIMITS.rows
    max_batch_tokens: int = BATCH_LIMITS.tokens
    max_delay_ms: float = 0.0
    max_queue: int = 4096
    timeout: float | None = None
    workers: int | None = None
    pin_workers: bool | None = None
