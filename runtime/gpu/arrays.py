"""Arrays and streams of other libraries, taken in, and results that other libraries take, without copies.

Arrays offer `__dlpack__` (PyTorch, CuPy, JAX) or `__cuda_array_interface__` (pycuda, Numba, CuPy); streams
`__cuda_stream__` (cuda-core, newer libraries), or are those of PyTorch, CuPy and pycuda, or a cudaStream_t as a number.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from recblr.errors import RequestError, short_reason
from recblr.runtime.gpu import dlpack
from recblr.runtime.gpu.cuda import CudaEvent, DeviceMemory, check, cuda

DeviceArrayLike: TypeAlias = Any
StreamLike: TypeAlias = Any

_LEGACY_STREAM = 1  # cudaStreamLegacy: both protocols forbid 0 for it
_NO_STREAM = -1  # DLPack: the consumer orders its work itself


def stream_handle(stream: StreamLike) -> int:
    """The cudaStream_t of a stream of another library, as a number.

    Raises:
        RequestError: no stream of a known kind.
    """
    if hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        answer = protocol() if callable(protocol) else protocol
        if isinstance(answer, tuple) and len(answer) == 2 and answer[0] == 0:
            return int(answer[1]) or _LEGACY_STREAM
        raise RequestError(f"the stream's __cuda_stream__ gives {answer!r}: recblr knows version 0, (0, handle)")
    for attribute in ("cuda_stream", "ptr", "handle"):  # of PyTorch, CuPy, pycuda
        stream = getattr(stream, attribute, stream)
    if isinstance(stream, bool) or not isinstance(stream, int) or stream < 0:
        raise RequestError(
            f"the stream is a {type(stream).__name__}: give one with __cuda_stream__, or a cudaStream_t as a number"
        )
    return stream or _LEGACY_STREAM


@dataclass(frozen=True, eq=False)
class ArrayView:
    """An array of another library.

    Attributes:
        address: of its first byte on the GPU; 0 for an array without elements.
        shape: its sizes; the elements are contiguous.
        stream: the stream that writes its contents, for which work on them must wait; None where nothing need wait.
        owner: the object that keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    stream: int | None
    owner: object


def view_array(
    name: str,
    array: DeviceArrayLike,
    dtype: DTypeLike,
    shape: tuple[int | None, ...],
    *,
    stream: int,
    device: int,
    writable: bool = False,
) -> ArrayView:
    """A view of an array on the GPU, checked, without a copy.

    Args:
        name: what messages call the array.
        array: an object with `__dlpack__` or `__cuda_array_interface__`.
        dtype: the type that it must have.
        shape: the shape that it must have; None for any size.
        stream: the stream that will use it.
        device: the number of the GPU that it must be on.
        writable: whether it will be written.

    Raises:
        RequestError: no such array, or of another type, shape or layout, on another device, or read-only.
    """
    dtype = np.dtype(dtype)
    if hasattr(array, "__dlpack__"):
        view, found, strides = _from_dlpack(name, array, stream, device)
    elif hasattr(array, "__cuda_array_interface__"):
        view, found, strides = _from_interface(name, array.__cuda_array_interface__, array, writable)
    else:
        raise RequestError(
            f"{name} is a {type(array).__name__}: give an array on the GPU, with __dlpack__ or __cuda_array_interface__"
        )
    has_shape = len(view.shape) == len(shape) and all(
        size is None or size == actual for size, actual in zip(shape, view.shape, strict=True)
    )
    if found != dtype or not has_shape:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise RequestError(f"{name} is {found} {view.shape}: give {dtype} ({wanted})")
    if not _is_contiguous(view.shape, strides, dtype.itemsize):
        raise RequestError(f"{name} has strides {strides} at shape {view.shape}: make it contiguous")
    return view


