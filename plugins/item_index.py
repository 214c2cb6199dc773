"""The native library's index of a catalogue: the items in 8 bits, by which most need not be scored."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

from . import abi
from ._library import PluginLibraryError, load_library
from .cpus import usable_cpus

LARGEST = 2**31 - 2  # items, and more than any count of them


class ItemIndex:
    """An embedding in 8 bits, of a quarter of its size. Any number of threads may use it at once.

    `recblr.plugins.top_items` leaves out the items that by it cannot be among the best; its results are the same, bit
    for bit.
    """

    def __init__(self, embedding: np.ndarray, threads: int | None = None) -> None:
        """Make one; where the machine has not the instructions (AVX2, better AVX-512 VNNI), one that does nothing.

        Args:
            embedding: float32 [V + 1, D], contiguous; row 0 is no item. It is not kept.
            threads: that make it, at most; None for one per CPU this process may use.

        Raises:
            ValueError: an array of another type or shape.
            PluginLibraryError: the library is missing, or its environment variable `RECBLR_CPU_ISA` names no
                instruction set.
            MemoryError: no memory for it.
        """
        check_embedding(embedding)
        self.shape: tuple[int, ...] = embedding.shape
        self._index = ctypes.c_void_p()
        library = load_library()
        n_items, dim = len(embedding) - 1, embedding.shape[1]
        status = library.handle.recblr_item_index_create(
            ctypes.c_void_p(embedding.ctypes.data),
            ctypes.c_int64(n_items),
            ctypes.c_int64(dim),
            ctypes.c_int32(usable_cpus() if threads is None else threads),
            ctypes.byref(self._index),
        )
        if status != abi.OK:
            message = library.last_error
            raise MemoryError(message) if status == abi.OUT_OF_MEMORY else PluginLibraryError(message)
        destroy = library.handle.recblr_item_index_destroy
        destroy.restype = None
        weakref.finalize(self, destroy, self._index)

    @property
    def handle(self) -> int | None:
        """Its address for the library; None for one that does nothing."""
        return self._index.value


def check_embedding(embedding: Any) -> None:
    """Check an embedding.

    Raises:
        ValueError: it is not a contiguous float32 [V + 1, D].
    """
    if not isinstance(embedding, np.ndarray) or embedding.dtype != np.float32 or embedding.ndim != 2:
        what = f"{embedding.dtype} {embedding.shape}" if isinstance(embedding, np.ndarray) else type(embedding).__name__
        raise ValueError(f"embedding is {what}: give a NumPy array of float32 with 2 dimension(s)")
    if len(embedding) == 0 or embedding.shape[1] == 0 or len(embedding) > LARGEST:
        raise ValueError(f"embedding has shape {embedding.shape}: give [V + 1, D], both at least 1, V below 2^31 - 2")
    if not embedding.flags.c_contiguous:
        raise ValueError("embedding is not contiguous: give a row-major array, such as np.ascontiguousarray makes")
