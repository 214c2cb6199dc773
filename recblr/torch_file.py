"""Files of `torch.save`, of any age and pickle protocol, read without running anything in them.

`torch.load(weights_only=True)` does not do here: it reads one pickle protocol, ends at the first object of a class it
does not know, gives what memory held for tensors that an old file lacks, and crashes on some damaged files.

There are two kinds of file: a zip archive of a pickle and one entry of bytes for each storage, and, before PyTorch 1.6,
several pickles followed by the storages. In both a tensor is a call of one of PyTorch's functions.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recblr.errors import CheckpointError, short_reason
from recblr.inert_pickle import InertUnpickler, RefusedError, StandIn

# A file's content takes at most so many times its size in memory, and a megabyte: more is an attack, or damage.
_MOST_EXPANSION = 64

_ZIP_START = b"PK\x03\x04"
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001

_DTYPES = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
_STORAGE_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.QInt8Storage": torch.qint8,
    "torch.QUInt8Storage": torch.quint8,
    "torch.QInt32Storage": torch.qint32,
    "torch.storage.UntypedStorage": torch.uint8,
}
# Functions whose first argument is the tensor that they wrap.
_WRAPPERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
}
_MOST_WRAPPERS = 4
_OTHER_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor of the meta device, without values",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a special class",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor saved as a NumPy array",
}


class UnreadableTensor(NamedTuple):
    """In place of a tensor that is none of plain numbers in the file's bytes."""

    reason: str


class _Storage(NamedTuple):
    dtype: torch.dtype
    content: Tensor  # its bytes, uint8 [n]


