"""The losses against PyTorch's own, in value, gradients and memory."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recblr import ops
from recblr.loss import chunked_cross_entropy, sampled_cross_entropy
from recblr.ops.native import NativeOps
from recblr.ops.reference import ReferenceOps

N, V, D = 37, 23, 8


def inputs(dtype: torch.dtype = torch.float32, n: int = N, v: int = V) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, D, generator=draw).to(dtype).requires_grad_()
    weight = torch.randn(v + 1, D, generator=draw).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(1, v + 1, (n,), generator=draw)


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = hidden @ weight.T
    return F.cross_entropy(logits[:, 1:], targets - 1, reduction="sum")


def row_bytes(v: int = V) -> int:
    return 4 * (v + 1)


@pytest.mark.parametrize("rows", [0.1, 1, 2, 5.5, N - 1, N, 1000])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_value_and_gradients(rows: float, index_dtype: torch.dtype) -> None:
    hidden, weight, targets = inputs()
    loss = chunked_cross_entropy(hidden, weight, targets.to(index_dtype), int(rows * row_bytes()))
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    found = torch.autograd.grad(loss / 7, [hidden, weight])
    wanted_loss = plain_loss(hidden, weight, targets)
    wanted = torch.autograd.grad(wanted_loss / 7, [hidden, weight])
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not found[1][0].any()  # item 0 takes no part


def test_large_logits() -> None:
    hidden, weight, targets = inputs()
    loss = chunked_cross_entropy(hidden * 1e3, weight * 1e3, targets)
    torch.testing.assert_close(loss, plain_loss(hidden * 1e3, weight * 1e3, targets))
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, [hidden, weight]))


def test_only_one_of_the_inputs_learns() -> None:
    hidden, weight, targets = inputs()
    wanted = torch.autograd.grad(plain_loss(hidden, weight, targets), [hidden, weight])
    (found,) = torch.autograd.grad(chunked_cross_entropy(hidden, weight.detach(), targets), [hidden])
    torch.testing.assert_close(found, wanted[0], rtol=1e-5, atol=1e-6)
    (found,) = torch.autograd.grad(chunked_cross_entropy(hidden.detach(), weight, targets), [weight])
    torch.testing.assert_close(found, wanted[1], rtol=1e-5, atol=1e-6)


def test_without_gradients() -> None:
    hidden, weight, targets = inputs()
    with torch.no_grad():
        loss = chunked_cross_entropy(hidden, weight, targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain_loss(hidden, weight, targets).detach())


def test_bf16_autocast_is_close() -> None:
    hidden, weight, targets = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_cross_entropy(hidden, weight, targets, 5 * row_bytes())
    wanted_loss = plain_loss(hidden, weight, targets)
    found, wanted = (torch.autograd.grad(value, [hidden, weight]) for value in (loss, wanted_loss))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-2, atol=0)
    assert (loss - wanted_loss).abs() > 1e-4  # the products were in bfloat16
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_no_tokens() -> None:
    _, weight, _ = inputs()
    hidden = torch.zeros(0, D, requires_grad=True)
    loss = chunked_cross_entropy(hidden, weight, torch.zeros(0, dtype=torch.long))
    assert loss.item() == 0
    grad_hidden, grad_weight = torch.autograd.grad(loss, [hidden, weight])
    assert grad_hidden.shape == (0, D)
    assert not grad_weight.any()


def test_not_a_number_stays_one() -> None:
    hidden, weight, targets = inputs()
    with torch.no_grad():
        hidden[3, 2] = torch.nan
    assert torch.isnan(chunked_cross_entropy(hidden, weight, targets))


class LiveBytes(TorchDispatchMode):
    """Follows the bytes of tensors made under it: how many live at once at most."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.sizes.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return out


@pytest.mark.parametrize("autocast", [False, True])
def test_memory_is_bounded(autocast: bool) -> None:
    n, v, chunk = 3000, 2000, 64 * row_bytes(2000)
    hidden, weight, targets = inputs(n=n, v=v)
    with LiveBytes() as live, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        chunked_cross_entropy(hidden, weight, targets, chunk).backward()
    gradients = 4 * D * (n + v + 1)
    assert live.peak > gradients + chunk  # the meter works
    # The documented bound, and a little for the targets, sums and one chunk of hidden vectors.
    assert live.peak < 2 * gradients + 3 * chunk + 2 * 4 * D * (v + 1) + 100_000
    assert live.peak < 4 * n * v / 4


M = 11


def sampled_inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """hidden, vectors of targets and negatives, and both's items; the negatives twice have one that is a target."""
    hidden, weight, targets = inputs(dtype)
    negatives = torch.randint(1, V + 1, (M,), generator=torch.Generator().manual_seed(1))
    negatives[3] = negatives[8] = targets[5]
    of_targets, of_negatives = (weight[items].detach().requires_grad_() for items in (targets, negatives))
    return hidden, of_targets, of_negatives, targets, negatives


def plain_sampled_loss(
    hidden: Tensor, of_targets: Tensor, of_negatives: Tensor, targets: Tensor, negatives: Tensor, offset: float
) -> Tensor:
    own = (hidden * of_targets).sum(dim=1)
    scores = (hidden @ of_negatives.T + offset).masked_fill(targets[:, None] == negatives, -torch.inf)
    return (torch.cat([own[:, None], scores], dim=1).logsumexp(dim=1) - own).sum()


@pytest.mark.parametrize("rows", [1, 5.5, 1000])
@pytest.mark.parametrize("implementation", [NativeOps, ReferenceOps])
def test_value_and_gradients_of_sampled_negatives(rows: float, implementation: type[ops.SequenceOps]) -> None:
    arguments = sampled_inputs()
    with ops.use(implementation()):
        loss = sampled_cross_entropy(*arguments, 1.5, int(rows * 4 * (M + 2)))
    wanted_loss = plain_sampled_loss(*arguments, 1.5)
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-5, atol=1e-5)
    found, wanted = (torch.autograd.grad(value / 7, arguments[:3]) for value in (loss, wanted_loss))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_sampled_negatives_without_gradients_or_tokens() -> None:
    hidden, of_targets, of_negatives, targets, negatives = sampled_inputs()
    with torch.no_grad():
        loss = sampled_cross_entropy(hidden, of_targets, of_negatives, targets, negatives, 0.0)
    wanted = plain_sampled_loss(hidden, of_targets, of_negatives, targets, negatives, 0.0)
    torch.testing.assert_close(loss, wanted.detach())
    none = sampled_cross_entropy(hidden[:0], of_targets[:0], of_negatives, targets[:0], negatives, 0.0)
    assert none.item() == 0
    (gradient,) = torch.autograd.grad(none, [of_negatives])
    assert not gradient.any()


def test_where_all_negatives_are_the_target_nothing_is_lost() -> None:
    hidden, of_targets, _, targets, _ = sampled_inputs()
    loss = sampled_cross_entropy(
        hidden[:1], of_targets[:1], of_targets[:1].expand(3, D), targets[:1], targets[[0] * 3], 2
    )
    assert loss.item() == 0
    assert torch.autograd.grad(loss, [hidden])[0].abs().max() < 1e-30


def test_sampled_negatives_under_bf16_autocast_are_close() -> None:
    arguments = sampled_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        loss = sampled_cross_entropy(*arguments, 1.5)
    wanted_loss = plain_sampled_loss(*arguments, 1.5)
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-2, atol=0)
    assert (loss - wanted_loss).abs() > 1e-4  # the products were in bfloat16
    found, wanted = (torch.autograd.grad(value, arguments[:3]) for value in (loss, wanted_loss))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.03 * other.norm()
