"""CUDA graphs of a plan: which sizes have one, and how a smaller run is filled up to such a size.

A graph replays launches for exactly the sizes it was captured with. A run with fewer rows gets empty ones.
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
_LARGEST_TOKENS = 4_096  # beyond, launching takes little of the time, and a graph saves little


class Sizes(NamedTuple):
    """The sizes of one run: B, N and M."""

    rows: int
    tokens: int
    exclusions: int


def default_buckets(limits: Limits) -> list[Sizes]:
    """The sizes worth a graph: powers of two of users, by items per user, one spare row in each, within the limits."""
    buckets = []
    for users in _USERS:
        for items in _ITEMS_PER_USER:
            bucket = Sizes(users + 1, users * items, min(users * _EXCLUSIONS_PER_USER, limits.exclusions))
            if bucket.tokens <= _LARGEST_TOKENS and _within(bucket, limits):
                buckets.append(bucket)
    return buckets


def check_buckets(buckets: Iterable[Sizes], limits: Limits) -> list[Sizes]:
    """The buckets sorted from the cheapest to the dearest, without repetitions.

    Raises:
        ValueError: a bucket has no rows, or is beyond the limits.
    """
    for bucket in buckets:
        if bucket.rows < 1 or min(bucket) < 0 or not _within(bucket, limits):
            raise ValueError(f"{bucket} is not within {limits}")
    return sorted(set(buckets), key=_cost)


def choose_bucket(buckets: Iterable[Sizes], sizes: Sizes) -> Sizes | None:
    """The cheapest bucket that a run of these sizes can be filled up to; None if there is none."""
    return min((bucket for bucket in buckets if fits(bucket, sizes)), key=_cost, default=None)


def fits(bucket: Sizes, sizes: Sizes) -> bool:
    """Whether a run of these sizes can be filled up to the bucket: spare tokens need a spare row."""
    if sizes.rows > bucket.rows or sizes.exclusions > bucket.exclusions:
        return False
    return sizes.tokens == bucket.tokens or (sizes.tokens < bucket.tokens and sizes.rows < bucket.rows)


def fill(sizes: Sizes, filled: Sizes, items: ItemsArray, offsets: OffsetsArray, exclude: ExcludeArray) -> None:
    """Fill the arrays of a smaller run up, in place, to the sizes of a bucket.

    Args:
        sizes: of the arrays; `fits(sizes, filled)` must hold.
        filled: of what the arrays hold so far, from their beginnings on.
        items: int32 [N]
        offsets: int32 [B+1]
        exclude: int32 [M, 2]
    """
    items[filled.tokens :] = FILLER_ITEM
    offsets[filled.rows + 1 :] = sizes.tokens  # the first spare row takes all spare tokens, the others are empty
    exclude[filled.exclusions :] = (0, _NO_ITEM)


def _within(sizes: Sizes, limits: Limits) -> bool:
    return sizes.rows <= limits.rows and sizes.tokens <= limits.tokens and sizes.exclusions <= limits.exclusions


def _cost(sizes: Sizes) -> tuple[int, int, int]:
    return sizes.tokens, sizes.rows, sizes.exclusions


class CudaGraph:
    """Launches on a stream that were captured once and are replayed as a whole."""

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
        """Have the stream replay the launches.

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
    """Capture a graph for each bucket.

    Args:
        buckets: the sizes.
        run: runs once with a bucket's sizes, and waits, so that TensorRT prepares itself for them.
        launch: launches with the sizes of the last `run`.
        stream: the handle of the stream that both use.

    Raises:
        BackendError: CUDA cannot capture them.
    """
    graphs = {}
    for bucket in buckets:
        run(bucket)
        graphs[bucket] = CudaGraph(launch, stream)
    return graphs
