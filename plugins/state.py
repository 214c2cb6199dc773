"""Moves of user states between a pool and a batch, on NumPy arrays in host memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import abi
from ._library import PluginLibraryError, load_library

_INTEGERS = {np.dtype(np.int64): abi.INT64, np.dtype(np.int32): abi.INT32}


def gather_state(
    pool: NDArray[np.float32], slots: NDArray[Any], initial: NDArray[np.float32] | None = None, n_threads: int = 1
) -> NDArray[np.float32]:
    """The states of a batch's users.

    Args:
        pool: float32 [P, S], C-contiguous.
        slots: [B] int32 or int64, where in the pool each user's state is; negative for none.
        initial: float32 [S], what users without a place get; None for zeros.
        n_threads: at most so many work.

    Returns:
        float32 [B, S].

    Raises:
        ValueError: an array of another shape, type or layout.
        PluginLibraryError: a slot of P or more; the library is missing.
    """
    states = np.empty((len(slots), pool.shape[1] if pool.ndim == 2 else 0), np.float32)
    _move("recblr_gather_state_cpu", pool, slots, states, initial, n_threads)
    return states


def scatter_state(
    pool: NDArray[np.float32], slots: NDArray[Any], states: NDArray[np.float32], n_threads: int = 1
) -> None:
    """Write the states of a batch's users to their places.

    Args:
        pool: float32 [P, S], C-contiguous; written.
        slots: [B] int32 or int64, no two equal; negative ones are left out.
        states: float32 [B, S], C-contiguous.
        n_threads: at most so many work.

    Raises:
        ValueError: an array of another shape, type or layout.
        PluginLibraryError: a slot of P or more (then nothing is written); the library is missing.
    """
    if not pool.flags.writeable:
        raise ValueError("pool is read-only: give one that can be written")
    _move("recblr_scatter_state_cpu", pool, slots, states, None, n_threads)


def _move(
    function: str,
    pool: NDArray[np.float32],
    slots: NDArray[Any],
    states: NDArray[np.float32],
    initial: NDArray[np.float32] | None,
    n_threads: int,
) -> None:
    size = pool.shape[1] if pool.ndim == 2 else 0
    _check("pool", pool, (len(pool), size))
    _check("states", states, (len(slots), size))
    if initial is not None:
        _check("initial", initial, (size,))
    if slots.ndim != 1 or slots.dtype not in _INTEGERS:
        raise ValueError(f"slots are {slots.dtype} {slots.shape}: give int32 or int64 [B]")
    slots = np.ascontiguousarray(slots)
    arguments = abi.StateMove(
        n_rows=len(slots),
        n_slots=len(pool),
        state_size=size,
        slots_type=_INTEGERS[slots.dtype],
        n_threads=n_threads,
        slots=slots.ctypes.data,
        initial=None if initial is None else initial.ctypes.data,
        pool=pool.ctypes.data,
        states=states.ctypes.data,
    )
    library = load_library()
    if getattr(library.handle, function)(ctypes.byref(arguments)) != abi.OK:
        raise PluginLibraryError(f"{function}: {library.last_error}")


def _check(name: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}{'' if array.flags.c_contiguous else ', not contiguous'}: "
            f"give contiguous float32 {shape}"
        )
