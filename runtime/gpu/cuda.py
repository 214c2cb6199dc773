"""The current GPU, and thin owners of what CUDA gives out: device memory, pinned memory, streams, events.

Handles are freed with their objects. cuda-bindings is imported by the first call.
"""

from __future__ import annotations

import contextlib
import ctypes
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from recblr.errors import BackendError

ALIGNMENT = 256  # of what cudaMalloc gives, and what TensorRT may count on


class OutOfDeviceMemoryError(BackendError):
    """The GPU has not the memory that was asked for."""


def cuda() -> ModuleType:
    """The module of CUDA's runtime API.

    Raises:
        ImportError: cuda-bindings is not installed.
    """
    from cuda.bindings import runtime

    module: ModuleType = runtime
    return module


def check(result: tuple[Any, ...]) -> Any:
    """The value that a call of CUDA's API returned, once its error code was checked.

    Raises:
        OutOfDeviceMemoryError: the GPU has not the memory.
        BackendError: the call failed otherwise.
    """
    error, *values = result
    errors = cuda().cudaError_t
    if error == errors.cudaErrorMemoryAllocation:
        raise OutOfDeviceMemoryError("the GPU's memory is exhausted: free some, or use smaller limits")
    if error != errors.cudaSuccess:
        raise BackendError(f"CUDA fails with {error.name}: check the GPU and its driver with nvidia-smi")
    return values[0] if values else None


class Gpu(NamedTuple):
    """The current GPU: its name, and its compute capability such as "8.9"."""

    name: str
    compute_capability: str


def current_gpu() -> Gpu | None:
    """The GPU that this process would use; None without a GPU, its driver, or cuda-bindings."""
    try:
        api = cuda()
    except ImportError:
        return None
    success = api.cudaError_t.cudaSuccess
    error, count = api.cudaGetDeviceCount()
    if error != success or not count:
        return None
    error, device = api.cudaGetDevice()
    if error != success:
        return None
    error, properties = api.cudaGetDeviceProperties(device)
    if error != success:
        return None
    return Gpu(properties.name.decode(), f"{properties.major}.{properties.minor}")


def current_device() -> int:
    """The number of the GPU that this thread uses."""
    return int(check(cuda().cudaGetDevice()))


def use_device(device: int) -> None:
    """Make this thread use a GPU; new threads start with number 0."""
    check(cuda().cudaSetDevice(device))


class DeviceMemory:
    """Memory of the GPU, not initialised.

    Attributes:
        address: a multiple of 256; 0 only for `nothing` and freed memory.
        nbytes: at least as many bytes as were asked for.
    """

    def __init__(self, nbytes: int) -> None:
        """Allocate.

        Raises:
            OutOfDeviceMemoryError: the GPU has not so much memory left.
            BackendError: CUDA failed.
        """
        self.address = 0
        self.nbytes = max(nbytes, 1)  # TensorRT wants an address even where there is nothing
        try:
            self.address = int(check(cuda().cudaMalloc(self.nbytes)))
        except OutOfDeviceMemoryError as error:
            raise OutOfDeviceMemoryError(
                f"the GPU has no {self.nbytes:,} bytes of memory left: free some, or use smaller limits"
            ) from error

    @classmethod
    def nothing(cls) -> Self:
        """Memory of no bytes at no address."""
        memory = cls.__new__(cls)
        memory.address = memory.nbytes = 0
        return memory

    def set_zero(self, stream: int) -> None:
        """Have the stream write zeros to it."""
        check(cuda().cudaMemsetAsync(self.address, 0, self.nbytes, stream))

    def free(self) -> None:
        """Free it, once the GPU has done all work given to it so far."""
        address, self.address = self.address, 0
        if address:
            cuda().cudaFree(address)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the process, modules are gone
            self.free()


class PinnedMemory:
    """Page-locked memory of the host, which the GPU reads and writes without the CPU."""

    def __init__(self, nbytes: int) -> None:
        """Allocate.

        Raises:
            BackendError: CUDA failed.
        """
        self.address = 0
        self.nbytes = max(nbytes, 1)
        self.address = int(check(cuda().cudaHostAlloc(self.nbytes, cuda().cudaHostAllocDefault)))

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Its first bytes as an array, which must not outlive this object."""
        bytes_ = (ctypes.c_uint8 * self.nbytes).from_address(self.address)
        return np.ndarray(shape, dtype, memoryview(bytes_))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self.address:
                cuda().cudaFreeHost(self.address)


class CudaEvent:
    """A CUDA event: a point in a stream's work."""

    def __init__(self) -> None:
        """Make one. Waiting for an event that was never recorded ends at once.

        Raises:
            BackendError: CUDA failed.
        """
        self._handle: Any = None
        self._handle = check(cuda().cudaEventCreateWithFlags(cuda().cudaEventDisableTiming))

    def record(self, stream: int) -> None:
        """Mark the point after all work given to the stream so far."""
        check(cuda().cudaEventRecord(self._handle, stream))

    def wait(self, stream: int) -> None:
        """Have the stream's next work wait for the event; the caller does not wait."""
        check(cuda().cudaStreamWaitEvent(stream, self._handle, 0))

    def synchronize(self) -> None:
        """Block the caller until the event has happened."""
        check(cuda().cudaEventSynchronize(self._handle))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._handle is not None:
                cuda().cudaEventDestroy(self._handle)


class Stream:
    """A CUDA stream that does not wait for the default stream.

    Attributes:
        handle: its cudaStream_t as a number.
    """

    def __init__(self) -> None:
        """Make one on the current GPU.

        Raises:
            BackendError: CUDA failed.
        """
        self._stream: Any = None
        self._stream = check(cuda().cudaStreamCreateWithFlags(cuda().cudaStreamNonBlocking))
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Block the caller until all work given to the stream is done.

        Raises:
            BackendError: some of that work failed.
        """
        check(cuda().cudaStreamSynchronize(self.handle))

    def __cuda_stream__(self) -> tuple[int, int]:
        """The version of the __cuda_stream__ protocol, and the handle."""
        return 0, self.handle

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._stream is not None:
                cuda().cudaStreamDestroy(self._stream)


def copy_to_device(address: int, values: np.ndarray, stream: int) -> None:
    """Have the stream copy a contiguous array to the GPU; the array must not change until that is done."""
    if values.nbytes:
        kind = cuda().cudaMemcpyKind.cudaMemcpyHostToDevice
        check(cuda().cudaMemcpyAsync(address, values.ctypes.data, values.nbytes, kind, stream))


def copy_to_host(values: np.ndarray, address: int, stream: int) -> None:
    """Have the stream copy from the GPU to a contiguous array, whose contents are valid once that is done."""
    if values.nbytes:
        kind = cuda().cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(cuda().cudaMemcpyAsync(values.ctypes.data, address, values.nbytes, kind, stream))


def copy_on_device(target: int, source: int, nbytes: int, stream: int) -> None:
    """Have the stream copy within the GPU's memory."""
    if nbytes:
        kind = cuda().cudaMemcpyKind.cudaMemcpyDeviceToDevice
        check(cuda().cudaMemcpyAsync(target, source, nbytes, kind, stream))
