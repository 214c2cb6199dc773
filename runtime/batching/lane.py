"""One of the lanes in which jobs wait for a batcher's workers."""

from __future__ import annotations

from collections import deque

from recblr.runtime.batching.job import Job

# Removed jobs stay, empty, until they are reached or are most of the lane.
_MIN_REMOVED = 64


class Lane:
    """Jobs in order of arrival; what is left of a job after a part goes to the end. The queue's lock covers it.

    Attributes:
        jobs: those that wait, and removed ones that were not reached yet.
        rows, tokens: how many rows and items wait.
        removed: how many of `jobs` are removed ones.
    """

    __slots__ = ("jobs", "removed", "rows", "tokens")

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.rows = 0
        self.tokens = 0
        self.removed = 0

    def front(self) -> Job | None:
        """The first job that waits; None where none does."""
        jobs = self.jobs
        while jobs and jobs[0].done:
            jobs.popleft()
            self.removed -= 1
        return jobs[0] if jobs else None

    def put(self, job: Job) -> None:
        """Add a job at the end."""
        self.jobs.append(job)
        self.rows += job.rows_left
        self.tokens += job.tokens_left

    def remove(self, job: Job) -> None:
        """Remove a job that is done, wherever it is in the lane."""
        self.rows -= job.rows_left
        self.tokens -= job.tokens_left
        self.removed += 1
        if self.removed > _MIN_REMOVED and self.removed > len(self.jobs) // 2:
            self.jobs = deque(waiting for waiting in self.jobs if not waiting.done)
            self.removed = 0
