"""Callers of a batcher that run their rows themselves, beside its workers."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from recblr.runtime.batching.metrics import BatcherCounts

# What came of rows that a caller ran itself; "again" where it puts them in the queue.
Outcome: TypeAlias = Literal["answered", "failed", "again"]

# Runs are counted when there are so many, or when somebody asks for the counts.
_MOST_UNCOUNTED = 256


class Callers:
    """How many still may, and what came of their runs.

    No lock: many threads pass here for a short run each, and would wait for each other and, in turn, for Python's lock.
    """

    __slots__ = ("_most", "_runs", "_tickets")

    def __init__(self, most: int) -> None:
        """So many at once."""
        self._most = most
        self._tickets = deque([None] * most)
        self._runs: deque[tuple[int, int, Outcome]] = deque()

    @property
    def running(self) -> int:
        """How many there are now."""
        return self._most - len(self._tickets)

    @property
    def uncounted(self) -> bool:
        """Many runs wait to be counted."""
        return len(self._runs) >= _MOST_UNCOUNTED

    def enter(self) -> bool:
        """Whether one more may; it must `leave` then."""
        try:
            self._tickets.pop()
        except IndexError:
            return False
        return True

    def leave(self) -> None:
        """End what `enter` began."""
        self._tickets.append(None)

    def ran(self, n_rows: int, n_tokens: int, outcome: Outcome) -> None:
        """Note a run."""
        self._runs.append((n_rows, n_tokens, outcome))

    def count(self, counts: BatcherCounts) -> None:
        """Add the runs to counts, whose lock is held."""
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
