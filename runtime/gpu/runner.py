"""One execution context of an engine, with all it needs to run by itself: stream, buffers, pinned staging, graphs.

Buffers are allocated once, for the largest sizes, so that their addresses stay, as CUDA graphs need. A lane serves one
run at a time; different lanes run at the same time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray
from recblr.errors import BackendError, RecblrError
from recblr.runtime.gpu.cuda import (
    DeviceMemory,
    Event,
    PinnedMemory,
    Stream,
    copy_on_device,
    copy_to_device,
    copy_to_host,
)
from recblr.runtime.gpu.graphs import CudaGraph, Sizes, capture_all, choose_bucket, fill
from recblr.runtime.gpu.slots import SlotsArray
from recblr.runtime.limits import Limits

INPUTS = ("items", "offsets", "state_in", "exclude")
OUTPUTS = ("top_items", "top_scores", "state_out")
_DTYPES = {name: np.dtype(np.int32) for name in ("items", "offsets", "exclude", "top_items", "sources", "targets")} | {
    name: np.dtype(np.float32) for name in ("state_in", "top_scores", "state_out")
}

_log = logging.getLogger(__name__)


class ExecutionContext(Protocol):
    """What is used of TensorRT's `IExecutionContext`."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Of the next run; false if the profile does not have it."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Of the next run."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Give a run to the stream; false if that failed."""
        ...