def read_torch_file(path: Path) -> Any:
    """What was saved: plain values, tensors on the CPU, and for all else `StandIn` and `UnreadableTensor`.

    Raises:
        CheckpointError: unreadable, damaged, or it names code that has no place in a checkpoint.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP_START)) == _ZIP_START
        return _with_tensors(_read_zip(path) if is_zip else _read_legacy(path))
    except CheckpointError:
        raise
    except RefusedError as error:
        raise CheckpointError(
            f"{path} wants to run {short_reason(error)}, which no RecBLR checkpoint needs: refused, and nothing in it "
            "was run; if you trust its origin, save torch.save(model.state_dict(), ...) there and give that"
        ) from None
    except Exception as error:  # whatever a damaged file provokes
        raise CheckpointError(
            f"{path} is no model file, or a damaged one: give a model.pt of recblr-train or a checkpoint of the "
            "authors' implementation"
        ) from error


def check_expansion(n_bytes: int, path: Path) -> None:
    """Check how much memory a file's content would take.

    Raises:
        CheckpointError: far more than its size makes likely.
    """
    size = path.stat().st_size
    if n_bytes > _MOST_EXPANSION * size + 2**20:
        raise CheckpointError(
            f"{path} has {size:,} bytes, which would become {n_bytes:,} in memory: damaged, or made to exhaust it; "
            "refused"
        )


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        check_expansion(sum(info.file_size for info in archive.infolist()), path)
        (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = entry.removesuffix("data.pkl")
        if f"{folder}constants.pkl" in archive.namelist():
            raise CheckpointError(f"{path} is a TorchScript program: save its state_dict() with torch.save, give that")
        if f"{folder}byteorder" in archive.namelist():
            _check_byte_order(path, _bytes_of(archive, f"{folder}byteorder") == b"little")
        contents: dict[str, Tensor] = {}

        def load_storage(dtype: torch.dtype, key: str) -> _Storage:
            if key not in contents:
                contents[key] = _as_tensor(_bytes_of(archive, f"{folder}data/{key}"))
            return _Storage(dtype, contents[key])

        pickled = io.BytesIO(_bytes_of(archive, entry))
        return InertUnpickler(pickled, _loading_references(load_storage)).load()


def _bytes_of(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"compression {info.compress_type}")
    if info.CRC == 0:  # saved after torch.serialization.set_crc32_options(False)
        del info.CRC  # zipfile then checks none
    return archive.read(info)


def _read_legacy(path: Path) -> Any:
    content = path.read_bytes()
    file = io.BytesIO(content)
    if InertUnpickler(file).load() != _LEGACY_MAGIC or InertUnpickler(file).load() != _LEGACY_VERSION:
        raise ValueError("not a file of torch.save")
    _check_byte_order(path, InertUnpickler(file).load()["little_endian"] is True)
    start = file.tell()
    dtypes: dict[str, torch.dtype] = {}

    def note_dtype(dtype: torch.dtype, key: str) -> None:
        dtypes[key] = dtype

    InertUnpickler(file, _loading_references(note_dtype)).load()
    contents = {}
    for key in InertUnpickler(file).load():
        (length,) = struct.unpack("<q", file.read(8))
        begin = file.tell()
        end = begin + length * dtypes[key].itemsize
        if not begin <= end <= len(content):
            raise EOFError(f"storage {key}")
        contents[key] = _as_tensor(content[begin:end])
        file.seek(end)
    file.seek(start)
    return InertUnpickler(file, _loading_references(lambda dtype, key: _Storage(dtype, contents[key]))).load()


def _check_byte_order(path: Path, is_little: bool) -> None:
    if not is_little:
        raise CheckpointError(f"{path} was saved on a big-endian machine: load and save it on a little-endian one")


def _loading_references(load_storage: Callable[[torch.dtype, str], Any]) -> Callable[[Any], Any]:
    """Persistent ids of torch.save: ("storage", class, key, device, length, ...), or ("module", class, its source)."""

    def load_reference(reference: Any) -> Any:
        kind, named, *rest = reference
        if kind == "module":
            return named
        if kind != "storage" or not isinstance(rest[0], str):
            raise ValueError("a reference of an unknown kind")
        return load_storage(_STORAGE_DTYPES[named.name], rest[0])

    return load_reference


def _as_tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)


def _with_tensors(content: Any) -> Any:
    """Replace stand-ins of tensors in dicts, lists and other stand-ins, in place: no depth ends that."""
    root = [content]
    pending: list[Any] = [root]
    seen = {id(root)}
    while pending:
        container = pending.pop()
        entries = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(entries):
            if isinstance(value, StandIn):
                tensor = _tensor(value)
                if tensor is not None:
                    container[key] = tensor
            for part in (value.state, value.entries) if isinstance(value, StandIn) else (value,):
                if isinstance(part, dict | list) and id(part) not in seen:
                    seen.add(id(part))
                    pending.append(part)
    return root[0]


def _tensor(value: StandIn) -> Tensor | UnreadableTensor | None:
    """The tensor that a stand-in describes; None if it is something else."""
    try:
        function, arguments = value.name, value.arguments
        for _ in range(_MOST_WRAPPERS):
            if function in _WRAPPERS:
                function, arguments = arguments[0].name, arguments[0].arguments
            elif function == "torch._tensor._rebuild_from_type_v2":  # of a subclass, or with attributes
                function, arguments = arguments[0].name, arguments[2]
        if function in _OTHER_TENSORS:
            return UnreadableTensor(_OTHER_TENSORS[function])
        if function in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            storage, offset, size, stride, _, _, *metadata = *arguments, None, None
            return _view(storage, storage.dtype, offset, size, stride, metadata)
        if function == "torch._utils._rebuild_tensor_v3":
            storage, offset, size, stride, _, _, dtype, *metadata = arguments
            return _view(storage, _DTYPES[dtype.name], offset, size, stride, metadata)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return UnreadableTensor("a damaged tensor")
    return None


def _view(
    storage: _Storage, dtype: torch.dtype, offset: int, size: Any, stride: Any, metadata: list[Any]
) -> Tensor | UnreadableTensor:
    if any(metadata):
        return UnreadableTensor("a tensor that is to be negated or conjugated")
    if dtype in (torch.qint8, torch.quint8, torch.qint32):
        return UnreadableTensor(_OTHER_TENSORS["torch._utils._rebuild_qtensor"])
    values = storage.content.view(dtype)
    if isinstance(size, StandIn):  # torch.Size(...)
        (size,) = size.arguments
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0 or math.prod(size) > 2**48:
        raise ValueError("impossible sizes or strides")
    if 0 not in size and offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= len(values):
        return UnreadableTensor("a damaged tensor, which reaches beyond its bytes")
    return values.as_strided(size, stride, offset)
