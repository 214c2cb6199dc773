"""Arrays and streams of other libraries, played by plain Python objects over host memory."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recblr.errors import RequestError
from recblr.runtime.gpu import dlpack
from recblr.runtime.gpu.arrays import DeviceArray, StreamMemory, stream_handle, view_array
from recblr.runtime.gpu.cuda import CudaEvent, DeviceMemory, Stream


class Tensor:
    """As PyTorch's: DLPack alone."""

    def __init__(self, values: np.ndarray, kind: int = dlpack.CUDA, number: int = 0) -> None:
        self.values, self.kind, self.number = values, kind, number
        self.streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.number

    def __dlpack__(self, stream: int | None = None) -> object:
        self.streams.append(stream)
        address = self.values.ctypes.data
        return dlpack.to_capsule(address, self.values.shape, self.values.dtype, self.__dlpack_device__(), self.values)


class Protocol:
    """As pycuda's: `__cuda_array_interface__` alone."""

    def __init__(self, values: np.ndarray, **changes: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (values.ctypes.data, False),
            "strides": values.strides,
            "stream": None,
            "version": 3,
            **changes,
        }


def view_of(array: Any, shape: tuple[int | None, ...] = (None, 3), writable: bool = False) -> Any:
    return view_array("states", array, np.float32, shape, stream=77, device=0, writable=writable)


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("kind", [Tensor, Protocol])
def test_arrays_are_viewed_where_they_are(kind: Any) -> None:
    view = view_of(kind(VALUES))
    assert view.address == VALUES.ctypes.data
    assert view.shape == (2, 3)


def test_the_producer_orders_our_stream() -> None:
    tensor = Tensor(VALUES)
    assert view_of(tensor).stream is None
    assert tensor.streams == [77]
    assert view_of(Protocol(VALUES, stream=55)).stream == 55


def test_views_keep_the_memory() -> None:
    class Array(np.ndarray):
        pass

    values = VALUES.copy().view(Array)
    gone = weakref.ref(values)
    tensor = Tensor(values)
    view = view_of(tensor)
    del values, tensor
    gc.collect()
    assert gone() is not None
    del view
    gc.collect()
    assert gone() is None


def test_an_untaken_capsule_is_freed() -> None:
    class Array(np.ndarray):
        pass

    values = VALUES.copy().view(Array)
    gone = weakref.ref(values)
    capsule = Tensor(values).__dlpack__()
    del values
    gc.collect()
    assert gone() is not None
    del capsule
    gc.collect()
    assert gone() is None


def test_a_capsule_is_taken_once() -> None:
    capsule = Tensor(VALUES).__dlpack__()
    dlpack.ImportedTensor(capsule)
    with pytest.raises(ValueError, match="incorrect name"):
        dlpack.ImportedTensor(capsule)


def test_numpy_takes_our_capsules() -> None:
    """Another implementation than ours reads them."""

    class OnTheHost(Tensor):
        def __dlpack__(self, *, stream: Any = None, **_: Any) -> object:  # type: ignore[override]
            return super().__dlpack__(stream)

    np.testing.assert_array_equal(np.from_dlpack(OnTheHost(VALUES, dlpack.CPU)), VALUES)


