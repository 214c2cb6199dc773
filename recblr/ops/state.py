"""User states moved between a pool and a batch, on the CPU or a GPU, by the native library."""

from __future__ import annotations

import torch
from torch import Tensor

from recblr.ops import kernel_calls


@torch.library.custom_op("recblr::gather_state", mutates_args=(), device_types=("cpu", "cuda"))
def gather_state(pool: Tensor, slots: Tensor, initial: Tensor | None = None) -> Tensor:
    """The states of a batch's users.

    Args:
        pool: float32 [P, S].
        slots: [B] int32 or int64, where in the pool each user's state is; negative for none.
        initial: float32 [S], what users without a place get; None for zeros.

    Returns:
        float32 [B, S]. On a GPU a slot of P or more gives NaN.

    Raises:
        PluginLibraryError: on the CPU, a slot of P or more; the library is missing.
    """
    return kernel_calls.calls_for(pool).gather_state(pool, slots, initial)


@gather_state.register_fake
def _(pool: Tensor, slots: Tensor, initial: Tensor | None = None) -> Tensor:
    return pool.new_empty(slots.shape[0], pool.shape[1])


@torch.library.custom_op("recblr::scatter_state", mutates_args=("pool",), device_types=("cpu", "cuda"))
def scatter_state(pool: Tensor, slots: Tensor, states: Tensor) -> None:
    """Write the states of a batch's users to their places.

    Args:
        pool: float32 [P, S], contiguous; written.
        slots: [B] int32 or int64, no two equal; negative ones are left out, on a GPU also those of P or more.
        states: float32 [B, S].

    Raises:
        PluginLibraryError: on the CPU, a slot of P or more (then nothing is written); the library is missing.
        ValueError: the pool is not contiguous.
    """
    if not pool.is_contiguous():
        raise ValueError("pool is not contiguous: give one that is")
    kernel_calls.calls_for(pool).scatter_state(pool, slots, states)


@scatter_state.register_fake
def _(pool: Tensor, slots: Tensor, states: Tensor) -> None:
    return None
