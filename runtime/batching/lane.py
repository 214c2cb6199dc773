"""One of the lanes in which requests wait for a batcher's workers."""

from __future__ import annotations

from collections import deque

from recblr.runtime.batching.request import Request

# Removed requests stay, empty, until they are reached or are most of the lane.
_MIN_REMOVED = 64


class Lane:
    """Requests in order of arrival; those cut into parts go round. The queue's lock covers it.

    Attributes:
        requests: those that wait, and removed ones that were not reached yet.
        rows, tokens: that wait.
        removed: how many of `requests`.
    """

    __slots__ = ("removed", "requests", "rows", "tokens")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.rows = 0
        self.tokens = 0
        self.removed = 0

    def front(self) -> Request | None:
        """The first that waits; None where none does."""
        requests = self.requests
        while requests and requests[0].done:
            requests.popleft()
            self.removed -= 1
        return requests[0] if requests else None

    def put(self, request: Request) -> None:
        """Add one behind the others."""
        self.requests.append(request)
        self.rows += request.rows_left
        self.tokens += request.tokens_left

    def remove(self, request: Request) -> None:
        """Leave out one that is done, wherever it is."""
        self.rows -= request.rows_left
        self.tokens -= request.tokens_left
        self.removed += 1
        if self.removed > _MIN_REMOVED and self.removed > len(self.requests) // 2:
            self.requests = deque(waiting for waiting in self.requests if not waiting.done)
            self.removed = 0
