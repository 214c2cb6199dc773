# ruff: noqa: N802, N815 (the names are those of CUDA)
"""A fake of CUDA's runtime API, and of a TensorRT plan, for machines without a GPU.

Host memory stands for the GPU's. What is given to a stream waits until something synchronizes with it, so that work
which should have been ordered, and is not, reads the wrong contents. All memory starts as NaN, lies between guard
bytes, and every address that is used must lie in it. The plan's runs are computed by ONNX Runtime from the bundle's
own graph. This proves what the host does; nothing of a GPU or of TensorRT.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from recblr.plugins import PluginLibrary, abi
from recblr.runtime import Bundle, open_bundle
from recblr.runtime.bundle.plan_section import Extent, PlanSection, Profile
from recblr.runtime.gpu.backend import TensorRTBackend
from recblr.runtime.gpu.cuda import ALIGNMENT

_GUARD = 64
_GUARD_BYTE = 0xA5
_DTYPES = {"items": np.int32, "offsets": np.int32, "state_in": np.float32, "exclude": np.int32}
_RESULTS = ("top_items", "top_scores", "state_out")


class _Error(enum.Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorLaunchFailure = 719


class _CopyKind(enum.Enum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class _CaptureMode(enum.Enum):
    cudaStreamCaptureModeThreadLocal = 1


@dataclass(eq=False)
class _Mark:
    """A recorded point in a stream."""

    stream: int
    passed: bool = False


@dataclass(eq=False)
class _Memory:
    buffer: Any
    address: int
    nbytes: int
    on_device: bool

    def guards(self) -> tuple[bytes, bytes]:
        before = ctypes.string_at(self.address - _GUARD, _GUARD)
        return before, ctypes.string_at(self.address + self.nbytes, _GUARD)


class FakeCuda(ModuleType):
    """Stands in for `cuda.bindings.runtime`.

    Attributes:
        free_bytes: what cudaMalloc has left.
        replays: graphs launched so far.
        can_capture: whether streams can be captured.
        failing: launches fail when they are done.
        allocations: calls that took memory of the device.
    """

    cudaError_t = _Error
    cudaMemcpyKind = _CopyKind
    cudaStreamCaptureMode = _CaptureMode
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaHostAllocDefault = 0

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.free_bytes = 2**28
        self.replays = 0
        self.can_capture = True
        self.failing = False
        self.allocations = 0
        self._memory: dict[int, _Memory] = {}
        self._streams: dict[int, deque[Callable[[], None] | _Mark | tuple[_Mark]]] = {}
        self._captures: dict[int, list[Callable[[], None]]] = {}
        self._marks: dict[int, _Mark | None] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._next = 1000
        self._lock = threading.RLock()

    # Devices

    def cudaGetDeviceCount(self) -> tuple[_Error, int]:
        return _Error.cudaSuccess, 1

    def cudaGetDevice(self) -> tuple[_Error, int]:
        return _Error.cudaSuccess, 0

    def cudaSetDevice(self, device: int) -> tuple[_Error]:
        assert device == 0
        return (_Error.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[_Error, SimpleNamespace]:
        return _Error.cudaSuccess, SimpleNamespace(name=b"a fake", major=0, minor=0)

    # Memory

    def _allocate(self, nbytes: int, on_device: bool) -> tuple[_Error, int | None]:
        with self._lock:
            if on_device and nbytes > self.free_bytes:
                return _Error.cudaErrorMemoryAllocation, None
            buffer = (ctypes.c_uint8 * (nbytes + 2 * _GUARD + 2 * ALIGNMENT))()
            address = -(-(ctypes.addressof(buffer) + _GUARD) // ALIGNMENT) * ALIGNMENT
            ctypes.memset(ctypes.addressof(buffer), _GUARD_BYTE, len(buffer))
            ctypes.memset(address, 0xFF, nbytes)
            self._memory[address] = _Memory(buffer, address, nbytes, on_device)
            if on_device:
                self.free_bytes -= nbytes
                self.allocations += 1
            return _Error.cudaSuccess, address

    def _free(self, address: int) -> None:
        memory = self._memory.pop(address)
        assert memory.guards() == (bytes([_GUARD_BYTE]) * _GUARD,) * 2, "memory was written beyond its end"
        if memory.on_device:
            self.free_bytes += memory.nbytes

    def cudaMalloc(self, nbytes: int) -> tuple[_Error, int | None]:
        return self._allocate(nbytes, True)

    def cudaMallocAsync(self, nbytes: int, stream: int) -> tuple[_Error, int | None]:
        return self._allocate(nbytes, True)

    def cudaHostAlloc(self, nbytes: int, flags: int) -> tuple[_Error, int | None]:
        return self._allocate(nbytes, False)

    def cudaFree(self, address: int) -> tuple[_Error]:
        with self._lock:
            self._drain_all()
            self._free(address)
        return (_Error.cudaSuccess,)

    cudaFreeHost = cudaFree

    def cudaFreeAsync(self, address: int, stream: int) -> tuple[_Error]:
        self.give(stream, lambda: self._free(address))
        return (_Error.cudaSuccess,)

    def region(self, address: int, nbytes: int) -> Any:
        """Bytes of the device, which must be there."""
        for memory in self._memory.values():
            if memory.on_device and memory.address <= address and address + nbytes <= memory.address + memory.nbytes:
                return (ctypes.c_uint8 * nbytes).from_address(address)
        raise AssertionError(f"{nbytes} bytes at {address:#x} are not the device's")

    def array(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory of the device as an array."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.ndarray(shape, dtype, memoryview(self.region(address, nbytes)))

    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: int) -> tuple[_Error]:
        self.give(stream, lambda: ctypes.memset(self.region(address, nbytes), value, nbytes))
        return (_Error.cudaSuccess,)

    def cudaMemcpyAsync(self, target: int, source: int, nbytes: int, kind: _CopyKind, stream: int) -> tuple[_Error]:
        self.give(stream, lambda: self.copy(target, source, nbytes, kind))
        return (_Error.cudaSuccess,)

    def copy(self, target: int, source: int, nbytes: int, kind: _CopyKind) -> None:
        if kind != _CopyKind.cudaMemcpyDeviceToHost:
            self.region(target, nbytes)
        if kind != _CopyKind.cudaMemcpyHostToDevice:
            self.region(source, nbytes)
        ctypes.memmove(target, source, nbytes)

    # Streams and events

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def give(self, stream: int, work: Callable[[], None]) -> None:
        """Put work into a stream, or into the graph that is being captured from it."""
        with self._lock:
            stream = int(stream)
            if stream in self._captures:
                self._captures[stream].append(work)
            else:
                self._streams.setdefault(stream, deque()).append(work)

    def _drain(self, stream: int, until: _Mark | None = None) -> None:
        queue = self._streams.setdefault(stream, deque())
        while queue and not (until is not None and until.passed):
            work = queue.popleft()
            if isinstance(work, _Mark):
                work.passed = True
            elif isinstance(work, tuple):
                if not work[0].passed:
                    self._drain(work[0].stream, work[0])
            else:
                work()

    def _drain_all(self) -> None:
        for stream in list(self._streams):
            self._drain(stream)

    def is_capturing(self, stream: int) -> bool:
        """Whether it is."""
        return stream in self._captures

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[_Error, int]:
        with self._lock:
            return _Error.cudaSuccess, self._handle()

    def cudaStreamDestroy(self, stream: int) -> tuple[_Error]:
        return self.cudaStreamSynchronize(stream)

    def cudaStreamSynchronize(self, stream: int) -> tuple[_Error]:
        with self._lock:
            assert stream not in self._captures, "a captured stream can't be waited for"
            self._drain(int(stream))
        return (_Error.cudaErrorLaunchFailure if self.failing else _Error.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[_Error, int]:
        with self._lock:
            event = self._handle()
            self._marks[event] = None
            return _Error.cudaSuccess, event

    def cudaEventDestroy(self, event: int) -> tuple[_Error]:
        del self._marks[event]
        return (_Error.cudaSuccess,)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[_Error]:
        with self._lock:
            self._marks[event] = mark = _Mark(int(stream))
            self._streams.setdefault(int(stream), deque()).append(mark)
        return (_Error.cudaSuccess,)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[_Error]:
        with self._lock:
            mark = self._marks[event]
            if mark is not None:
                self._streams.setdefault(int(stream), deque()).append((mark,))
        return (_Error.cudaSuccess,)

    def cudaEventSynchronize(self, event: int) -> tuple[_Error]:
        with self._lock:
            mark = self._marks[event]
            if mark is not None and not mark.passed:
                self._drain(mark.stream, mark)
        return (_Error.cudaSuccess,)

    # Graphs

    def cudaStreamBeginCapture(self, stream: int, mode: _CaptureMode) -> tuple[_Error]:
        with self._lock:
            if not self.can_capture:
                return (_Error.cudaErrorLaunchFailure,)
            self._captures[stream] = []
        return (_Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[_Error, int]:
        with self._lock:
            graph = self._handle()
            self._graphs[graph] = self._captures.pop(stream)
            return _Error.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[_Error, int]:
        with self._lock:
            executable = self._handle()
            self._graphs[executable] = self._graphs[graph]
            return _Error.cudaSuccess, executable

    def cudaGraphDestroy(self, graph: int) -> tuple[_Error]:
        del self._graphs[graph]
        return (_Error.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy

    def cudaGraphLaunch(self, executable: int, stream: int) -> tuple[_Error]:
        with self._lock:
            self.replays += 1
            for work in self._graphs[executable]:
                self.give(stream, work)
        return (_Error.cudaSuccess,)


class FakeContext:
    """Stands in for an `IExecutionContext`: ONNX Runtime computes when the stream gets there."""

    def __init__(self, fake: FakeCuda, session: onnxruntime.InferenceSession, profile: Profile) -> None:
        self._fake, self._session, self._profile = fake, session, profile
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._prepared: tuple[tuple[int, ...], ...] | None = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        extent = {
            "items": self._profile.tokens,
            "offsets": Extent(*(n + 1 for n in self._limits(self._profile.rows))),
            "state_in": self._profile.rows,
            "exclude": self._profile.exclusions,
        }[name]
        self._shapes[name] = tuple(shape)
        return extent.minimum <= shape[0] <= extent.maximum

    @staticmethod
    def _limits(extent: Extent) -> tuple[int, int, int]:
        return extent.minimum, extent.optimum, extent.maximum

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0 and memory % ALIGNMENT == 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        if shapes.keys() != _DTYPES.keys() or addresses.keys() != {*_DTYPES, *_RESULTS}:
            return False
        prepared = tuple(shapes.values())
        if self._fake.is_capturing(stream_handle) and prepared != self._prepared:
            return False  # TensorRT is to run once with the final shapes before it is captured
        self._prepared = prepared
        self._fake.give(stream_handle, lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        inputs = {
            name: self._fake.array(addresses[name], shape, _DTYPES[name]).copy() for name, shape in shapes.items()
        }
        offsets = inputs["offsets"]
        assert offsets[0] == 0
        assert offsets[-1] == len(inputs["items"])
        assert (np.diff(offsets) >= 0).all()
        assert np.isfinite(inputs["state_in"]).all()
        for name, values in zip(_RESULTS, self._session.run(list(_RESULTS), inputs), strict=True):
            self._fake.array(addresses[name], values.shape, values.dtype)[:] = values


class FakePlan:
    """Stands in for `recblr.runtime.gpu.trt_plan.TensorRTPlan`."""

    memory_bytes = 0

    def __init__(self, fake: FakeCuda, bundle: Bundle) -> None:
        assert bundle.plan is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(bundle.model_path), options)
        self._fake, self._profile = fake, bundle.plan.profile

    def create_context(self) -> FakeContext:
        return FakeContext(self._fake, self._session, self._profile)

    def failure_reason(self) -> str:
        return "the fake gave no reason"

    def inspect(self) -> dict[str, Any]:
        return {"layers": 0, "types": []}


@dataclass(frozen=True, eq=False)
class FakeArray:
    """An array on the fake GPU, with `__cuda_array_interface__`, as pycuda's."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None = None
    read_only: bool = False
    strides: tuple[int, ...] | None = None

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, self.read_only),
            "strides": self.strides,
            "stream": self.stream,
            "version": 3,
        }


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """In the place of cuda-bindings."""
    fake = FakeCuda()
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake)
    yield fake
    fake.failing = False


