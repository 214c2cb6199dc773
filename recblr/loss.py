"""Next-item cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DEFAULT_CHUNK_BYTES = 64 * 2**20


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
            logits = (low_hidden @ low_weight.T).float()
            logits[:, 0] = -torch.inf
            log_sum = logits.logsumexp(dim=1, keepdim=True)
            total += (log_sum - logits.gather(1, wanted)).sum()
            if grad_hidden is not None and grad_weight is not None:
                # d loss / d logits = softmax - one-hot, in the logits' own memory
                error = logits.sub_(log_sum).exp_()
                error.scatter_add_(1, wanted, error.new_full(wanted.shape, -1.0))
                low_error = error.to(dtype)
                grad_hidden[part] = (low_error @ low_weight).to(hidden.dtype)
                grad_weight += (low_error.T @ low_hidden).to(weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_outputs[0], grad_weight * grad_outputs[0], None, None, None


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk_bytes: int = DEFAULT_CHUNK_BYTES
) -> Tensor:
    """Sum over tokens of -log softmax(hidden @ weight.T)[target], with item 0 left out of the softmax.

    Memory beyond the inputs is at most about 3 * `chunk_bytes` (or three rows of V+1 floats, if one row is larger),
    whatever N and V - a chunk's logits, their low-precision copy under autocast, and a temporary - and two copies each
    of the gradients and of `weight`.

    Args:
        hidden: [N, D].
        weight: [V+1, D], the item embedding.
        targets: [N] integers from 1 to V.
        chunk_bytes: float32 logits held at once.

    Returns:
        A float32 scalar. Under autocast the products are in the autocast dtype, the softmax in float32.
    """
    chunk = max(1, chunk_bytes // (4 * len(weight)))
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, targets.long(), chunk, dtype)  # type: ignore[no-untyped-call]
    return loss
