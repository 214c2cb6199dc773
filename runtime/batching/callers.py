"""The threads that call a batcher and run their rows themselves, besides its workers."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from recblr.runtime.batching.metrics import BatcherCounts

# How a run of a caller's thread ended; "again" where its rows go to the queue and are run once more.
Outcome: TypeAlias = Literal["answered", "failed", "again"]

# Runs are counted when there are so many, or when somebody asks for the counts.
_MOST_UNCOUNTED = 256


class Callers:
    """How many more callers may run rows now, and how the runs of the others ended.

    No lock: many threads pass here for a short run each, and would wait for each other and, in turn, for Python's lock.
    """

    __slots__ = ("_most", "_places", "_runs")

    def __init__(self, most: int) -> None:
        """Let at most so many callers run rows at once."""
        self._most = most
        self._places = deque([None] * most)
        self._runs: deque[tuple[int, int, Outcome]] = deque()

    @property
    def running(self) -> int:
        """How many callers run rows now."""
        return self._most - len(self._places)

    @property
    def uncounted(self) -> bool:
        """Whether many runs wait to be counted."""
        return len(self._runs) >= _MOST_UNCOUNTED

    def enter(self) -> bool:
        """Take a place, if one is free; returns whether it did. The caller must `leave` after."""
        try:
            self._places.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        """Give the place back that `enter` took."""
        self._places.append(None)

    def ran(self, n_rows: int, n_tokens: int, outcome: Outcome) -> None:
        """Note a run, to be counted later."""
        self._runs.append((n_rows, n_tokens, outcome))

    def count(self, counts: BatcherCounts) -> None:
        """Add the runs noted to `counts`; call it with the lock that covers them."""
        while self._runs:
            n_rows, n_tokens, outcome = self._runs.popleft()
            if outcome == "answered":
                counts.ran(n_rows, n_tokens)
                counts.answered += 1
            else:
                counts.backend_errors += 1
            if outcome == "failed":
                counts.failed += 1
            if outcome != "again":
                counts.accepted += 1
                counts.wait_seconds.add(0.0)
