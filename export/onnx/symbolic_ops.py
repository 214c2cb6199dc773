"""The two sequence operations as nodes of an ONNX graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets

DOMAIN = "recblr"
CAUSAL_CONV1D = "CausalConv1d"
GATED_SCAN = "GatedScan"
# Attribute of GatedScan: 1 where y is wanted at each row's last position only.
LAST_ONLY = "last_only"


class SymbolicOps:
    """`recblr.ops.SequenceOps` for `torch.onnx.export`: leaves one node per call in the graph, and computes nothing.

    `recblr::CausalConv1d` takes x, weight, bias, offsets, tail and gives y, new_tail; `recblr::GatedScan` takes x,
    gates, z, decay, offsets, h0 and gives y, last_h. Shapes and dtypes are those of `SequenceOps`.

    A convolution of one tap (K = 1) looks at no other token and has no tail: it is no node, but standard operators.
    """

    def causal_conv1d(
        self, x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
    ) -> tuple[Inner, ConvTail]:
        """Causal convolution and SiLU as one node: y [N, H] in x's dtype, the new tail [B, K-1, H] in tail's."""
        if weight.shape[1] == 1:
            # Not weight.T, which the exporter would keep in place of the [H, 1] that the native library reads.
            return F.silu((x[:, :, None] * weight).squeeze(2) + bias), tail
        y, new_tail = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{CAUSAL_CONV1D}",
            (x, weight, bias, offsets, tail),
            dtypes=(x.dtype, tail.dtype),
            shapes=(x.shape, tail.shape),
            version=1,
        )
        return y, new_tail

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
        """Gated recurrence as one node: y [N, H], or [B, H] if `last_only`, in x's dtype; last_h [B, H] in h0's."""
        y, last_h = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{GATED_SCAN}",
            (x, gates, z, decay, offsets, h0),
            {LAST_ONLY: int(last_only)},
            dtypes=(x.dtype, h0.dtype),
            shapes=(z.shape, h0.shape),
            version=1,
        )
        return y, last_h
