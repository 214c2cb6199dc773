"""How an engine merges the requests of concurrent callers, in settings for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recblr.runtime.arguments import check_seconds, check_whole

_MOST = 2**31 - 1


@dataclass(frozen=True)
class Batching:
    """How an engine merges the requests of concurrent callers.

    A worker that is free takes what waits at once, so a lone request is not delayed; while workers are busy, requests
    gather and go together. A thread that finds nothing waiting and a worker's place free computes its request itself.
    Steps and long histories wait apart and take turns: a step never waits for the whole of a long history, and neither
    kind is starved. A request's result is that of the same request alone. A run that fails is repeated in halves, down
    to single users, so that only the request at fault gets the error.

    Attributes:
        max_batch_rows: of one run.
        max_batch_tokens: items of one run; a longer row is fed in pieces.
        max_delay_ms: milliseconds that a batch waits for more, if they would make it cheaper per user: on the CPU a
            history of a hundred items is as cheap alone, and waits for none; a lone step waits as long.
        max_queue: rows that may wait; a request beyond is refused.
        timeout: seconds that a request may wait for its run; None for no bound.
        workers: batches that run at once; None for as many as there are CPUs for their threads.
    """

    max_batch_rows: int = 64
    max_batch_tokens: int = 2560
    max_delay_ms: float = 0.0
    max_queue: int = 4096
    timeout: float | None = None
    workers: int | None = None

    def options(self, workers: int = 0, *, full_batches: bool = False) -> dict[str, float]:
        """The same for the core, checked.

        Args:
            workers: where these say nothing; 0 for the core's own.
            full_batches: whether only a full batch is so cheap per user that it waits for no more, as on a GPU.

        Raises:
            ConfigError: a value out of its range.
        """
        for name in ("max_batch_rows", "max_batch_tokens", "max_queue", "workers"):
            value: Any = getattr(self, name)
            if value is None and name == "workers":
                continue
            check_whole(value, name, "a whole number of at least 1", least=1, most=_MOST)
        max_delay_ms = check_seconds(self.max_delay_ms, "max_delay_ms", "milliseconds, 0 for none", zero=True)
        timeout = 0.0
        if self.timeout is not None:
            timeout = check_seconds(self.timeout, "timeout", "seconds above 0, or None")
        return {
            "max_batch_rows": self.max_batch_rows,
            "max_batch_tokens": self.max_batch_tokens,
            "enough_rows": self.max_batch_rows if full_batches else 0,
            "enough_tokens": self.max_batch_tokens if full_batches else 0,
            "max_delay": max_delay_ms / 1e3,
            "max_queued_rows": self.max_queue,
            "max_queued_tokens": 0,
            "timeout": timeout,
            "workers": workers if self.workers is None else self.workers,
        }
