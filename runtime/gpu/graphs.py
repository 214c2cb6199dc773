"""CUDA graphs of an engine: which sizes have one, and how a smaller request is filled up to such a size.

A graph replays launches for exactly the sizes it was captured with. A request with fewer rows gets empty ones.
Spare tokens must belong to some row, so the first spare row takes them all; its results are dropped. Spare
exclusions name item 0, which is never ranked. No real row sees any of this: rows do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray
from recblr.runtime.gpu.cuda import check, cuda
from recblr.runtime.limits import Limits

FILLER_ITEM = 1  # any that exists; what it does stays in the spare row
_NO_ITEM = 0

# Users at once, and items of each: a step, a few new items, short histories, long ones.
_USERS = (1, 2, 4, 8, 16, 32, 64)
_ITEMS_PER_USER = (1, 16, 128)
_EXCLUSIONS_PER_USER = 256
_LARGEST_TOKENS = 4_096  # beyond, the launches that a graph saves are little beside the work


class Sizes(NamedTuple):
    """B, N and M of one run."""

    rows: int
    tokens: int
    exclusions: int


def default_buckets(limits: Limits) -> list[Sizes]:
    """Sizes worth a graph, within the limits: powers of two of users, by what each brings; one spare row in each."""
    buckets = []
    for users in _USERS:
        for items in _ITEMS_PER_USER:
            bucket = Sizes(users + 1, users * items, min(users * _EXCLUSIONS_PER_USER, limits.exclusions))
            if bucket.tokens <= _LARGEST_TOKENS and _within(bucket, limits):
                buckets.append(bucket)
    return buckets


def check_buckets(buckets: Iterable[Sizes], limits: Limits) -> list[Sizes]:
    """Buckets from the smallest to the largest, each once.

    Raises:
        ValueError: one without rows or beyond the limits.
    """
    for bucket in buckets:
        if bucket.rows < 1 or min(bucket) < 0 or not _within(bucket, limits):
            raise ValueError(f"{bucket} is not within {limits}")
    return sorted(set(buckets), key=_cost)


def choose_bucket(buckets: Iterable[Sizes], request: Sizes) -> Sizes | None:
    """The cheapest bucket that a request can be filled up to; None if none is."""
    return min((bucket for bucket in buckets if fits(bucket, request)), key=_cost, default=None)


def fits(bucket: Sizes, request: Sizes) -> bool:
    """Whether the request can be filled up to the bucket: spare tokens need a spare row."""
    if request.rows > bucket.rows or request.exclusions > bucket.exclusions:
        return False
    return request.tokens == bucket.tokens or (request.tokens < bucket.tokens and request.rows < bucket.rows)


def fill(sizes: Sizes, request: Sizes, items: ItemsArray, offsets: OffsetsArray, exclude: ExcludeArray) -> None:
    """Fill a request up, in place.

    Args:
        sizes: that the arrays have; `fits(sizes, request)`.
        request: the sizes of what the arrays hold so far, from their beginnings on.
        items: int32 [N]
        offsets: int32 [B+1]
        exclude: int32 [M, 2]
    """
    items[request.tokens :] = FILLER_ITEM
    fill_offsets(sizes, request, offsets[request.rows + 1 :])
    exclude[request.exclusions :] = (0, _NO_ITEM)


def fill_offsets(sizes: Sizes, request: Sizes, spare: OffsetsArray) -> None:
    """The offsets behind a request's own: the first spare row takes all spare tokens, the others are empty."""
    if sizes.rows > request.rows:
        spare[:] = sizes.tokens


def _within(sizes: Sizes, limits: Limits) -> bool:
    return sizes.rows <= limits.rows and sizes.tokens <= limits.tokens and sizes.exclusions <= limits.exclusions


def _cost(sizes: Sizes) -> tuple[int, int, int]:
    return sizes.tokens, sizes.rows, sizes.exclusions


class CudaGraph:
    """Launches, captured once, replayed as a whole."""

    def __init__(self, launch: Callable[[], None], stream: int) -> None:
        """Capture what `launch` gives to the stream; it must have run before with the same sizes.

        Raises:
            BackendError: CUDA cannot capture it.
        """
        self._executable: Any = None
        api = cuda()
        # Of this thread alone: others may allocate memory meanwhile.
        check(api.cudaStreamBeginCapture(stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            launch()
        except BaseException:
            api.cudaStreamEndCapture(stream)  # or the stream can't be used any more
            raise
        graph = check(api.cudaStreamEndCapture(stream))
        try:
            self._executable = check(api.cudaGraphInstantiate(graph, 0))
        finally:
            api.cudaGraphDestroy(graph)

    def replay(self, stream: int) -> None:
        """Give it to the stream.

        Raises:
            BackendError: CUDA failed.
        """
        check(cuda().cudaGraphLaunch(self._executable, stream))

    def __del__(self) -> None:
        if self._executable is not None:
            try:
                cuda().cudaGraphExecDestroy(self._executable)
            except Exception:  # at the end of the process, modules are gone
                self._executable = None


def capture_all(
    buckets: Sequence[Sizes], run: Callable[[Sizes], None], launch: Callable[[], None], stream: int
) -> dict[Sizes, CudaGraph]:
    """A graph for each bucket.

    Args:
        run: runs once with a bucket's sizes, and waits; TensorRT prepares itself for them.
        launch: launches with the sizes of the last `run`.

    Raises:
        BackendError: CUDA cannot capture them.
    """
    graphs = {}
    for bucket in buckets:
        run(bucket)
        graphs[bucket] = CudaGraph(launch, stream)
    return graphs
