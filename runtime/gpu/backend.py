"""Runs a bundle's TensorRT plan on the current GPU: on arrays of the host, on states in a pool, on arrays of the GPU.

TensorRT and cuda-bindings are imported when the first plan is opened.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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
    CudaEvent,
    DeviceMemory,
    OutOfDeviceMemoryError,
    current_device,
    current_gpu,
    use_device,
)
from recblr.runtime.gpu.graphs import Sizes, check_buckets, default_buckets
from recblr.runtime.gpu.run_arrays import Outputs, RunArrays
from recblr.runtime.gpu.runner import (
    OUTPUTS,
    ContextRunner,
    OpenedPlan,
    RunnerPool,
    TensorShapes,
    capture_graphs,
    tensor_dtype,
)
from recblr.runtime.gpu.slots import Lease
from recblr.runtime.gpu.state_pool import DeviceStates, StateMover
from recblr.runtime.gpu.trt_module import load_tensorrt, title

DEFAULT_CONTEXTS = 2  # one works while the other's inputs are staged and its results are fetched

_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class TensorRTBackend:
    """A `recblr.runtime.Backend` on TensorRT, which also keeps states on the GPU and takes arrays of other libraries.

    Threads may share it; as many run at once as there are execution contexts, and the others wait their turn.

    Attributes:
        bundle: whose plan it runs.
        limits: the most that one run takes.
        max_k: the most results per row.
    """

    def __init__(
        self,
        bundle: Bundle,
        contexts: int = DEFAULT_CONTEXTS,
        graphs: bool | Sequence[tuple[int, int, int]] = True,
        plan: OpenedPlan | None = None,
    ) -> None:
        """Open the bundle's plan and make it ready, CUDA graphs included.

        Args:
            bundle: a bundle with a plan of the TensorRT that is installed.
            contexts: how many runs may be under way at once; fewer, with a reason in the log, where the GPU has not
                the memory.
            graphs: whether to capture CUDA graphs for usual sizes, or the sizes (rows, tokens, exclusions) to capture
                them for; a smaller run is filled up to one, any other runs without.
            plan: the bundle's plan, opened; None to open it.

        Raises:
            BundleError: no plan, one of another version or for another GPU, or TensorRT refuses it.
            ConfigError: no GPU, or not enough of its memory; `contexts` below 1, or `graphs` beyond the limits.
            MissingExtraError: TensorRT or cuda-bindings is not installed.
        """
        section = bundle.plan
        if section is None:
            raise BundleError(f"{bundle.path} holds no TensorRT plan: export it with --target tensorrt")
        if isinstance(contexts, bool) or not isinstance(contexts, int) or contexts < 1:
            raise ConfigError(f"contexts is {contexts!r}: give a whole number of at least 1")
        self.limits = section.profile.limits
        self.max_k = section.max_k
        buckets = _buckets(graphs, section)
        self._fork_guard = ForkGuard("engine")
        self._section, self.bundle = section, bundle
        self._plan = plan or open_plan(bundle, section)
        self._gpu = current_gpu()
        try:
            self._device = current_device()
        except BackendError as error:
            raise ConfigError(f"no GPU can be used: {error}") from error
        self._shapes = TensorShapes(self.limits, bundle.manifest.state_size, section.max_k)
        runners = self._make_runners(contexts)
        if buckets:
            capture_graphs(runners, buckets)
        self.runners = RunnerPool(runners)
        self._pools: weakref.WeakSet[DeviceStates] = weakref.WeakSet()

    def _make_runners(self, contexts: int) -> list[ContextRunner]:
        runners: list[ContextRunner] = []
        while len(runners) < contexts:
            try:
                runners.append(ContextRunner(self._plan.create_context(), self._shapes, self._plan.failure_reason))
            except (ConfigError, OutOfDeviceMemoryError) as error:
                if not runners:
                    raise ConfigError(str(error)) from error
                _log.warning("the plan has %d of %d execution contexts: %s", len(runners), contexts, error)
                break
            except BackendError as error:
                raise ConfigError(str(error)) from error
        return runners

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        section, runners = self._section, self.runners.runners
        n_graphs = len(runners[0].graphs)
        return (
            f"{title(section.target)} {section.version} in {section.precision} on "
            f"{self._gpu.name if self._gpu else f'cuda:{self._device}'}, "
            f"{len(runners)} execution context{'s' if len(runners) > 1 else ''}, "
            f"{f'CUDA graphs of {n_graphs} sizes' if n_graphs else 'no CUDA graphs'}"
        )

    @property
    def graphs(self) -> list[Sizes]:
        """The sizes that have a CUDA graph."""
        return self.runners.runners[0].graphs

    @property
    def memory_bytes(self) -> int:
        """Bytes of the GPU's memory for the activations of the largest sizes; each execution context has its own."""
        return self._plan.memory_bytes

    def inspect(self) -> dict[str, Any]:
        """What TensorRT's engine inspector says: the number of layers, and the types that their tensors have."""
        return self._plan.inspect()

    def run(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        k: int | None = None,
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Run the plan on arrays of the host; arguments and results are those of `recblr.runtime.Backend.run`.

        `k` None is `max_k`.

        Raises:
            RequestError: more than the plan's profile allows.
            BackendError: the GPU failed.
        """
        given = self._check(len(state_in), len(items), len(exclude))
        with self.runners.borrow() as runner:
            use_device(self._device)
            sizes = runner.sizes_for(given)
            runner.stage(sizes, items, offsets, exclude)
            runner.stage_states(state_in)
            runner.execute(sizes)
            top_items, top_scores, state_out = runner.download(given.rows, OUTPUTS)
        return top_items[:, :k], top_scores[:, :k], state_out

    def device_states(self, max_bytes: int, library: PluginLibrary | None = None) -> DeviceStates:
        """A pool of users' states on the GPU, for `run_leased` and `run_device` of this backend.

        Args:
            max_bytes: the most of the GPU's memory that it takes.
            library: the native library; None for the installed one.

        Raises:
            ConfigError: the native library is missing or was built without CUDA, or there is no memory for one state.
            BackendError: CUDA failed.
        """
        use_device(self._device)
        pool = DeviceStates(StateMover(self.bundle.initial_state, library), max_bytes, self._device)
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
        """Run the plan on states that stay on the GPU: read from their slots before the run, written there after it.

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
            RequestError: more than the plan's profile allows, or other than B users.
            BackendError: the GPU failed; the users' states are lost.
        """
        given = self._check(len(offsets) - 1, len(items), len(exclude))
        _check_lease(lease, given.rows)
        with self.runners.borrow() as runner:
            use_device(self._device)
            sizes = runner.sizes_for(given)
            runner.stage(sizes, items, offsets, exclude)
            self._gather(runner, states, lease)
            runner.execute(sizes)
            self._scatter(runner, states, lease)
            top_items, top_scores, *fetched = runner.download(given.rows, OUTPUTS if fetch else OUTPUTS[:2])
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
        """Run the plan on arrays of the GPU, which TensorRT reads and writes where they are.

        One that does not begin at a multiple of 256 bytes, as TensorRT wants, is copied on the GPU first. What the
        arrays hold is not checked: items beyond V or offsets that do not ascend read foreign memory.

        Args:
            items: int32 [N]
            offsets: int32 [B+1], ascending from 0 to N.
            states: float32 [B, S], or a pool with a lease of B users, as in `run_leased`.
            exclude: int32 [M, 2]; None for none.
            stream: the stream that writes the arrays and will use the results; the call returns at once. None: the
                call returns when the results are there.
            out: arrays for the results int32 [B, k], float32 [B, k], float32 [B, S]; the last None with a pool, or to
                have it allocated. Each begins at a multiple of 256 bytes. None to have all allocated.

        Raises:
            RequestError: no such arrays or stream, or more than the plan's profile allows.
            BackendError: the GPU failed, or its memory ran out, also after the pools of states shrank.
        """
        caller = None if stream is None else stream_handle(stream)
        pool, lease = states if isinstance(states, tuple) else (None, None)
        with self.runners.borrow() as runner:
            use_device(self._device)
            arrays = RunArrays(self._shapes, runner.stream.handle if caller is None else caller, self._device)
            arrays.add_inputs(items, offsets, None if lease else states, exclude)
            sizes = self._check(*arrays.sizes)
            arrays.add_outputs(out)
            outputs: dict[str, DeviceMemory | StreamMemory | ArrayView] = {
                name: arrays.outputs.get(name) or self._allocate(name, shape, caller, stream)
                for name, shape in arrays.tensor_shapes.items()
                if name in (OUTPUTS[:2] if lease else OUTPUTS)
            }
            for other in arrays.streams | ({caller} if caller is not None else set()):
                runner.wait_for(other)
            addresses = arrays.place_inputs(runner) | {name: memory.address for name, memory in outputs.items()}
            if pool is not None and lease is not None:
                _check_lease(lease, sizes.rows)
                self._gather(runner, pool, lease)
                runner.execute(sizes, addresses)
                self._scatter(runner, pool, lease)
                pool.order_after(runner.stream.handle)
                runner.mark_staged()
            else:
                runner.execute(sizes, addresses)
            ready = _hand_over(runner, caller)
            if lease is not None:
                lease.run_succeeded(np.ones(len(lease.users), bool))  # what is on the GPU is not looked at
        results = {
            name: DeviceArray(memory, arrays.tensor_shapes[name], tensor_dtype(name), self._device, caller, ready)
            for name, memory in outputs.items()
        }
        return DeviceResults(results["top_items"], results["top_scores"], results.get("state_out"))

    def _check(self, rows: int, tokens: int, exclusions: int) -> Sizes:
        self._fork_guard.check()
        if rows < 1:
            raise RequestError(f"the request has {max(rows, 0)} rows: give at least one")
        check_sizes(self.limits.rows, rows, "rows", "--max-rows")
        check_sizes(self.limits.tokens, tokens, "tokens", "--max-tokens")
        check_sizes(self.limits.exclusions, exclusions, "exclusions", "--max-exclusions")
        return Sizes(rows, tokens, exclusions)

    def _gather(self, runner: ContextRunner, states: DeviceStates, lease: Lease) -> None:
        runner.stage_slots(lease.sources, lease.slots)
        lease.run_begins()
        states.gather(lease, runner.address("sources"), runner.address("state_in"), runner.stream.handle)

    def _scatter(self, runner: ContextRunner, states: DeviceStates, lease: Lease) -> None:
        states.scatter(lease, runner.address("targets"), runner.address("state_out"), runner.stream.handle)

    def _allocate(
        self, name: str, shape: tuple[int, ...], caller: int | None, owner: StreamLike | None
    ) -> DeviceMemory | StreamMemory:
        nbytes = int(np.prod(shape)) * tensor_dtype(name).itemsize
        # With a stream, memory is free again once that stream's work is done; without, once all work is.
        return self._with_room(lambda: DeviceMemory(nbytes) if caller is None else StreamMemory(nbytes, caller, owner))

    def _with_room(self, allocate: Callable[[], _Result]) -> _Result:
        """Allocate; where the GPU has not the memory, shrink the pools of states until it has it."""
        while True:
            try:
                return allocate()
            except OutOfDeviceMemoryError:
                shrunk = [pool.shrink() for pool in self._pools]
                if not any(shrunk):
                    raise


def check_sizes(limit: int, size: int, what: str, option: str) -> None:
    """Check that a size of a run is within the profile.

    Raises:
        RequestError: it is not.
    """
    if size > limit:
        raise RequestError(
            f"the request has {size:,} {what}, the plan takes {limit:,}: send fewer at once, or export with "
            f"{option} {size}"
        )


def open_plan(bundle: Bundle, section: PlanSection) -> OpenedPlan:
    """Open a bundle's plan in TensorRT.

    Raises:
        BundleError: it is of another version or for another GPU, or TensorRT refuses it.
        ConfigError: there is no GPU.
        MissingExtraError: TensorRT or cuda-bindings is not installed.
    """
    load_tensorrt(section.target)
    if current_gpu() is None:
        raise ConfigError(
            f"{bundle.path} holds a TensorRT plan, and there is no GPU here to run it on: use a machine with one, its "
            "NVIDIA driver and cuda-bindings"
        )
    try:
        from recblr.runtime.gpu.trt_plan import TensorRTPlan
    except ImportError as error:
        raise MissingExtraError(
            f"TensorRT cannot be used ({short_reason(error)}): pip install 'recblr[{section.target}]'"
        ) from error
    return TensorRTPlan(bundle, section)


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


def _hand_over(runner: ContextRunner, caller: int | None) -> CudaEvent | None:
    """Have the caller's stream, or the caller, wait for the runner; the event that the stream waits for."""
    if caller is None:
        runner.stream.synchronize()
        return None
    ready = CudaEvent()
    ready.record(runner.stream.handle)
    ready.wait(caller)
    return ready
