"""Histories in this process's memory: for tests, and for services that may lose them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice

from recblr.errors import StoreError
from recblr.runtime.users.stores.base import (
    Append,
    Event,
    EventId,
    UserId,
    check_max_history,
    cut,
    new_stamp,
)


class _Log:
    """One user's events, with their ids, and the number of items kept."""

    __slots__ = ("event_ids", "events", "n_items")

    def __init__(self) -> None:
        self.events: deque[tuple[Event, EventId | None]] = deque()
        self.event_ids: set[EventId] = set()
        self.n_items = 0


class MemoryStore:
    """A `Store` in memory. What it holds ends with the process."""

    def __init__(self, max_history: int | None = None) -> None:
        """Make an empty one.

        Args:
            max_history: how many of a user's latest items to keep; None for all.

        Raises:
            ConfigError: `max_history` below 1.
        """
        self.max_history = check_max_history(max_history)
        self._logs: dict[UserId, _Log] = {}
        self._lock = threading.Lock()
        self._closed = False

    def append(self, appends: Sequence[Append]) -> list[bool]:
        """Store events in this process's memory."""
        with self._lock:
            self._check_open()
            return [self._append(append) for append in appends]

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        """Copy the users' events."""
        with self._lock:
            self._check_open()
            return [self._read(user, first) for user, first in zip(users, since, strict=True)]

    def forget(self, user: UserId) -> bool:
        """Remove all of a user. Returns whether there was anything."""
        with self._lock:
            self._check_open()
            return self._logs.pop(user, None) is not None

    def close(self) -> None:
        """Drop all histories."""
        with self._lock:
            self._closed = True
            self._logs.clear()

    def _append(self, append: Append) -> bool:
        log = self._logs.setdefault(append.user, _Log())
        if append.event_id is not None:
            if append.event_id in log.event_ids:
                return False
            log.event_ids.add(append.event_id)
        seq = log.events[-1][0].seq + 1 if log.events else 1
        event = Event(seq, new_stamp(), list(cut(append.items, self.max_history)))
        log.events.append((event, append.event_id))
        log.n_items += len(event.items)
        while self.max_history is not None and log.n_items - len(log.events[0][0].items) >= self.max_history:
            oldest, event_id = log.events.popleft()
            log.n_items -= len(oldest.items)
            if event_id is not None:
                log.event_ids.remove(event_id)
        return True

    def _read(self, user: UserId, since: int) -> list[Event]:
        log = self._logs.get(user)
        if log is None:
            return []
        n_wanted = log.events[-1][0].seq - since + 1
        if n_wanted >= len(log.events):
            return [event for event, _ in log.events]
        newest_first = [event for event, _ in islice(reversed(log.events), max(n_wanted, 0))]
        return newest_first[::-1]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed: open it again")
