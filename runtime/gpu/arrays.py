"""Arrays and streams of other libraries in, results that other libraries take out, nothing copied.

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
from recblr.runtime.gpu.cuda import DeviceMemory, Event, check, copy_to_host, cuda

DeviceArrayLike: TypeAlias = Any
StreamLike: TypeAlias = Any

_LEGACY_STREAM = 1  # cudaStreamLegacy: both protocols forbid 0 for it
_NO_ORDER = -1


def stream_handle(stream: StreamLike) -> int:
    """A stream's cudaStream_t.

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
        address: on the GPU; 0 where there is nothing.
        shape: of the array, contiguous.
        stream: on which its contents come to be, where work on them must wait for that; None where it need not.
        owner: keeps the memory.
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
    """An array of the GPU, seen without a copy.

    Args:
        name: for messages.
        array: offers `__dlpack__` or `__cuda_array_interface__`.
        dtype: that it must have.
        shape: that it must have; None for any size.
        stream: where it will be used.
        device: the number of the GPU it must be on.
        writable: it will be written.

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
    fits = len(view.shape) == len(shape) and all(
        size is None or size == actual for size, actual in zip(shape, view.shape, strict=True)
    )
    if found != dtype or not fits:
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
        raise RequestError(f"{name} is on cuda:{number}, the engine on cuda:{device}: move it there")
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
        address: for work of this stream, and of those that wait for it.
    """

    def __init__(self, nbytes: int, stream: int, owner: object = None) -> None:
        """Allocate.

        Args:
            nbytes: at least so many.
            stream: by its handle.
            owner: of the stream, which must outlive the memory.

        Raises:
            OutOfDeviceMemoryError: there is not so much.
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
        address: where it lies.
        shape: of it, contiguous.
        dtype: NumPy's.
        device: the number of the GPU.
    """

    def __init__(
        self,
        memory: DeviceMemory | StreamMemory | ArrayView,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        device: int,
        stream: int | None = None,
        ready: Event | None = None,
    ) -> None:
        """Wrap memory.

        Args:
            memory: is kept.
            stream: whose work, once done, has written it; None if it is written.
            ready: is after that work.
        """
        self._memory, self._stream, self._ready = memory, stream, ready
        self.address, self.shape, self.dtype, self.device = memory.address, shape, np.dtype(dtype), device

    @property
    def nbytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3; "stream" is where the result comes to be."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address if self.nbytes else 0, False),
            "strides": None,
            "stream": self._stream,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's device."""
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule, for work on the consumer's stream, which waits for the result.

        Raises:
            BufferError: for another device, or a copy.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError(f"a result on cuda:{self.device} is given as it is: copy it in the library that takes it")
        consumer = _LEGACY_STREAM if stream is None else stream
        if self._ready is not None and consumer not in (_NO_ORDER, self._stream):
            self._ready.hold(consumer)
        return dlpack.to_capsule(self.address, self.shape, self.dtype, self.__dlpack_device__(), self)

    def to_host(self) -> np.ndarray:
        """A copy as a NumPy array; waits for the result.

        Raises:
            BackendError: the GPU failed.
        """
        values = np.empty(self.shape, self.dtype)
        stream = _LEGACY_STREAM if self._stream is None else self._stream
        copy_to_host(values, self.address, stream)
        check(cuda().cudaStreamSynchronize(stream))
        return values


class DeviceResults(NamedTuple):
    """What a run leaves on the GPU: int32 [B, k], float32 [B, k], float32 [B, S] or None where a pool keeps them."""

    top_items: DeviceArray
    top_scores: DeviceArray
    state_out: DeviceArray | None
