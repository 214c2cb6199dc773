"""The model: rows that do not see each other, states that carry the past, settings that make sense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recblr.config import RecBLRConfig
from recblr.errors import ConfigError
from recblr.model import RecBLR

N_ITEMS = 50


def make_model(seed: int = 0, **changes: Any) -> RecBLR:
    """A model as it starts, in evaluation mode; its initial state, if it has one, is not zero."""
    torch.manual_seed(seed)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS, **({"dim": 16} | changes))).eval()
    with torch.no_grad():
        model.initial_h.add_(torch.randn_like(model.initial_h) * model.config.initial_state)
    return model


MODELS = [
    make_model(0),
    make_model(1, initial_state=True, layers=1),
    make_model(2, initial_state=True, layers=3, conv_width=2, expansion=1.5),
    make_model(3, conv_width=1, dim=8),
]


def ragged(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    items = np.random.default_rng(seed).integers(1, N_ITEMS + 1, sum(lengths))
    return torch.from_numpy(items), torch.tensor([0, *np.cumsum(lengths).tolist()])


def run(model: RecBLR, items: Tensor, offsets: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Every position's vectors, the queries and the new state, of which both ways must give the same."""
    with torch.no_grad():
        hidden, state_of_forward = model(items, offsets, state)
        query, state_of_query = model.query(items, offsets, state)
    close(state_of_query, state_of_forward)
    close(query, state_of_forward[:, -model.config.dim :])
    return hidden, query, state_of_query


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def random_state(model: RecBLR, n_rows: int, seed: int = 0) -> Tensor:
    """States that a random past led to."""
    lengths = np.random.default_rng(seed).integers(1, 9, n_rows).tolist()
    return run(model, *ragged(lengths, seed + 1))[2]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 2**31 - 1),
)
def test_a_row_does_not_depend_on_the_batch(model: RecBLR, lengths: list[int], with_past: bool, seed: int) -> None:
    items, offsets = ragged(lengths, seed)
    state = random_state(model, len(lengths), seed) if with_past else None
    hidden, query, new_state = run(model, items, offsets, state)
    for row, length in enumerate(lengths):
        own = slice(int(offsets[row]), int(offsets[row + 1]))
        own_state = None if state is None else state[row : row + 1]
        alone = run(model, items[own], torch.tensor([0, length]), own_state)
        close(hidden[own], alone[0])
        close(query[row : row + 1], alone[1])
        close(new_state[row : row + 1], alone[2])


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(0, 2**31 - 1),
)
def test_pieces_equal_the_whole(model: RecBLR, pieces: list[list[int]], seed: int) -> None:
    items, offsets = ragged([sum(row) for row in pieces], seed)
    _, query, wanted = run(model, items, offsets)
    state, position = None, offsets[:-1].tolist()
    for step in range(max(map(len, pieces))):
        lengths = [row[step] if step < len(row) else 0 for row in pieces]
        part = torch.cat([items[p : p + n] for p, n in zip(position, lengths, strict=True)])
        position = [p + n for p, n in zip(position, lengths, strict=True)]
        _, last, state = run(model, part, torch.tensor([0, *np.cumsum(lengths).tolist()]), state)
    assert state is not None
    close(last, query)
    close(state, wanted)


@pytest.mark.parametrize("model", MODELS)
def test_one_item_at_a_time_equals_a_long_history(model: RecBLR) -> None:
    items, offsets = ragged([300], 5)
    hidden, _, wanted = run(model, items, offsets)
    state = None
    for position in range(300):
        with torch.no_grad():
            query, state = model.query(items[position : position + 1], torch.tensor([0, 1]), state)
        close(query[0], hidden[position])
    assert state is not None
    close(state, wanted)


@pytest.mark.parametrize("model", MODELS)
def test_query_is_the_last_position(model: RecBLR) -> None:
    items, offsets = ragged([4, 0, 1, 9], 6)
    state = random_state(model, 4)
    hidden, query, _ = run(model, items, offsets, state)
    close(query[[0, 2, 3]], hidden[[3, 4, 13]])
    assert torch.equal(query[1], state[1, -model.config.dim :])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("lengths", [[0], [0, 0, 0]])
def test_nothing_new_changes_nothing(model: RecBLR, lengths: list[int]) -> None:
    items, offsets = ragged(lengths)
    state = random_state(model, len(lengths))
    hidden, query, new_state = run(model, items, offsets, state)
    assert hidden.shape == (0, model.config.dim)
    assert torch.equal(new_state, state)
    assert torch.equal(query, state[:, -model.config.dim :])
    _, query, new_state = run(model, items, offsets)
    assert torch.equal(new_state, model.initial_state().detach().expand(len(lengths), -1))
    assert not query.any()


