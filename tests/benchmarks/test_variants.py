"""The ablations' models: each lacks what its name says, and else does what RecBLR does."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from recblr.config import RecBLRConfig
from recblr.model import RecBLR

NAMES = ("WithoutGates", "WithoutConvolution", "WithoutFeedForward")
CONFIG = RecBLRConfig(n_items=30, dim=8, layers=2, dropout=0.0)
ITEMS = torch.tensor([3, 30, 3, 1, 17, 9, 4, 4])
OFFSETS = torch.tensor([0, 5, 5, 8])


@pytest.fixture(scope="module")
def variants(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("variants")


def disturbed(model: RecBLR) -> RecBLR:
    """The model with weights that make every part count."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return model.eval()


@pytest.fixture
def model(variants: ModuleType, request: pytest.FixtureRequest) -> RecBLR:
    torch.manual_seed(1)
    return disturbed(getattr(variants, request.param)(CONFIG))


@pytest.mark.parametrize("model", NAMES, indirect=True)
def test_shapes_and_query(model: RecBLR) -> None:
    hidden, state = model(ITEMS, OFFSETS)
    assert hidden.shape == (8, 8)
    assert state.shape == (3, model.config.state_size)
    query, _ = model.query(ITEMS, OFFSETS)
    torch.testing.assert_close(query[[0, 2]], hidden[[4, 7]])
    assert model.scores(query).shape == (3, 31)


@pytest.mark.parametrize("model", NAMES, indirect=True)
def test_no_position_sees_later_items(model: RecBLR) -> None:
    hidden, _ = model(ITEMS, OFFSETS)
    changed = ITEMS.clone()
    changed[4] = 2
    other, _ = model(changed, OFFSETS)
    torch.testing.assert_close(other[:4], hidden[:4])
    torch.testing.assert_close(other[5:], hidden[5:])
    assert not torch.allclose(other[4], hidden[4])


@pytest.mark.parametrize("model", NAMES, indirect=True)
def test_every_parameter_learns(model: RecBLR) -> None:
    model(ITEMS, OFFSETS)[0].square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_parameters(variants: ModuleType) -> None:
    counts = {
        name: sum(p.numel() for p in kind(CONFIG).parameters())
        for name, kind in [("RecBLR", RecBLR), *((name, getattr(variants, name)) for name in NAMES)]
    }
    inner, dim, layers = 16, 8, 2
    assert counts["RecBLR"] - counts["WithoutGates"] == layers * (inner + 1) * 2 * inner
    assert counts["RecBLR"] - counts["WithoutConvolution"] == layers * inner * (4 + 1)
    feed_forward = dim * 4 * dim + 4 * dim + 4 * dim * dim + dim
    assert counts["RecBLR"] - counts["WithoutFeedForward"] == layers * (feed_forward + 2 * dim)


@pytest.mark.parametrize("model", ["WithoutGates"], indirect=True)
def test_without_gates_the_scan_is_a_linear_filter(model: RecBLR) -> None:
    """h_t = alpha h_{t-1} + sqrt(1 - alpha^2) x_t: checked on one layer by the equation."""
    layer = model.blocks[0].recurrent
    tokens = torch.randn(5, 8)
    offsets, tail = torch.tensor([0, 5]), torch.zeros(1, 3, 16)
    _, _, last = layer(tokens, offsets, tail, torch.zeros(1, 16))
    x = layer.in_proj(tokens)[:, :16]
    padded = torch.cat([torch.zeros(3, 16), x])
    taps = layer.conv_weight
    x = torch.stack([(padded[t : t + 4] * taps.T).sum(0) + layer.conv_bias for t in range(5)])
    x = torch.nn.functional.silu(x)
    alpha = torch.exp(-torch.nn.functional.softplus(layer.decay))
    h = torch.zeros(16)
    for x_t in x:
        h = alpha * h + torch.sqrt(1 - alpha**2) * x_t
    torch.testing.assert_close(last[0], h, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("model", ["WithoutConvolution"], indirect=True)
def test_without_convolution_a_forgetful_model_sees_one_item(model: RecBLR) -> None:
    """With a decay to 0 at once nothing but the convolution would reach an earlier item."""
    with torch.no_grad():
        for block in model.blocks:
            block.recurrent.decay.fill_(1e4)
            block.recurrent.gates.bias[:16].fill_(1e4)
    hidden, _ = model(ITEMS, OFFSETS)
    torch.testing.assert_close(hidden[0], hidden[2])  # both item 3
    torch.testing.assert_close(hidden[6], hidden[7])  # both item 4


def test_with_convolution_the_same_model_sees_more(variants: ModuleType) -> None:
    torch.manual_seed(1)
    model = disturbed(RecBLR(CONFIG))
    with torch.no_grad():
        for block in model.blocks:
            block.recurrent.decay.fill_(1e4)
            block.recurrent.gates.bias[:16].fill_(1e4)
    hidden, _ = model(ITEMS, OFFSETS)
    assert (hidden[0] - hidden[2]).abs().max() > 0.01


@pytest.mark.parametrize("model", ["WithoutFeedForward"], indirect=True)
def test_without_feed_forward_the_output_is_the_recurrent_norms(model: RecBLR) -> None:
    norm = model.blocks[-1].recurrent_norm
    hidden, _ = model(ITEMS, OFFSETS)
    plain = (hidden - norm.bias) / norm.weight
    torch.testing.assert_close(plain.mean(dim=1), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.var(dim=1, unbiased=False), torch.ones(8), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_starts_as_recblr_does(variants: ModuleType, name: str) -> None:
    model = getattr(variants, name)(RecBLRConfig(n_items=500))
    for block in model.blocks:
        assert math.isclose(block.recurrent.in_proj.weight.std().item(), 0.02, rel_tol=0.05)
        assert math.isclose(
            torch.exp(-torch.nn.functional.softplus(block.recurrent.decay)).min().item(), 0.9, rel_tol=1e-3
        )
