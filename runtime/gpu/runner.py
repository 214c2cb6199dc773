"""Runs one execution context of a plan, with all it needs by itself: stream, buffers, pinned staging memory, graphs.

Buffers are allocated once, for the largest sizes, so that their addresses stay, as CUDA graphs need. A runner does one
run at a time; different runners run at the same time.
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
    CudaEvent,
    DeviceMemory,
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
    """The part of TensorRT's `IExecutionContext` that is used."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set the shape of an input in the next run; false if the profile does not allow it."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set where a tensor lies in the next run; false if TensorRT refuses the address."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Have the stream run the plan; false if that failed."""
        ...


class OpenedPlan(Protocol):
    """The part of `recblr.runtime.gpu.trt_plan.TensorRTPlan` that is used; tests have a stand-in for it."""

    @property
    def memory_bytes(self) -> int:
        """Bytes of the GPU's memory for the activations of one context."""
        ...

    def create_context(self) -> ExecutionContext:
        """A new execution context."""
        ...

    def failure_reason(self) -> str:
        """What TensorRT said of its last failure."""
        ...

    def inspect(self) -> dict[str, Any]:
        """What TensorRT's engine inspector says of the plan."""
        ...


@dataclass(frozen=True)
class TensorShapes:
    """The shapes of a plan's tensors.

    Attributes:
        limits: the largest sizes of one run.
        state_size: S.
        max_k: k.
    """

    limits: Limits
    state_size: int
    max_k: int

    @property
    def largest(self) -> Sizes:
        """The largest sizes."""
        return Sizes(self.limits.rows, self.limits.tokens, self.limits.exclusions)

    def of(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor at these sizes, by name; `sources` and `targets` [B] are slots of a pool."""
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


class ContextRunner:
    """An execution context with its stream and buffers.

    Its methods give work to the stream and return, where they do not say that they wait.

    Attributes:
        stream: the stream that all its work is given to.
    """

    def __init__(self, context: ExecutionContext, shapes: TensorShapes, failure_reason: Callable[[], str]) -> None:
        """Allocate.

        Args:
            context: used by this runner alone.
            shapes: of the plan's tensors.
            failure_reason: gives what TensorRT said of its last failure.

        Raises:
            OutOfDeviceMemoryError: the GPU has not the memory.
            BackendError: CUDA failed.
        """
        self.stream = Stream()
        self._context, self._shapes, self._failure_reason = context, shapes, failure_reason
        largest = shapes.of(shapes.largest)
        sizes = {name: math.prod(shape) * _DTYPES[name].itemsize for name, shape in largest.items()}
        self._device = {name: DeviceMemory(nbytes) for name, nbytes in sizes.items()}
        for memory in self._device.values():  # what a graph's spare rows find in their states must be numbers
            memory.set_zero(self.stream.handle)
        self._pinned = {name: PinnedMemory(nbytes) for name, nbytes in sizes.items()}
        self._bound: dict[str, int] = {}
        self._bound_sizes: Sizes | None = None
        self._graphs: dict[Sizes, CudaGraph] = {}
        self._staged = CudaEvent()
        self._done = CudaEvent()

    @property
    def graphs(self) -> list[Sizes]:
        """The sizes that have a CUDA graph."""
        return list(self._graphs)

    def address(self, name: str) -> int:
        """The address of a tensor's buffer on the GPU."""
        return self._device[name].address

    def capture(self, buckets: Sequence[Sizes]) -> None:
        """Capture a CUDA graph for each bucket; waits.

        Raises:
            BackendError: CUDA or TensorRT cannot do so; the runner can still run without graphs.
        """
        self._graphs = capture_all(buckets, self._warm_up, self._enqueue, self.stream.handle)

    def drop_graphs(self) -> None:
        """Run without graphs from now on."""
        self._graphs = {}

    def sizes_for(self, sizes: Sizes) -> Sizes:
        """The sizes to run with: those of a graph that the run can be filled up to, or its own."""
        return choose_bucket(self._graphs, sizes) or sizes

    def stage(self, sizes: Sizes, items: ItemsArray, offsets: OffsetsArray, exclude: ExcludeArray) -> None:
        """Copy the inputs to the buffers, filled up to `sizes`; waits until the last staging is done."""
        self._staged.synchronize()
        given = Sizes(len(offsets) - 1, len(items), len(exclude))
        shapes = self._shapes.of(sizes)
        staging = {name: self._staging(name, shapes[name]) for name in ("items", "offsets", "exclude")}
        staging["items"][: given.tokens] = items
        staging["offsets"][: given.rows + 1] = offsets
        staging["exclude"][: given.exclusions] = exclude
        fill(sizes, given, staging["items"], staging["offsets"], staging["exclude"])
        for name, values in staging.items():
            copy_to_device(self.address(name), values, self.stream.handle)

    def stage_states(self, states: StatesArray) -> None:
        """Copy states [B, S] to their buffer; call it after `stage`."""
        values = self._staging("state_in", states.shape)
        values[:] = states
        copy_to_device(self.address("state_in"), values, self.stream.handle)

    def stage_slots(self, sources: SlotsArray, targets: SlotsArray) -> None:
        """Copy slots of a pool, int32 [B] each, to the GPU; waits until the last staging is done."""
        self._staged.synchronize()
        for name, slots in (("sources", sources), ("targets", targets)):
            values = self._staging(name, slots.shape)
            values[:] = slots
            copy_to_device(self.address(name), values, self.stream.handle)

    def mark_staged(self) -> None:
        """Mark that all inputs were staged, in a run that nobody waits for."""
        self._staged.record(self.stream.handle)

    def execute(self, sizes: Sizes, addresses: dict[str, int] | None = None) -> None:
        """Run with these sizes: by replaying their graph, if there is one, otherwise by launching.

        Args:
            sizes: of the run.
            addresses: of tensors that lie outside the runner's buffers; no graph is used then.

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
        """Copies of the first rows of some outputs; waits for the run.

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
        """Have the next work wait for all work given to another stream so far."""
        self._done.record(stream)
        self._done.wait(self.stream.handle)

    def copy_in(self, name: str, source: int, nbytes: int) -> None:
        """Copy an array on the GPU to a tensor's buffer."""
        copy_on_device(self.address(name), source, nbytes, self.stream.handle)

    def _staging(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self._pinned[name].array(shape, _DTYPES[name])

    def _warm_up(self, bucket: Sizes) -> None:
        """Run once with the sizes of a graph, on filler that is a valid run."""
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
                    raise BackendError(
                        f"TensorRT does not take {name} of shape {shapes[name]} ({self._failure_reason()})"
                    )
            self._bound_sizes = sizes
        for name in (*INPUTS, *OUTPUTS):
            address = addresses.get(name, self.address(name))
            if self._bound.get(name) != address:
                self._bound.pop(name, None)
                if not self._context.set_tensor_address(name, address):
                    raise BackendError(f"TensorRT does not take the address of {name} ({self._failure_reason()})")
                self._bound[name] = address

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.stream.handle):
            raise BackendError(f"TensorRT could not run the plan ({self._failure_reason()})")


class RunnerPool:
    """Runners, each lent to one caller at a time; further callers wait their turn."""

    def __init__(self, runners: Sequence[ContextRunner]) -> None:
        """Make a pool in which all runners are free."""
        self.runners = list(runners)
        self._free: SimpleQueue[ContextRunner] = SimpleQueue()
        for runner in self.runners:
            self._free.put(runner)

    @contextmanager
    def borrow(self) -> Iterator[ContextRunner]:
        """Lend a runner; waits until one is free. After an error its work is ended before it is lent again."""
        runner = self._free.get()
        try:
            yield runner
        except BaseException:
            self._settle(runner)
            raise
        finally:
            self._free.put(runner)

    def _settle(self, runner: ContextRunner) -> None:
        try:
            runner.stream.synchronize()
        except RecblrError as error:  # the one under way says so already
            _log.debug("the GPU failed: %s", error)


def capture_graphs(runners: Sequence[ContextRunner], buckets: Sequence[Sizes]) -> None:
    """Capture CUDA graphs in all runners, or in none, with a reason in the log, where that cannot be done."""
    try:
        for runner in runners:
            runner.capture(buckets)
    except BackendError as error:
        _log.warning("the plan runs without CUDA graphs: %s", error)
        for runner in runners:
            runner.drop_graphs()


def tensor_dtype(name: str) -> np.dtype[Any]:
    """The type of a tensor of the plan."""
    return _DTYPES[name]
