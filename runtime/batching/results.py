"""What came of a batch, and of the requests in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from recblr.runtime.batching.request import AnyFuture, Part, Request, Result


@dataclass(slots=True, eq=False)
class Answer:
    """A request that is done, and its result or error, for its future."""

    request: Request
    future: AnyFuture
    result: Result | None
    error: Exception | None


@dataclass(slots=True, eq=False)
class BatchResults:
    """What came of a batch.

    Attributes:
        of_parts: a result or an error of each part.
        runs: rows and items of the backend's runs that succeeded.
        raised: how many of its runs raised.
    """

    of_parts: list[tuple[Part, Result | Exception]] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    raised: int = 0