def _from_dlpack(
    name: str, array: Any, stream: int, device: int
) -> tuple[ArrayView, np.dtype[Any] | None, tuple[int, ...] | None]:
    kind, number = (int(part) for part in array.__dlpack_device__())
    if kind not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        raise RequestError(f"{name} is not in a GPU's memory (DLPack's device {kind}): move it to cuda:{device}")
    if kind == dlpack.CUDA and number != device:
        raise RequestError(f"{name} is on cuda:{number}, the plan on cuda:{device}: move it there")
    try:
        # The producer lets our stream wait for its own.
        tensor = dlpack.ImportedTensor(array.__dlpack__(stream=stream))
    except Exception as error:  # whatever the producer raises
        raise RequestError(f"{name} cannot be taken through DLPack ({short_reason(error)})") from error
    return ArrayView(tensor.address, tensor.shape, None, tensor), tensor.dtype, tensor.strides


def _from_interface(
    name: str, interface: Any, array: Any, writable: bool
) -> tuple[ArrayView, np.dtype[Any] | None, tuple[int, ...] | None]:
    try:
        shape = tuple(int(size) for size in interface["shape"])
        address, read_only = interface["data"]
        dtype = np.dtype(interface["typestr"])
        strides = interface.get("strides")
        stream = interface.get("stream")
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{name} has a malformed __cuda_array_interface__ ({short_reason(error)})") from error
    if interface.get("mask") is not None:
        raise RequestError(f"{name} has a mask: give an array without")
    if writable and read_only:
        raise RequestError(f"{name} is read-only: give an array that can be written")
    strides = None if strides is None else tuple(int(stride) for stride in strides)
    return ArrayView(int(address or 0), shape, stream, array), dtype, strides


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> bool:
    if strides is None or 0 in shape:
        return True
    expected = [itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(size == 1 or found == want for size, found, want in zip(shape, strides, expected, strict=True))


class StreamMemory:
    """Memory that a stream's work allocates and frees, without waiting for the GPU.

    Attributes:
        address: valid for work of this stream, and of those that wait for it.
    """

    def __init__(self, nbytes: int, stream: int, owner: object = None) -> None:
        """Allocate.

        Args:
            nbytes: the least size.
            stream: its handle.
            owner: the stream's owner, which must outlive the memory.

        Raises:
            OutOfDeviceMemoryError: the GPU has not so much memory left.
            BackendError: CUDA failed.
        """
        self.address, self._stream, self._owner = 0, stream, owner
        self.address = int(check(cuda().cudaMallocAsync(max(nbytes, 1), stream)))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of the process, modules are gone
            if self.address:
                cuda().cudaFreeAsync(self.address, self._stream)


class DeviceArray:
    """A result on the GPU, for `torch.from_dlpack`, `cupy.asarray`, pycuda and others.

    Attributes:
        address: of its first byte on the GPU.
        shape: its sizes; the elements are contiguous.
        dtype: the NumPy type of its elements.
        device: the number of the GPU.
    """

    def __init__(
        self,
        memory: DeviceMemory | StreamMemory | ArrayView,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        device: int,
        stream: int | None = None,
        ready: CudaEvent | None = None,
    ) -> None:
        """Wrap memory.

        Args:
            memory: what the array lies in; kept alive by it.
            shape, dtype, device: see the attributes.
            stream: the stream whose work writes it; None if it is written already.
            ready: an event after that work.
        """
        self._memory, self._stream, self._ready = memory, stream, ready
        self.address, self.shape, self.dtype, self.device = memory.address, shape, np.dtype(dtype), device

    @property
    def nbytes(self) -> int:
        """The size of its elements in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The protocol's version 3; "stream" is the stream that writes the result."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address if self.nbytes else 0, False),
            "strides": None,
            "stream": self._stream,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """The DLDeviceType, and the GPU's number."""
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A DLPack capsule; the consumer's stream waits for the result.

        Raises:
            BufferError: another device, or a copy, is asked for.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(f"a result on cuda:{self.device} is given as it is: copy it in the library that takes it")
        consumer = _LEGACY_STREAM if stream is None else stream
        if self._ready is not None and consumer not in (_NO_STREAM, self._stream):
            self._ready.wait(consumer)
        return dlpack.to_capsule(self.address, self.shape, self.dtype, self.__dlpack_device__(), self)


class DeviceResults(NamedTuple):
    """A run's results on the GPU: int32 [B, k]; float32 [B, k]; float32 [B, S], None where a pool keeps the states."""

    top_items: DeviceArray
    top_scores: DeviceArray
    state_out: DeviceArray | None
