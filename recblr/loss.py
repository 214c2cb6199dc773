"""Next-item cross-entropy over the whole catalogue or over sampled items, in bounded memory."""

from __future__ import annotations

import math
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
            low_hidden = hidden[part].to(dtype)
            logits, losses = _cross_entropy_(low_hidden @ low_weight.T, targets[part], needs_gradient)
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


class _SampledCrossEntropy(torch.autograd.Function):
    """As `_ChunkedCrossEntropy`, of logits [chunk, M + 2]: a column that does not count, the negatives, the target."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        of_targets: Tensor,
        of_negatives: Tensor,
        targets: Tensor,
        negatives: Tensor,
        offset: float,
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        needs_gradient = any(ctx.needs_input_grad[:3])
        low_negatives = of_negatives.to(dtype)
        grad_hidden, grad_targets = torch.empty_like(hidden), torch.empty_like(of_targets)
        grad_negatives = torch.zeros_like(of_negatives)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            low_hidden, low_targets = hidden[part].to(dtype), of_targets[part].to(dtype)
            logits = low_hidden.new_empty(len(low_hidden), len(negatives) + 2)
            scores = torch.mm(low_hidden, low_negatives.T, out=logits[:, 1:-1])
            _forbid_(scores, targets[part, None] == negatives)
            # Less for the target is more for all negatives.
            logits[:, -1] = (low_hidden * low_targets).sum(dim=1, dtype=torch.float32) - offset
            last = torch.full_like(targets[part], logits.shape[1] - 1)
            logits, losses = _cross_entropy_(logits, last, needs_gradient)
            total += losses.sum()
            if needs_gradient:
                of_scores, of_target = logits[:, 1:-1], logits[:, -1:]
                grad_hidden[part] = (of_scores @ low_negatives).addcmul_(of_target, low_targets)
                grad_targets[part] = of_target * low_hidden
                grad_negatives += (of_scores.T @ low_hidden).to(grad_negatives.dtype)
        if needs_gradient:
            ctx.save_for_backward(grad_hidden, grad_targets, grad_negatives)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (gradient * grad_outputs[0] for gradient in ctx.saved_tensors)
        return (*gradients, None, None, None, None, None)


def _forbid_(scores: Tensor, forbidden: Tensor) -> None:
    """Set scores [N, M] to -inf where bool [N, M] `forbidden`, which is rarely."""
    if scores.device.type == "cpu":
        scores[forbidden.nonzero(as_tuple=True)] = -torch.inf
    else:
        scores.masked_fill_(forbidden, -torch.inf)


def _cross_entropy_(logits: Tensor, targets: Tensor, needs_gradient: bool) -> tuple[Tensor, Tensor]:
    """The logits' gradient, softmax - one-hot, in their dtype and if possible in their memory; and float32 losses [N].

    Args:
        logits: [N, V+1], contiguous; the first column does not count.
        targets: [N] int64 from 1 to V.
        needs_gradient: otherwise the first of the results holds anything.
    """
    if logits.device.type == "cpu" and ops.is_native(logits):
        return logits, calls_for(logits).cross_entropy_(logits, targets, not needs_gradient)
    scores, wanted = logits.float(), targets[:, None]
    scores[:, 0] = -torch.inf
    log_sum = scores.logsumexp(dim=1, keepdim=True)
    losses = log_sum - scores.gather(1, wanted)
    if needs_gradient:
        scores.sub_(log_sum).exp_().scatter_add_(1, wanted, scores.new_full(wanted.shape, -1.0))
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
    chunk, dtype = _chunk(hidden, len(weight), chunk_bytes), _product_dtype(hidden)
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, targets.long(), chunk, dtype)  # type: ignore[no-untyped-call]
    return loss


def sampled_cross_entropy(
    hidden: Tensor,
    of_targets: Tensor,
    of_negatives: Tensor,
    targets: Tensor,
    negatives: Tensor,
    offset: float,
    chunk_bytes: int | None = None,
) -> Tensor:
    """Sum over tokens of -log(exp(s_t) / (exp(s_t) + exp(offset) * sum over negatives j != t of exp(s_j))).

    s = hidden . item. For M negatives drawn uniformly from V items, offset = log(V / M) makes the denominator an
    unbiased estimate of the full softmax's (importance sampling: Bengio & Senecal 2008; the correction by log Q that
    spares the target: Khrylchenko et al. 2025); offset = 0 ranks the target among the sample alone.

    Args:
        hidden: [N, D].
        of_targets: [N, D], the targets' vectors.
        of_negatives: [M, D].
        targets: [N] integers.
        negatives: [M] integers; where one is a token's own target it does not count for this token.
        offset: added to the negatives' scores.
        chunk_bytes: see `chunked_cross_entropy`.

    Returns:
        A float32 scalar. Under autocast the products are in the autocast dtype, the softmax in float32.
    """
    chunk, dtype = _chunk(hidden, len(negatives) + 2, chunk_bytes), _product_dtype(hidden)
    loss: Tensor = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, of_targets, of_negatives, targets.long(), negatives.long(), offset, chunk, dtype
    )
    return loss


def _chunk(hidden: Tensor, width: int, chunk_bytes: int | None) -> int:
    """Tokens whose logits are held at once, so that all chunks are of about one size."""
    row_bytes = 4 * width
    if chunk_bytes is None:
        usual = _CPU_CHUNK_BYTES if hidden.device.type == "cpu" else _CHUNK_BYTES
        chunk_bytes = max(usual, _LEAST_CHUNK * row_bytes)
    most = max(1, chunk_bytes // row_bytes)
    n_chunks = max(1, math.ceil(len(hidden) / most))
    return max(1, math.ceil(len(hidden) / n_chunks))


def _product_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
