"""Next-item cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recblr import ops
from recblr.ops.kernel_calls import calls_for

# On a CPU, logits that stay in its cache: 1.4 to 1.6 times faster than chunks of 64 MiB.
_CPU_CHUNK_BYTES = 4 * 2**20
_CHUNK_BYTES = 64 * 2**20
# Of a large catalogue: every chunk reads and adds to arrays as large as the embedding.
_LEAST_CHUNK = 64


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes loss and gradients together, a chunk of tokens at a time, so that no chunk's logits outlive it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        needs_gradient = any(ctx.needs_input_grad[:2])
        low_weight = weight.to(dtype)
        grad_hidden = torch.empty_like(hidden) if needs_gradient else None
        grad_weight = torch.zeros_like(weight) if needs_gradient else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            low_hidden, wanted = hidden[part].to(dtype), targets[part, None]
            logits = low_hidden @ low_weight.T
            if logits.device.type == "cpu" and ops.is_native(logits):
                total += calls_for(logits).cross_entropy_(logits, targets[part], not needs_gradient).sum()
            else:
                logits, losses = _cross_entropy(logits, wanted, needs_gradient)
                total += losses.sum()
            if grad_hidden is not None and grad_weight is not None:
                grad_hidden[part] = (logits @ low_weight).to(hidden.dtype)
                grad_weight += (logits.T @ low_hidden).to(weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_outputs[0], grad_weight * grad_outputs[0], None, None, None


def _cross_entropy(logits: Tensor, targets: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor]:
    """The logits' gradient, softmax - one-hot, in their dtype and if possible in their memory; and the losses.

    Args:
        logits: [N, V+1].
        targets: [N, 1].
    """
    scores = logits.float()
    scores[:, 0] = -torch.inf
    log_sum = scores.logsumexp(dim=1, keepdim=True)
    losses = log_sum - scores.gather(1, targets)
    if needs_gradient:
        scores.sub_(log_sum).exp_().scatter_add_(1, targets, scores.new_full(targets.shape, -1.0))
    return scores.to(logits.dtype), losses


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_bytes: int | None = None) -> Tensor:
    """Sum over tokens of -log softmax(hidden @ weight.T)[target], with item 0 left out of the softmax.

    Memory beyond the inputs is at most about 3 * `chunk_bytes` (or three rows of V+1 floats, if one row is larger; by
    default 64 rows), whatever N - a chunk's logits, their low-precision copy under autocast, and a temporary - and two
    copies each of the gradients and of `weight`.

    Args:
        hidden: [N, D].
        weight: [V+1, D], the item embedding.
        targets: [N] integers from 1 to V.
        chunk_bytes: float32 logits held at once; None for 4 MiB on a CPU and 64 MiB elsewhere, but those of 64 tokens
            at least.

    Returns:
        A float32 scalar. Under autocast the products are in the autocast dtype, the softmax in float32.
    """
    device = hidden.device.type
    row_bytes = 4 * len(weight)
    if chunk_bytes is None:
        chunk_bytes = max(_CPU_CHUNK_BYTES if device == "cpu" else _CHUNK_BYTES, _LEAST_CHUNK * row_bytes)
    chunk = max(1, chunk_bytes // row_bytes)
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, targets.long(), chunk, dtype)  # type: ignore[no-untyped-call]
    return loss