@pytest.fixture
def upload(fake_cuda: FakeCuda) -> Callable[..., FakeArray]:
    """Puts an array on the fake GPU, `shift` bytes behind an aligned address; `late`: when that stream gets there."""

    def upload(values: np.ndarray, shift: int = 0, late: int | None = None) -> FakeArray:
        _, address = fake_cuda.cudaMalloc(values.nbytes + shift + 1)
        assert address is not None
        values = np.ascontiguousarray(values)

        def write() -> None:
            ctypes.memmove(address + shift, values.ctypes.data, values.nbytes)

        fake_cuda.give(late, write) if late is not None else write()
        return FakeArray(address + shift, values.shape, values.dtype, late)

    return upload


@pytest.fixture
def fake_plan(fake_cuda: FakeCuda) -> Callable[[Bundle], FakePlan]:
    """Makes the fake plan of a bundle."""
    return lambda bundle: FakePlan(fake_cuda, bundle)


@pytest.fixture
def add_plan() -> Callable[..., Bundle]:
    """A bundle as if a plan of (rows, tokens, exclusions) was in it."""
    return _with_plan


@pytest.fixture
def open_fake(fake_cuda: FakeCuda, toy: Any) -> Callable[..., TensorRTBackend]:
    """Opens the toy's bundle, or another, as if a plan with these limits was in it, with the backend's options."""

    def open_fake(path: Path = toy.path, limits: tuple[int, int, int] = (8, 64, 48), **options: Any) -> TensorRTBackend:
        bundle = _with_plan(open_bundle(path), *limits)
        return TensorRTBackend(bundle, plan=FakePlan(fake_cuda, bundle), **options)

    return open_fake


