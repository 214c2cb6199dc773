"""A bundle's TensorRT engine on the current GPU: for requests on the host, in a pool on the GPU, or of other libraries.

TensorRT and cuda-bindings are imported by the first engine that is opened.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BackendError, BundleError, ConfigError, MissingExtraError, RequestError, short_reason
from recblr.plugins import PluginLibrary
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.bundle.plan_section import PlanSection
from recblr.runtime.fork_guard import ForkGuard
from recblr.runtime.gpu.array_request import DeviceRequest, Outputs
from recblr.runtime.gpu.arrays import (
    ArrayView,
    DeviceArray,
    DeviceArrayLike,
    DeviceResults,
    StreamLike,
    StreamMemory,
    stream_handle,
)
from recblr.runtime.gpu.cuda import (
    DeviceMemory,
    Event,
    OutOfDeviceMemoryError,
    current_device,
    current_gpu,
    use_device,
)
from recblr.runtime.gpu.graphs import Sizes, check_buckets, default_buckets
from recblr.runtime.gpu.runner import (
    OUTPUTS,
    ExecutionContext,
    ExecutionLane,
    LanePool,
    TensorShapes,
    capture_graphs,
    tensor_dtype,
)
from recblr.runtime.gpu.slots import Lease
from recblr.runtime.gpu.state_pool import DeviceStates, StateMover
from recblr.runtime.gpu.trt_module import load_tensorrt, title

DEFAULT_CONTEXTS = 2  # one works while the other's request is brought and its results are fetched

_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class OpenedEngine(Protocol):
    """What is used of `recblr.runtime.gpu.trt_plan.TensorRTEngine`."""

    @property
    def memory_bytes(self) -> int:
        """Of the GPU, for the activations of one context."""
        ...

    def create_context(self) -> ExecutionContext:
        """A new one."""
        ...

    def why(self) -> str:
        """What it said of its last failure."""
        ...

    def inspect(self) -> dict[str, Any]:
        """What it says of itself."""
        ...


class TensorRTBackend:
    """A `recblr.runtime.Backend`, and more: states that stay on the GPU, and arrays of other libraries.

    Threads may share it; as many run at once as there are execution contexts, and the others wait their turn.

    Attributes:
        limits: the most that one run takes.
    """

    def __init__(
        self,
        bundle: Bundle,
        contexts: int = DEFAULT_CONTEXTS,
        graphs: bool | Sequence[tuple[int, int, int]] = True,
        engine: OpenedEngine | None = None,
    ) -> None:
        """Open the bundle's engine and make it ready, CUDA graphs included.

        Args:
            bundle: with an engine, of the TensorRT that is installed.
            contexts: how many runs may be under way at once; fewer, with a reason in the log, where the GPU has not
                the memory.
            graphs: whether to capture CUDA graphs for usual sizes, or the sizes (rows, tokens, exclusions) to capture
                them for; a smaller request is filled up to one, any other runs without.
            engine: the bundle's, opened; None to open it.

        Raises:
            BundleError: no engine, one of another version or for another GPU, or TensorRT refuses it.
            ConfigError: no GPU, or not enough of its memory; `contexts` below 1, or `graphs` beyond the limits.
            MissingExtraError: TensorRT or cuda-bindings is not installed.
        """
        section = bundle.plan
        if section is None:
            raise BundleError(f"{bundle.path} holds no TensorRT engine: export it with --target tensorrt")
        if isinstance(contexts, bool) or not isinstance(contexts, int) or contexts < 1:
            raise ConfigError(f"contexts is {contexts!r}: give a whole number of at least 1")
        self.limits = section.profile.limits
        buckets = _buckets(graphs, section)
        self._fork_guard = ForkGuard("TensorRT engine")
        self._section, self._bundle = section, bundle
        self._engine = engine or _open(bundle, section)
        self._gpu = current_gpu()
        try:
            self._device = current_device()
        except BackendError as error:
            raise ConfigError(f"no GPU can be used: {error}") from error
        self._shapes = TensorShapes(self.limits, bundle.manifest.state_size, section.max_k)
        lanes = self._make_lanes(contexts)
        if buckets:
            capture_graphs(lanes, buckets)
        self._lanes = LanePool(lanes)
        self._pools: weakref.WeakSet[DeviceStates] = weakref.WeakSet()

    def _make_lanes(self, contexts: int) -> list[ExecutionLane]:
        lanes: list[ExecutionLane] = []
        while len(lanes) < contexts:
            try:
                lanes.append(ExecutionLane(self._engine.create_context(), self._shapes, self._engine.why))
            except (ConfigError, OutOfDeviceMemoryError) as error:
                if not lanes:
                    raise ConfigError(str(error)) from error
                _log.warning("the engine has %d of %d execution contexts: %s", len(lanes), contexts, error)
                break
            except BackendError as error:
                raise ConfigError(str(error)) from error
        return lanes

    @property
    def description(self) -> str:
        """What runs the graph, for people."""
        section, lanes = self._section, self._lanes.lanes
        n_graphs = len(lanes[0].graphs)
        return (
            f"{title(section.target)} {section.version} in {section.precision} on "
            f"{self._gpu.name if self._gpu else f'cuda:{self._device}'}, "
            f"{len(lanes)} execution context{'s' if len(lanes) > 1 else ''}, "
            f"{f'CUDA graphs of {n_graphs} sizes' if n_graphs else 'no CUDA graphs'}"
        )

    @property
    def graphs(self) -> list[Sizes]:
        """The sizes that have a CUDA graph."""
        return self._lanes.lanes[0].graphs

    @property
    def memory_bytes(self) -> int:
        """Of the GPU, for the activations of the largest profile; each execution context has its own."""
        return self._engine.memory_bytes

    def inspect(self) -> dict[str, Any]:
        """What TensorRT's engine inspector says: the number of layers, and the types that their tensors have."""
        return self._engine.inspect()

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.Backend.run`.

        Raises:
            RequestError: more than the engine's profile allows.
            BackendError: the GPU failed.
        """
        request = self._check(len(state_in), len(items), len(exclude))
        with self._lanes.borrow() as lane:
            use_device(self._device)
            sizes = lane.sizes_for(request)
            lane.stage(sizes, items, offsets, exclude)
            lane.stage_states(state_in)
            lane.execute(sizes)
            top_items, top_scores, state_out = lane.download(request.rows, OUTPUTS)
        return top_items, top_scores, state_out

    def device_states(self, max_bytes: int, library: PluginLibrary | None = None) -> DeviceStates:
        """A pool of users' states on the GPU, for `run_leased` and `run_device` of this backend.

        Args:
            max_bytes: of the GPU's memory, at most.
            library: the native library; None for the installed one.

        Raises:
            ConfigError: the native library is missing or was built without CUDA, or there is no memory for one state.
            BackendError: CUDA failed.
        """
        use_device(self._device)
        pool = DeviceStates(StateMover(self._bundle.initial_state, library), max_bytes, self._device)
        self._pools.add(pool)
        return pool

    def run_leased(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        states: DeviceStates,
        lease: Lease,
        exclude: ExcludeArray,
        *,
        fetch: bool = False,
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """As `run`, with states that stay on the GPU: read from their slots before, written there after.

        Args:
            items: int32 [N]
            offsets: int32 [B+1]
            states: the pool that the lease is of.
            lease: of B users; unknown ones start from the initial state.
            exclude: int32 [M, 2]
            fetch: return the new states, too.

        Returns:
            int32 [B, k], float32 [B, k], and float32 [B, S], or [0, S] where they are not fetched. Users whose scores
            are not numbers lose their state.

        Raises:
            RequestError: more than the engine's profile allows, or other than B users.
            BackendError: the GPU failed; the users' states are lost.
        """
        request = self._check(len(offsets) - 1, len(items), len(exclude))
        _check_lease(lease, request.rows)
        with self._lanes.borrow() as lane:
            use_device(self._device)
            sizes = lane.sizes_for(request)
            lane.stage(sizes, items, offsets, exclude)
            self._gather(lane, states, lease)
            lane.execute(sizes)
            self._scatter(lane, states, lease)
            top_items, top_scores, *fetched = lane.download(request.rows, OUTPUTS if fetch else OUTPUTS[:2])
        lease.run_succeeded(np.diff(offsets) > 0)
        for b in np.flatnonzero(np.isnan(top_scores).any(axis=1)):
            states.drop(lease.users[b])
        new_states = fetched[0] if fetch else np.empty((0, self._shapes.state_size), np.float32)
        return top_items, top_scores, new_states

    def run_device(
        self,
        items: DeviceArrayLike,
        offsets: DeviceArrayLike,
        states: DeviceArrayLike | tuple[DeviceStates, Lease],
        exclude: DeviceArrayLike | None = None,
        *,
        stream: StreamLike | None = None,
        out: Outputs | None = None,
    ) -> DeviceResults:
        """As `run`, on arrays of the GPU, which TensorRT reads and writes where they are.

        One that does not begin at a multiple of 256 bytes, as TensorRT wants, is copied on the GPU first. What the
        arrays hold is not checked: items beyond V or offsets that do not ascend read foreign memory.

        Args:
            items: int32 [N]
            offsets: int32 [B+1], ascending from 0 to N.
            states: float32 [B, S], or a pool with a lease of B users, as in `run_leased`.
            exclude: int32 [M, 2]; None for none.
            stream: where the arrays come to be and the results will be used; the call returns at once. None: the
                call returns when the results are there.
            out: arrays for the results int32 [B, k], float32 [B, k], float32 [B, S]; the last None with a pool, or to
                have it allocated. Each begins at a multiple of 256 bytes. None to have all allocated.

        Raises:
            RequestError: no such arrays or stream, or more than the engine's profile allows.
            BackendError: the GPU failed, or its memory ran out, also after the pools of states shrank.
        """
        caller = None if stream is None else stream_handle(stream)
        pool, lease = states if isinstance(states, tuple) else (None, None)
        with self._lanes.borrow() as lane:
            use_device(self._device)
            request = DeviceRequest(self._shapes, lane.stream.handle if caller is None else caller, self._device)
            request.read(items, offsets, None if lease else states, exclude)
            sizes = self._check(*request.sizes)
            request.write(out)
            outputs: dict[str, DeviceMemory | StreamMemory | ArrayView] = {
                name: request.outputs.get(name) or self._allocate(name, shape, caller, stream)
                for name, shape in request.tensor_shapes.items()
                if name in (OUTPUTS[:2] if lease else OUTPUTS)
            }
            for other in request.streams | ({caller} if caller is not None else set()):
                lane.wait_for(other)
            addresses = request.bring(lane) | {name: memory.address for name, memory in outputs.items()}
            if pool is not None and lease is not None:
                _check_lease(lease, sizes.rows)
                self._gather(lane, pool, lease)
                lane.execute(sizes, addresses)
                self._scatter(lane, pool, lease)
                pool.order_after(lane.stream.handle)
                lane.staged()
            else:
                lane.execute(sizes, addresses)
            ready = _hand_over(lane, caller)
            if lease is not None:
                lease.run_succeeded(np.ones(len(lease.users), bool))  # what is on the GPU is not looked at
        arrays = {
            name: DeviceArray(memory, request.tensor_shapes[name], tensor_dtype(name), self._device, caller, ready)
            for name, memory in outputs.items()
        }
        return DeviceResults(arrays["top_items"], arrays["top_scores"], arrays.get("state_out"))

    def _check(self, rows: int, tokens: int, exclusions: int) -> Sizes:
        self._fork_guard.check()
        if rows < 1:
            raise RequestError(f"the request has {max(rows, 0)} rows: give at least one")
        check_sizes(self.limits.rows, rows, "rows", "--max-rows")
        check_sizes(self.limits.tokens, tokens, "tokens", "--max-tokens")
        check_sizes(self.limits.exclusions, exclusions, "exclusions", "--max-exclusions")
        return Sizes(rows, tokens, exclusions)

    def _gather(self, lane: ExecutionLane, states: DeviceStates, lease: Lease) -> None:
        lane.stage_slots(lease.sources, lease.slots)
        lease.run_begins()
        states.gather(lease, lane.address("sources"), lane.address("state_in"), lane.stream.handle)

    def _scatter(self, lane: ExecutionLane, states: DeviceStates, lease: Lease) -> None:
        states.scatter(lease, lane.address("targets"), lane.address("state_out"), lane.stream.handle)

    def _allocate(
        self, name: str, shape: tuple[int, ...], caller: int | None, owner: StreamLike | None
    ) -> DeviceMemory | StreamMemory:
        nbytes = int(np.prod(shape)) * tensor_dtype(name).itemsize
        # With a stream, memory is free again once that stream's work is done; without, once all work is.
        return self._with_room(lambda: DeviceMemory(nbytes) if caller is None else StreamMemory(nbytes, caller, owner))

    def _with_room(self, allocate: Callable[[], _Result]) -> _Result:
        """Allocate; where the GPU has not the memory, shrink the pools of states until it has."""
        while True:
            try:
                return allocate()
            except OutOfDeviceMemoryError:
                shrunk = [pool.shrink() for pool in self._pools]
                if not any(shrunk):
                    raise


def check_sizes(limit: int, size: int, what: str, option: str) -> None:
    """A request must fit the profile.

    Raises:
        RequestError: it does not.
    """
    if size > limit:
        raise RequestError(
            f"the request has {size:,} {what}, the engine takes {limit:,}: send fewer at once, or export with "
            f"{option} {size}"
        )


def _open(bundle: Bundle, section: PlanSection) -> OpenedEngine:
    load_tensorrt(section.target)
    if current_gpu() is None:
        raise ConfigError(
            f"{bundle.path} holds an engine, and there is no GPU here to run it on: use a machine with one, its "
            "NVIDIA driver and cuda-bindings"
        )
    try:
        from recblr.runtime.gpu.trt_plan import TensorRTEngine
    except ImportError as error:
        raise MissingExtraError(
            f"TensorRT cannot be used ({short_reason(error)}): pip install 'recblr[{section.target}]'"
        ) from error
    return TensorRTEngine(bundle, section)


def _buckets(graphs: bool | Sequence[tuple[int, int, int]], section: PlanSection) -> list[Sizes]:
    limits = section.profile.limits
    if isinstance(graphs, bool):
        return default_buckets(limits) if graphs else []
    try:
        return check_buckets([Sizes(*sizes) for sizes in graphs], limits)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"graphs: {short_reason(error)}; give (rows, tokens, exclusions) within the limits"
        ) from error


def _check_lease(lease: Lease, rows: int) -> None:
    if len(lease.users) != rows:
        raise RequestError(f"the lease is of {len(lease.users)} users, the request has {rows} rows")


def _hand_over(lane: ExecutionLane, caller: int | None) -> Event | None:
    """Let the caller's stream, or the caller, wait for the lane."""
    if caller is None:
        lane.stream.synchronize()
        return None
    ready = Event()
    ready.record(lane.stream.handle)
    ready.hold(caller)
    return ready
