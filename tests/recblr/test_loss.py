"""The chunked loss against PyTorch's own, in value, gradients and memory."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recblr.loss import chunked_cross_entropy

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