@dataclass(frozen=True)
class TensorShapes:
    """Shapes of an engine's tensors.

    Attributes:
        limits: of one run.
        state_size: S.
        max_k: k.
    """

    limits: Limits
    state_size: int
    max_k: int

    @property
    def largest(self) -> Sizes:
        """The limits."""
        return Sizes(self.limits.rows, self.limits.tokens, self.limits.exclusions)

    def of(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """By name, `sources` and `targets` [B] included, the slots in a pool of states."""
        states = (sizes.rows, self.state_size)
        return {
            "items": (sizes.tokens,),
            "offsets": (sizes.rows + 1,),
            "state_in": states,
            "exclude": (sizes.exclusions, 2),
            "top_items": (sizes.rows, self.max_k),
            "top_scores": (sizes.rows, self.max_k),
            "state_out": states,
            "sources": (sizes.rows,),
            "targets": (sizes.rows,),
        }


class ExecutionLane:
    """See the module. Its methods give work to its stream and return, unless they say that they wait.

    Attributes:
        stream: its own.
    """

    def __init__(self, context: ExecutionContext, shapes: TensorShapes, why: Callable[[], str]) -> None:
        """Allocate.

        Args:
            context: for this lane alone.
            why: what TensorRT said of a failure.

        Raises:
            OutOfDeviceMemoryError: the GPU has not the memory.
            BackendError: CUDA failed.
        """
        self.stream = Stream()
        self._context, self._shapes, self._why = context, shapes, why
        largest = shapes.of(shapes.largest)
        sizes = {name: math.prod(shape) * _DTYPES[name].itemsize for name, shape in largest.items()}
        self._device = {name: DeviceMemory(nbytes) for name, nbytes in sizes.items()}
        for memory in self._device.values():  # what a graph's spare rows find in their states must be numbers
            memory.set_zero(self.stream.handle)
        self._pinned = {name: PinnedMemory(nbytes) for name, nbytes in sizes.items()}
        self._bound: dict[str, int] = {}
        self._bound_sizes: Sizes | None = None
        self._graphs: dict[Sizes, CudaGraph] = {}
        self._staged = Event()
        self._done = Event()

    @property
    def graphs(self) -> list[Sizes]:
        """Sizes that have a CUDA graph."""
        return list(self._graphs)

    def address(self, name: str) -> int:
        """Of a tensor's buffer on the GPU."""
        return self._device[name].address

    def capture(self, buckets: Sequence[Sizes]) -> None:
        """Capture a CUDA graph for each bucket; waits.

        Raises:
            BackendError: CUDA or TensorRT cannot do so; the lane works without graphs then.
        """
        self._graphs = capture_all(buckets, self._warm_up, self._enqueue, self.stream.handle)

    def drop_graphs(self) -> None:
        """Run plainly from now on."""
        self._graphs = {}

    def sizes_for(self, request: Sizes) -> Sizes:
        """The sizes to run a request with: of a graph that it can be filled up to, or its own."""
        return choose_bucket(self._graphs, request) or request

    def stage(self, sizes: Sizes, items: ItemsArray, offsets: OffsetsArray, exclude: ExcludeArray) -> None:
        """Bring a request to the buffers, filled up to `sizes`; waits for the last staging, if any is under way."""
        self._staged.synchronize()
        request = Sizes(len(offsets) - 1, len(items), len(exclude))
        shapes = self._shapes.of(sizes)
        staging = {name: self._staging(name, shapes[name]) for name in ("items", "offsets", "exclude")}
        staging["items"][: request.tokens] = items
        staging["offsets"][: request.rows + 1] = offsets
        staging["exclude"][: request.exclusions] = exclude
        fill(sizes, request, staging["items"], staging["offsets"], staging["exclude"])
        for name, values in staging.items():
            copy_to_device(self.address(name), values, self.stream.handle)

    def stage_states(self, states: StatesArray) -> None:
        """Bring states [B, S] to the buffer; after `stage`."""
        values = self._staging("state_in", states.shape)
        values[:] = states
        copy_to_device(self.address("state_in"), values, self.stream.handle)

    def stage_slots(self, sources: SlotsArray, targets: SlotsArray) -> None:
        """Bring the places in a pool, [B] each, to the GPU; waits for the last staging, if any is under way."""
        self._staged.synchronize()
        for name, slots in (("sources", sources), ("targets", targets)):
            values = self._staging(name, slots.shape)
            values[:] = slots
            copy_to_device(self.address(name), values, self.stream.handle)

    def staged(self) -> None:
        """Mark that all was staged, in a run that nobody waits for."""
        self._staged.record(self.stream.handle)

    def execute(self, sizes: Sizes, addresses: dict[str, int] | None = None) -> None:
        """Run with these sizes: the graph, if there is one, on the lane's buffers; else plainly.

        Args:
            addresses: of tensors that lie elsewhere; no graph is used then.

        Raises:
            BackendError: TensorRT or CUDA failed.
        """
        graph = None if addresses else self._graphs.get(sizes)
        if graph is not None:
            graph.replay(self.stream.handle)
            return
        self._bind(sizes, addresses or {})
        self._enqueue()

    def download(self, n_rows: int, names: Sequence[str]) -> list[np.ndarray]:
        """Outputs of the first rows, copied; waits.

        Raises:
            BackendError: what was given to the GPU failed.
        """
        shapes = self._shapes.of(Sizes(n_rows, 0, 0))
        results = [self._staging(name, shapes[name]) for name in names]
        for name, values in zip(names, results, strict=True):
            copy_to_host(values, self.address(name), self.stream.handle)
        self.stream.synchronize()
        return [values.copy() for values in results]

    def wait_for(self, stream: int) -> None:
        """Let the next work wait for all that another stream was given."""
        self._done.record(stream)
        self._done.hold(self.stream.handle)

    def copy_in(self, name: str, source: int, nbytes: int) -> None:
        """Copy an array of the GPU to a tensor's buffer."""
        copy_on_device(self.address(name), source, nbytes, self.stream.handle)

    def _staging(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._pinned[name].array(shape, _DTYPES[name])

    def _warm_up(self, bucket: Sizes) -> None:
        """Run once with sizes of a graph, on zeros that look like a request."""
        nothing = np.empty(0, np.int32)
        self.stage(bucket, nothing, np.zeros(1, np.int32), np.empty((0, 2), np.int32))
        self._bind(bucket, {})
        self._enqueue()
        self.stream.synchronize()
        capturable = getattr(self._context, "is_stream_capturable", None)  # of TensorRT-RTX, which compiles as it runs
        if capturable is not None and not capturable(self.stream.handle):
            raise BackendError(f"TensorRT cannot be captured with {bucket}")

    def _bind(self, sizes: Sizes, addresses: dict[str, int]) -> None:
        if sizes != self._bound_sizes:
            self._bound_sizes = None
            shapes = self._shapes.of(sizes)
            for name in INPUTS:
                if not self._context.set_input_shape(name, shapes[name]):
                    raise BackendError(f"TensorRT does not take {name} of shape {shapes[name]} ({self._why()})")
            self._bound_sizes = sizes
        for name in (*INPUTS, *OUTPUTS):
            address = addresses.get(name, self.address(name))
            if self._bound.get(name) != address:
                self._bound.pop(name, None)
                if not self._context.set_tensor_address(name, address):
                    raise BackendError(f"TensorRT does not take the address of {name} ({self._why()})")
                self._bound[name] = address

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.stream.handle):
            raise BackendError(f"TensorRT could not run the engine ({self._why()})")


class LanePool:
    """Lanes, lent to one caller each; others wait their turn."""

    def __init__(self, lanes: Sequence[ExecutionLane]) -> None:
        """All free."""
        self.lanes = list(lanes)
        self._free: SimpleQueue[ExecutionLane] = SimpleQueue()
        for lane in self.lanes:
            self._free.put(lane)

    @contextmanager
    def borrow(self) -> Iterator[ExecutionLane]:
        """A lane; waits until one is free. After an error it has ended its work, so that the next run finds it idle."""
        lane = self._free.get()
        try:
            yield lane
        except BaseException:
            self._settle(lane)
            raise
        finally:
            self._free.put(lane)

    def _settle(self, lane: ExecutionLane) -> None:
        try:
            lane.stream.synchronize()
        except RecblrError as error:  # the one under way says so already
            _log.debug("the GPU failed: %s", error)


def capture_graphs(lanes: Sequence[ExecutionLane], buckets: Sequence[Sizes]) -> None:
    """Capture CUDA graphs in all lanes, or in none, with a reason in the log, where that cannot be done."""
    try:
        for lane in lanes:
            lane.capture(buckets)
    except BackendError as error:
        _log.warning("the engine runs without CUDA graphs: %s", error)
        for lane in lanes:
            lane.drop_graphs()


def tensor_dtype(name: str) -> np.dtype[Any]:
    """Of a tensor of the engine."""
    return _DTYPES[name]
