"""The ops in plain PyTorch, to be read beside the equations. Differentiable; float16, bfloat16, float32, float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets

# Keeps the gradient of the square root finite where alpha is 1; the authors' code has the same constant.
SQRT_EPSILON = 1e-8


def row_of_token(offsets: Offsets, n_tokens: int) -> Tensor:
    """The row that each token belongs to, int64 [N]."""
    rows = torch.arange(len(offsets) - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=n_tokens)


def causal_conv1d_ref(
    x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
) -> tuple[Inner, ConvTail]:
    """Convolve x [N, H] along each row, each token a weighted sum of the K inputs up to it, then SiLU.

    Returns:
        y [N, H] in x's dtype and the new tail [B, K-1, H] in tail's dtype.
    """
    n_tokens, width = x.shape
    n_past = weight.shape[1] - 1
    dtype = torch.promote_types(x.dtype, torch.float32)
    offsets = offsets.long()

    # Each row with its tail in front of it: the window of a token is then a plain slice.
    n_rows = len(offsets) - 1
    place = torch.arange(n_tokens, device=x.device) + (row_of_token(offsets, n_tokens) + 1) * n_past
    start = offsets[:-1, None] + (torch.arange(n_rows, device=x.device) * n_past)[:, None]
    past = start + torch.arange(n_past, device=x.device)
    order = torch.cat([past.flatten(), place]).argsort()
    extended = torch.cat([tail.reshape(-1, width).to(dtype), x.to(dtype)])[order]

    total = bias.to(dtype).expand(n_tokens, width)
    for tap in range(n_past + 1):
        total = total + weight[:, tap].to(dtype) * extended[place - n_past + tap]
    new_tail = extended[past + offsets.diff()[:, None]]
    return F.silu(total).to(x.dtype), new_tail.to(tail.dtype)


def gated_scan_ref(
    x: Inner,
    gates: Gates,
    z: Inner | Hidden,
    decay: Channels,
    offsets: Offsets,
    h0: Hidden,
    last_only: bool = False,
) -> tuple[Inner | Hidden, Hidden]:
    """Scan x [N, H] along each row, one step at a time for all rows, and gate what comes out by SiLU(z).

    Returns:
        y [N, H] ([B, H] if `last_only`) in x's dtype and each row's last state [B, H] in h0's dtype.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    r, i = gates.to(dtype).sigmoid().chunk(2, dim=-1)
    log_alpha = -F.softplus(decay.to(dtype)) * r
    # 1 - alpha^2 as -expm1(2 log alpha): the direct form cancels where alpha is near 1.
    beta = torch.sqrt(-torch.expm1(2 * log_alpha) + SQRT_EPSILON) * i
    h, last_h = linear_recurrence_ref(log_alpha.exp(), beta * x.to(dtype), offsets, h0.to(dtype))
    y = F.silu(z.to(dtype)) * (last_h if last_only else h)
    return y.to(x.dtype), last_h.to(h0.dtype)


def linear_recurrence_ref(a: Inner, b: Inner, offsets: Offsets, h0: Hidden) -> tuple[Inner, Hidden]:
    """h_t = a_t h_{t-1} + b_t along each row, one step at a time over all rows that reach it.

    Args:
        a, b: [N, H].
        offsets: [B+1].
        h0: [B, H].

    Returns:
        h [N, H] and the last state of each row [B, H].
    """
    offsets = offsets.long()
    n_tokens, lengths = len(a), offsets.diff()
    row = row_of_token(offsets, n_tokens)
    position = torch.arange(n_tokens, device=a.device) - offsets[row]

    # Time-major, longest row first: the rows that reach step t are then the first ones, and nothing is padded.
    longest_first = lengths.argsort(descending=True, stable=True)
    rank = longest_first.argsort()
    active = torch.bincount(position, minlength=1)
    start = active.cumsum(0) - active
    place = start[position] + rank[row]
    order = place.argsort()

    h = h0[longest_first]
    steps = []
    counts = active.tolist() if n_tokens else []
    for a_t, b_t in zip(torch.split(a[order], counts), torch.split(b[order], counts), strict=True):
        h = torch.addcmul(b_t, a_t, h[: len(a_t)])
        steps.append(h)
    all_h = torch.cat([*steps, h0])
    last = torch.where(
        lengths > 0, place[offsets[1:] - 1] if n_tokens else lengths, n_tokens + torch.arange(len(h0), device=a.device)
    )
    return all_h[place], all_h[last]


class ReferenceOps:
    """`recblr.ops.SequenceOps`, by the functions of this module."""

    causal_conv1d = staticmethod(causal_conv1d_ref)
    gated_scan = staticmethod(gated_scan_ref)