def test_we_take_the_capsules_of_others() -> None:
    tensor = dlpack.ImportedTensor(VALUES[:, 1:].__dlpack__())
    assert (tensor.shape, tensor.dtype, tensor.strides) == ((2, 2), np.float32, (12, 4))
    assert tensor.address == VALUES[:, 1:].ctypes.data
    assert tensor.device == (dlpack.CPU, 0)
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    other = torch.arange(4, dtype=torch.bfloat16)
    assert dlpack.ImportedTensor(other.__dlpack__()).dtype is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VALUES, "states is not in a GPU's memory"),
        ([1.0], "states is a list: give an array on the GPU"),
        (Tensor(VALUES, number=1), "states is on cuda:1, the plan on cuda:0"),
        (Tensor(VALUES.astype(np.float64)), r"states is float64 \(2, 3\): give float32 \(any, 3\)"),
        (Tensor(VALUES.reshape(3, 2)), r"float32 \(3, 2\): give float32 \(any, 3\)"),
        (Protocol(VALUES.reshape(6)), r"float32 \(6,\): give float32 \(any, 3\)"),
        (Protocol(VALUES.reshape(3, 2).T), r"strides \(4, 8\)"),
        (Protocol(VALUES, shape="x"), "malformed"),
        (Protocol(VALUES, data=None), "malformed"),
        (Protocol(VALUES, mask=VALUES), "mask"),
    ],
)
def test_what_is_no_such_array(array: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        view_of(array)


def test_read_only_arrays_are_read_alone() -> None:
    array = Protocol(VALUES, data=(VALUES.ctypes.data, True))
    assert view_of(array).address == VALUES.ctypes.data
    with pytest.raises(RequestError, match="read-only"):
        view_of(array, writable=True)


def test_a_producer_that_raises() -> None:
    class Broken(Tensor):
        def __dlpack__(self, stream: int | None = None) -> object:
            raise RuntimeError("it requires grad")

    with pytest.raises(RequestError, match="states cannot be taken through DLPack .it requires grad"):
        view_of(Broken(VALUES))


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (SimpleNamespace(__cuda_stream__=lambda: (0, 5)), 5),
        (SimpleNamespace(__cuda_stream__=(0, 5)), 5),
        (SimpleNamespace(__cuda_stream__=lambda: (0, 0)), 1),  # the default stream has a name of its own
        (SimpleNamespace(cuda_stream=6), 6),  # PyTorch
        (SimpleNamespace(ptr=7), 7),  # CuPy
        (SimpleNamespace(handle=8), 8),  # pycuda
        (9, 9),
        (0, 1),
    ],
)
def test_streams(stream: Any, handle: int) -> None:
    assert stream_handle(stream) == handle


@pytest.mark.parametrize("stream", [SimpleNamespace(__cuda_stream__=lambda: (1, 5)), "x", True, -1, object()])
def test_what_is_no_stream(stream: Any) -> None:
    with pytest.raises(RequestError, match="stream"):
        stream_handle(stream)


def result(fake: Any, stream: Stream | None) -> DeviceArray:
    """2 x 3 numbers that are there when the stream gets to them."""
    handle = None if stream is None else stream.handle
    memory = DeviceMemory(24) if handle is None else StreamMemory(24, handle)

    def write() -> None:
        fake.array(memory.address, (2, 3), np.float32)[:] = VALUES

    ready = None
    if handle is None:
        write()
    else:
        fake.give(handle, write)
        ready = CudaEvent()
        ready.record(handle)
    return DeviceArray(memory, (2, 3), np.float32, 0, handle, ready)


@pytest.mark.parametrize("with_stream", [False, True])
def test_results_offer_both_protocols(fake_cuda: Any, with_stream: bool) -> None:
    stream = Stream() if with_stream else None
    array = result(fake_cuda, stream)
    interface = array.__cuda_array_interface__
    assert interface["version"] == 3
    assert interface["stream"] == (stream.handle if stream else None)
    assert interface["shape"] == (2, 3)
    assert interface["typestr"] == "<f4"
    assert interface["data"] == (array.address, False)
    consumer = Stream()
    tensor = dlpack.ImportedTensor(array.__dlpack__(stream=consumer.handle, max_version=(1, 0)))
    consumer.synchronize()  # alone: it waits for the other by itself
    assert tensor.address == array.address
    assert tensor.device == array.__dlpack_device__() == (2, 0)
    np.testing.assert_array_equal(fake_cuda.array(tensor.address, tensor.shape, tensor.dtype), VALUES)


def test_a_capsule_keeps_the_result(fake_cuda: Any) -> None:
    array = result(fake_cuda, None)
    tensor = dlpack.ImportedTensor(array.__dlpack__(stream=-1))
    del array
    gc.collect()
    np.testing.assert_array_equal(fake_cuda.array(tensor.address, tensor.shape, tensor.dtype), VALUES)
    address = tensor.address
    del tensor
    gc.collect()
    with pytest.raises(AssertionError, match="are not the device's"):
        fake_cuda.array(address, (2, 3), np.float32)


@pytest.mark.parametrize("wish", [{"copy": True}, {"dl_device": (1, 0)}])
def test_wishes_that_need_a_copy(fake_cuda: Any, wish: dict[str, Any]) -> None:
    with pytest.raises(BufferError, match="cuda:0"):
        result(fake_cuda, None).__dlpack__(**wish)


def test_empty_arrays(fake_cuda: Any) -> None:
    array = DeviceArray(DeviceMemory(0), (0, 3), np.float32, 0)
    assert array.__cuda_array_interface__["data"][0] == 0
    view = view_array("states", array, np.float32, (None, 3), stream=1, device=0)
    assert (view.address, view.shape) == (0, (0, 3))
