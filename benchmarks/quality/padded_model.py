"""RecBLR's computation on padded batches, with the scans that published implementations use, to compare with.

All differentiable, all with the weights of a `recblr.model.RecBLR`, and all with equal results at real items.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import authors_model

from recblr.model import GatedRecurrentLayer, RecBLR
from recblr.ops.reference import SQRT_EPSILON

Scan = Callable[[Tensor, Tensor], Tensor]
PADDINGS = ("none", "sequence", "embedding")


def serial_scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t with h_{-1} = 0, one step after another: [B, T, H], [B, T, H] -> [B, T, H]."""
    h = torch.zeros_like(b[:, 0])
    steps = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = torch.addcmul(b_t, a_t, h)
        steps.append(h)
    return torch.stack(steps, dim=1)


class _ParallelScan(torch.autograd.Function):
    """Its gradient is a scan from the end: g_t = dy_t + a_{t+1} g_{t+1}, db_t = g_t, da_t = g_t h_{t-1}."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h: Tensor = authors_model.parallel_scan(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        following = F.pad(a[:, 1:], (0, 0, 0, 1))
        g = authors_model.parallel_scan(following.flip(1), grad_outputs[0].flip(1)).flip(1)
        return g * F.pad(h[:, :-1], (0, 0, 1, 0)), g


def parallel_scan(a: Tensor, b: Tensor) -> Tensor:
    """As `serial_scan`, in 2 log2 P rounds, for P steps that are a power of two."""
    h: Tensor = _ParallelScan.apply(a, b)  # type: ignore[no-untyped-call]
    return h


def power_of_two(length: int) -> int:
    """The next one, or the length itself."""
    return 1 << (length - 1).bit_length()


class PaddedRecBLR:
    """A RecBLR model run on padded batches.

    Padding is at the end of rows, where it cannot change what comes before; the authors pad the scan at the start,
    which costs the same.

    Args:
        model: whose weights are used; one without a learned initial state.
        scan: of [B, P, H].
        padding: to a power of two, for scans that need it: "none"; "sequence", what enters each layer's convolution and
            scan; "embedding", the items' vectors, once, so that every layer computes on the padding.
    """

    def __init__(self, model: RecBLR, scan: Scan, padding: str) -> None:
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}: give one of {', '.join(PADDINGS)}")
        self.model, self.scan, self.padding = model, scan, padding

    def __call__(self, items: Tensor) -> Tensor:
        """The vectors [B, T, D] of items int [B, T], with zeros after a row's last item."""
        model, length = self.model, items.shape[1]
        x = model.norm(model.dropout(model.embedding(items)))
        if self.padding == "embedding":
            x = F.pad(x, (0, 0, 0, power_of_two(length) - length))
        for block in model.blocks:
            x = block._residuals(x, self._recurrent(block.recurrent, x))  # type: ignore[operator, arg-type]
        hidden: Tensor = x[:, :length]
        return hidden

    def _recurrent(self, layer: GatedRecurrentLayer, x: Tensor) -> Tensor:
        length = x.shape[1]
        x, z = layer.in_proj(x).chunk(2, dim=-1)
        if self.padding == "sequence":
            x = F.pad(x, (0, 0, 0, power_of_two(length) - length))
        inner, width = layer.conv_weight.shape
        x = F.pad(x.transpose(1, 2), (width - 1, 0))
        x = F.silu(F.conv1d(x, layer.conv_weight[:, None], layer.conv_bias, groups=inner)).transpose(1, 2).contiguous()
        r, i = layer.gates(x).chunk(2, dim=-1)
        a = torch.exp(-F.softplus(layer.decay) * torch.sigmoid(r))
        b = torch.sqrt(1 - a**2 + SQRT_EPSILON) * torch.sigmoid(i) * x
        out: Tensor = layer.out_proj(F.silu(z) * self.scan(a, b)[:, :length])
        return out


def pad_rows(tokens: Tensor, offsets: Tensor, length: int) -> Tensor:
    """Tokens [N] of rows of at most `length` to [B, length], zeros after."""
    real = torch.arange(length, device=offsets.device) < offsets.diff()[:, None]
    padded = tokens.new_zeros(real.shape)
    padded[real] = tokens
    return padded
