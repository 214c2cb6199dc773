"""DLPack's capsules in and out, by ctypes. https://dmlc.github.io/dlpack/latest/

The unversioned form is used, which every producer gives when not asked for another, and every consumer takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from typing import Any

import numpy as np

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # DLDeviceType
_KINDS = {0: "i", 1: "u", 2: "f"}  # DLDataTypeCode
_CODES = {kind: code for code, kind in _KINDS.items()}
_NAME, _USED = b"dltensor", b"used_dltensor"  # PyCapsule keeps the address, so these must stay


class _Tensor(ctypes.Structure):
    """`DLManagedTensor`, with its `DLTensor`, `DLDevice` and `DLDataType` in line."""


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Tensor))

_Tensor._fields_ = (
    ("data", ctypes.c_void_p),
    ("device_type", ctypes.c_int32),
    ("device_id", ctypes.c_int32),
    ("ndim", ctypes.c_int32),
    ("code", ctypes.c_uint8),
    ("bits", ctypes.c_uint8),
    ("lanes", ctypes.c_uint16),
    ("shape", ctypes.POINTER(ctypes.c_int64)),
    ("strides", ctypes.POINTER(ctypes.c_int64)),
    ("byte_offset", ctypes.c_uint64),
    ("manager_ctx", ctypes.c_void_p),
    ("deleter", _Deleter),
)

_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, _Destructor]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
# The same functions for a capsule that is being destroyed, of which no Python object may be made.
_prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_is_valid_dying = _prototype(("PyCapsule_IsValid", ctypes.pythonapi))
_prototype_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_pointer_dying = _prototype_pointer(("PyCapsule_GetPointer", ctypes.pythonapi))

_exported: dict[int, tuple[Any, ...]] = {}  # what consumers hold, by the tensor's address


def _forget(tensor: Any) -> None:
    _exported.pop(ctypes.addressof(tensor.contents), None)


def _destroy(capsule: int) -> None:
    if _is_valid_dying(capsule, _NAME):  # no consumer took it
        _exported.pop(_pointer_dying(capsule, _NAME), None)


_forget_callback, _destroy_callback = _Deleter(_forget), _Destructor(_destroy)


def to_capsule(
    address: int, shape: tuple[int, ...], dtype: np.dtype[Any], device: tuple[int, int], owner: object
) -> object:
    """A capsule of contiguous memory, which keeps `owner` alive until its consumer is done.

    Args:
        device: its DLDeviceType, and the device's number.
    """
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    # Some consumers can't do without strides.
    strides = (ctypes.c_int64 * len(shape))(*(math.prod(shape[axis + 1 :]) for axis in range(len(shape))))
    tensor = _Tensor(
        data=address if math.prod(shape) else None,
        device_type=device[0],
        device_id=device[1],
        ndim=len(shape),
        code=_CODES[dtype.kind],
        bits=8 * dtype.itemsize,
        lanes=1,
        shape=sizes,
        strides=strides,
        byte_offset=0,
        deleter=_forget_callback,
    )
    key = ctypes.addressof(tensor)
    _exported[key] = (tensor, sizes, strides, owner)
    capsule: object = _new(key, _NAME, _destroy_callback)
    return capsule


class ImportedTensor:
    """A producer's memory, given back with this object.

    Attributes:
        address: 0 where there is nothing.
        shape: of the array.
        dtype: None for one that NumPy does not have.
        strides: in bytes, or None if contiguous.
        device: its DLDeviceType, and the device's number.
    """

    def __init__(self, capsule: object) -> None:
        """Take over the tensor of a capsule.

        Raises:
            ValueError: it is no capsule of DLPack's unversioned form, or was taken before.
        """
        self._tensor: _Tensor | None = None
        self._tensor = _Tensor.from_address(_pointer(capsule, _NAME))
        _rename(capsule, _USED)
        tensor: Any = self._tensor
        axes = range(tensor.ndim)
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.shape = tuple(int(tensor.shape[axis]) for axis in axes)
        kind = _KINDS.get(tensor.code) if tensor.lanes == 1 else None
        self.dtype = None if kind is None else np.dtype(f"{kind}{tensor.bits // 8}")
        size = tensor.bits // 8
        self.strides = tuple(int(tensor.strides[axis]) * size for axis in axes) if tensor.strides else None
        self.device = int(tensor.device_type), int(tensor.device_id)

    def __del__(self) -> None:
        tensor: Any = self._tensor
        if tensor is not None and tensor.deleter:
            with contextlib.suppress(Exception):  # at the end of the process, modules are gone
                tensor.deleter(ctypes.byref(tensor))