def _with_plan(bundle: Bundle, rows: int, tokens: int, exclusions: int) -> Bundle:
    section = PlanSection(
        file="model.plan",
        target="tensorrt-rtx",
        version="0.0",
        precision="fp32",
        profile=Profile(Extent(1, 1, rows), Extent(0, 1, tokens), Extent(0, 1, exclusions)),
        max_k=min(bundle.manifest.max_k, bundle.manifest.n_items),
        compute_capabilities=[],
        gpu=None,
        build_seconds=0.0,
        memory_bytes=None,
        weight_bytes=None,
        plugin_library="librecblr_plugins.so",
        plugin_embedded=False,
        proof={},
        status="built, not run",
        verification={},
        evaluation={},
    )
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, plan=section.to_dict()))


class _DeferredMoves:
    """The emulated library's kernels, run when the fake's stream gets there."""

    def __init__(self, fake: FakeCuda, handle: ctypes.CDLL) -> None:
        self._fake, self._handle = fake, handle
        self.recblr_plugins_last_error = handle.recblr_plugins_last_error
        self.recblr_cuda_architectures = handle.recblr_cuda_architectures

    def _defer(self, name: str, arguments: Any, stream: ctypes.c_void_p) -> int:
        move = abi.StateMove.from_buffer_copy(arguments._obj)

        def run() -> None:
            self._fake.region(move.slots, 4 * move.n_rows)
            self._fake.region(move.pool, 4 * move.n_slots * move.state_size)
            self._fake.region(move.states, 4 * move.n_rows * move.state_size)
            assert getattr(self._handle, name)(ctypes.byref(move), None) == abi.OK

        self._fake.give(stream.value or 0, run)
        return abi.OK

    def recblr_gather_state_cuda(self, arguments: Any, stream: ctypes.c_void_p) -> int:
        return self._defer("recblr_gather_state_cuda", arguments, stream)

    def recblr_scatter_state_cuda(self, arguments: Any, stream: ctypes.c_void_p) -> int:
        return self._defer("recblr_scatter_state_cuda", arguments, stream)


@pytest.fixture
def moves(fake_cuda: FakeCuda, emulated_library: Path) -> PluginLibrary:
    """The emulated native library, on the fake's streams."""

    handle = _DeferredMoves(fake_cuda, ctypes.CDLL(str(emulated_library)))
    return PluginLibrary(emulated_library, "emulated", handle)  # type: ignore[arg-type]
