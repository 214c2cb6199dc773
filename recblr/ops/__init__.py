"""The two operations that look along the sequence, behind one interface.

Everything else in the model is per token. An implementation is an object with the methods of `SequenceOps`; the model
calls `causal_conv1d` and `gated_scan` of this module, which go to the implementation in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets
from recblr.ops import native
from recblr.ops.default import ops_for

__all__ = ["SequenceOps", "causal_conv1d", "dropout", "gated_scan", "is_native", "use"]


class SequenceOps(Protocol):
    """The contract that every implementation keeps; `recblr.ops.reference` is the one that reads like the equations."""

    def causal_conv1d(
        self, x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
    ) -> tuple[Inner, ConvTail]:
        """Depthwise causal convolution along each row, then SiLU.

        Args:
            x: [N, H], rows one after another.
            weight: [H, K]; the last tap meets the current token.
            bias: [H].
            offsets: [B+1] integers: row b is x[offsets[b]:offsets[b+1]].
            tail: [B, K-1, H], the inputs before each row's first token, oldest first; zeros for a new user.

        Returns:
            SiLU(conv(x) + bias) [N, H], in x's dtype, and the new tail [B, K-1, H], in tail's dtype.
        """
        ...

    def gated_scan(
        self,
        x: Inner,
        gates: Gates,
        z: Inner | Hidden,
        decay: Channels,
        offsets: Offsets,
        h0: Hidden,
        last_only: bool = False,
    ) -> tuple[Inner | Hidden, Hidden]:
        """The behaviour-dependent linear recurrent unit and its output gate.

            r = sigmoid(gates[:, :H])        i = sigmoid(gates[:, H:])
            alpha = exp(-softplus(decay) r)  beta = sqrt(1 - alpha^2) i
            h_t = alpha_t h_{t-1} + beta_t x_t
            y_t = SiLU(z_t) h_t

        Source: RecBLR (arXiv 2406.12580), section 4. State and arithmetic are at least float32.

        Args:
            x: [N, H].
            gates: [N, 2H], pre-activations of r and i.
            z: [N, H], pre-activation of the output gate; [B, H] of each row's last token if `last_only`.
            decay: [H], the parameter Lambda.
            offsets: [B+1] integers.
            h0: [B, H], the state before each row's first token.
            last_only: give y at each row's last position only.

        Returns:
            y [N, H] ([B, H] if `last_only`), in x's dtype, and the last state of each row [B, H], in h0's dtype. A row
            without tokens keeps h0 as its last state.
        """
        ...


_in_use: ContextVar[SequenceOps | None] = ContextVar("sequence_ops", default=None)


@contextmanager
def use(implementation: SequenceOps) -> Iterator[None]:
    """Run the body with another implementation of the ops."""
    token = _in_use.set(implementation)
    try:
        yield
    finally:
        _in_use.reset(token)


def causal_conv1d(
    x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
) -> tuple[Inner, ConvTail]:
    """`SequenceOps.causal_conv1d` of the implementation in use, or the fastest for this data."""
    return (_in_use.get() or ops_for(x)).causal_conv1d(x, weight, bias, offsets, tail)


def gated_scan(
    x: Inner,
    gates: Gates,
    z: Inner | Hidden,
    decay: Channels,
    offsets: Offsets,
    h0: Hidden,
    last_only: bool = False,
) -> tuple[Inner | Hidden, Hidden]:
    """`SequenceOps.gated_scan` of the implementation in use, or the fastest for this data."""
    return (_in_use.get() or ops_for(x)).gated_scan(x, gates, z, decay, offsets, h0, last_only)


def is_native(x: Tensor) -> bool:
    """Whether the native library's kernels are in use for this data."""
    return isinstance(_in_use.get() or ops_for(x), native.NativeOps)


def dropout(x: Tensor, p: float) -> Tensor:
    """x / (1 - p), or 0 with probability p; PyTorch's default generator decides."""
    if x.device.type != "cpu" or not is_native(x):
        return F.dropout(x, p)
    seed = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    y: Tensor = native.dropout(x, seed, p)
    return y