def test_no_rows() -> None:
    model = MODELS[0]
    hidden, query, state = run(model, *ragged([]))
    assert hidden.shape == query.shape == (0, model.config.dim)
    assert state.shape == (0, model.config.state_size)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_index_types_do_not_matter(dtype: torch.dtype) -> None:
    items, offsets = ragged([3, 0, 5])
    wanted = run(MODELS[1], items, offsets)
    for found, expected in zip(run(MODELS[1], items.to(dtype), offsets.to(dtype)), wanted, strict=True):
        assert torch.equal(found, expected)


def test_states_hold_tails_then_h_per_layer_then_the_query() -> None:
    model = make_model(initial_state=True, layers=2, dim=4)
    tails, inner = 3 * 8, 8
    state = model.initial_state().detach()
    assert state.shape == (model.config.state_size,) == (2 * (tails + inner) + 4,)
    wanted = [torch.zeros(tails), model.initial_h[0], torch.zeros(tails), model.initial_h[1], torch.zeros(4)]
    assert torch.equal(state, torch.cat(wanted))


def test_the_initial_state_is_learnt_where_it_is_on() -> None:
    items, offsets = ragged([3, 4])
    learnt, fixed = make_model(initial_state=True), make_model()
    assert "initial_h" in dict(learnt.named_parameters())
    assert "initial_h" not in fixed.state_dict()
    assert not fixed.initial_state().any()
    learnt(items, offsets)[0].sum().backward()
    assert learnt.initial_h.grad is not None
    assert learnt.initial_h.grad.abs().min() > 0
    before = run(learnt, items, offsets)[1]
    with torch.no_grad():
        learnt.initial_h.zero_()
    assert (run(learnt, items, offsets)[1] - before).abs().max() > 1e-4


def test_scores_are_products_with_the_embedding_without_item_0() -> None:
    model = MODELS[0]
    queries = torch.randn(3, model.config.dim)
    scores = model.scores(queries)
    assert scores.shape == (3, N_ITEMS + 1)
    assert torch.isneginf(scores[:, 0]).all()
    close(scores[:, 1:], queries @ model.embedding.weight[1:].T)


def test_initial_weights() -> None:
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=2000, dim=64, conv_width=4, initial_state=True))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            wanted = torch.full_like(parameter, name.endswith("weight"))
            assert torch.equal(parameter, wanted), name
        elif "conv" in name:
            assert parameter.abs().max() <= 0.5, name  # PyTorch's default: uniform up to 1 / sqrt(4)
            assert parameter.std().item() == pytest.approx(0.5 / math.sqrt(3), rel=0.15), name
        elif name.endswith("weight"):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        elif not name.endswith("decay"):
            assert not parameter.any(), name
    for block in model.blocks:
        alpha = torch.exp(-F.softplus(block.recurrent.decay))  # type: ignore[union-attr,arg-type]
        assert alpha[0].item() == pytest.approx(0.9)
        assert alpha[-1].item() == pytest.approx(0.999)
        assert (alpha.diff() > 0).all()
    assert sum(p.numel() for p in model.parameters()) > 2001 * 64


def test_dropout_is_for_training_only() -> None:
    model = make_model(dropout=0.5)
    items, offsets = ragged([6])
    assert torch.equal(run(model, items, offsets)[0], run(model, items, offsets)[0])
    model.train()
    assert not torch.equal(model(items, offsets)[0], model(items, offsets)[0])


def test_every_parameter_learns() -> None:
    model = make_model(initial_state=True).train()
    items, offsets = ragged([5, 3])
    hidden, _ = model(items, offsets)
    model.scores(hidden)[:, 1:].square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_defaults_are_the_papers() -> None:
    config = RecBLRConfig(n_items=10)
    assert (config.dim, config.layers, config.inner_dim, config.conv_width) == (64, 2, 128, 4)
    assert config.state_size == 2 * 4 * 128 + 64
    assert RecBLRConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_items", 0),
        ("n_items", True),
        ("dim", 1.5),
        ("layers", -1),
        ("conv_width", "4"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", math.nan),
        ("dropout", "much"),
        ("expansion", 0.001),
        ("expansion", -1.0),
        ("expansion", math.nan),
        ("expansion", math.inf),
        ("expansion", None),
        ("initial_state", "yes"),
    ],
)
def test_impossible_settings(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is .*: "):
        RecBLRConfig.from_dict({"n_items": 10, name: value})


def test_unknown_and_missing_settings() -> None:
    with pytest.raises(ConfigError, match=r"unknown model settings \['heads'\]"):
        RecBLRConfig.from_dict({"n_items": 10, "heads": 2})
    with pytest.raises(ConfigError, match="n_items"):
        RecBLRConfig.from_dict({"dim": 8})
