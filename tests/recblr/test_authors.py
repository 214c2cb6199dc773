"""Import of the authors' weights: equal results, from every kind of file that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.authors import import_state_dict
from recblr.checkpoint import load_checkpoint
from recblr.errors import CheckpointError
from recblr.model import RecBLR

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
N_ITEMS = 30


def authors_weights(
    seed: int = 0, dim: int = 8, expand: float = 2, layers: int = 2, taps: int = 4, scale: float = 0.3
) -> dict[str, Tensor]:
    """Random weights under the authors' names; of a trained model's size, so that everything has an effect."""
    draw = torch.Generator().manual_seed(seed)
    inner = int(expand * dim)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw) * scale

    def norm(prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}.weight": 1 + random(dim), f"{prefix}.bias": random(dim)}

    weights = {"item_embedding.weight": random(N_ITEMS + 1, dim), **norm("layer_norm")}
    for n in range(layers):
        block = f"recurrent_layers.{n}."
        weights |= {
            f"{block}behavior_modeling.Lambda": random(inner) - 3,
            f"{block}behavior_modeling.input.weight": random(2 * inner, dim),
            f"{block}behavior_modeling.conv1d.weight": random(inner, 1, taps),
            f"{block}behavior_modeling.conv1d.bias": random(inner),
            f"{block}behavior_modeling.gates.weight": random(2 * inner, inner),
            f"{block}behavior_modeling.gates.bias": random(2 * inner),
            f"{block}behavior_modeling.output.weight": random(dim, inner),
            **norm(f"{block}layer_norm"),
            f"{block}ffn.w_1.weight": random(4 * dim, dim),
            f"{block}ffn.w_1.bias": random(4 * dim),
            f"{block}ffn.w_2.weight": random(dim, 4 * dim),
            f"{block}ffn.w_2.bias": random(dim),
            **norm(f"{block}ffn.layer_norm"),
        }
    return weights


def authors_queries(weights: dict[str, Tensor], items: Tensor, lengths: Tensor) -> Tensor:
    """What the authors' code computes, by a loop over time: [B, T] items, right-padded with 0, to [B, D]."""
    dim = weights["item_embedding.weight"].shape[1]

    def norm(x: Tensor, prefix: str) -> Tensor:
        return F.layer_norm(x, (dim,), weights[f"{prefix}.weight"], weights[f"{prefix}.bias"], 1e-12)

    x = norm(weights["item_embedding.weight"][items], "layer_norm")
    n_padding = 2 ** int(np.ceil(np.log2(items.shape[1]))) - items.shape[1]
    n_layers = sum(name.endswith("Lambda") for name in weights)
    for n in range(n_layers):
        w = {name.split(".", 2)[2]: v for name, v in weights.items() if name.startswith(f"recurrent_layers.{n}.")}
        inputs, z = (x @ w["behavior_modeling.input.weight"].T).chunk(2, dim=-1)
        inputs, z = (F.pad(v, (0, 0, n_padding, 0)) for v in (inputs, z))
        kernel, bias = w["behavior_modeling.conv1d.weight"], w["behavior_modeling.conv1d.bias"]
        length = inputs.shape[1]
        conv = F.conv1d(inputs.mT, kernel, bias, padding=kernel.shape[2] - 1, groups=len(kernel))[..., :length]
        inputs = F.silu(conv).mT
        gates = inputs @ w["behavior_modeling.gates.weight"].T + w["behavior_modeling.gates.bias"]
        r, i = gates.chunk(2, dim=-1)
        a = torch.exp(-F.softplus(w["behavior_modeling.Lambda"]) * r.sigmoid())
        b = torch.sqrt(1 - a**2 + 1e-8) * i.sigmoid() * inputs
        h = torch.zeros_like(b[:, 0])
        states = []
        for t in range(length):
            h = a[:, t] * h + b[:, t]
            states.append(h)
        out = (F.silu(z) * torch.stack(states, dim=1))[:, n_padding:] @ w["behavior_modeling.output.weight"].T
        x = norm(out + x, f"recurrent_layers.{n}.layer_norm")
        hidden = F.silu(x @ w["ffn.w_1.weight"].T + w["ffn.w_1.bias"])
        x = norm(hidden @ w["ffn.w_2.weight"].T + w["ffn.w_2.bias"] + x, f"recurrent_layers.{n}.ffn.layer_norm")
    return x[torch.arange(len(x)), lengths - 1]


def queries_of(model: RecBLR, items: Tensor, lengths: Tensor) -> Tensor:
    """Of right-padded histories."""
    ragged = torch.cat([row[:length] for row, length in zip(items, lengths, strict=True)])
    with torch.no_grad():
        return model.query(ragged, F.pad(lengths.cumsum(0), (1, 0)))[0]


@pytest.mark.parametrize("case", ["ml_like", "beauty_like"])
def test_reference_outputs(case: str) -> None:
    if not (REFERENCE / f"{case}.pt").is_file():
        pytest.skip(f"no outputs of the authors' implementation in {REFERENCE}")
    length = json.loads((REFERENCE / f"{case}.json").read_text())["MAX_ITEM_LIST_LENGTH"]
    model = load_checkpoint(REFERENCE / f"{case}.pt", history_length=length).model
    wanted = np.load(REFERENCE / f"{case}.npz")
    lengths = torch.from_numpy(wanted["item_length"]).long()
    query = queries_of(model, torch.from_numpy(wanted["item_id_list"]).long(), lengths)
    np.testing.assert_allclose(query.numpy(), wanted["query"], atol=1e-4, rtol=0)
    with torch.no_grad():
        top = model.scores(query).topk(10)
    assert np.array_equal(top.indices.numpy(), wanted["top10_items"])
    np.testing.assert_allclose(top.values.numpy(), wanted["top10_scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("history_length", [50, 64, 200, 1])
@pytest.mark.parametrize("shape", [{}, {"expand": 1.5, "layers": 1, "taps": 2}, {"layers": 3, "dim": 7, "expand": 3}])
def test_import_computes_the_same(history_length: int, shape: dict[str, Any]) -> None:
    weights = authors_weights(1, **shape)
    lengths = torch.tensor([1, 2, max(1, history_length // 3), history_length]).clamp(max=history_length)
    items = torch.from_numpy(np.random.default_rng(2).integers(1, N_ITEMS + 1, (4, history_length)))
    items[torch.arange(history_length) >= lengths[:, None]] = 0
    wanted = authors_queries(weights, items, lengths)
    found = queries_of(import_state_dict(weights, history_length), items, lengths)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_the_padding_matters() -> None:
    weights = authors_weights(3)
    items, lengths = torch.tensor([[5, 3]]), torch.tensor([2])
    padded, bare = (queries_of(import_state_dict(weights, n), items, lengths) for n in (200, 64))
    assert (padded - bare).abs().max() > 1e-2
    assert not import_state_dict(weights, 64).initial_h.any()


def test_a_recurrence_that_never_forgets_can_be_imported() -> None:
    weights = authors_weights(4, layers=1)
    weights["recurrent_layers.0.behavior_modeling.Lambda"].fill_(-2000.0)
    items, lengths = torch.ones(1, 50, dtype=torch.long), torch.tensor([50])
    found = queries_of(import_state_dict(weights, 50), items, lengths)
    torch.testing.assert_close(found, authors_queries(weights, items, lengths), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dim", [1, 3, 7, 50, 64, 100])
def test_every_inner_width_is_found(dim: int) -> None:
    for inner in range(1, 3 * dim + 1, max(1, dim // 20)):
        weights = authors_weights(dim=dim, expand=(inner + 0.5) / dim, layers=1)
        assert import_state_dict(weights, 50).config.inner_dim == inner


def test_settings_are_read_off_the_weights() -> None:
    config = import_state_dict(authors_weights(dim=6, expand=2.5, layers=3, taps=5), 50).config
    assert (config.n_items, config.dim, config.inner_dim, config.layers, config.conv_width) == (N_ITEMS, 6, 15, 3, 5)
    assert config.initial_state


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    weights = {name: w.to(dtype) for name, w in authors_weights().items()}
    model = import_state_dict(weights, 50)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_bare_state_dict_asks_for_the_history_length(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    torch.save(authors_weights(), path)
    with pytest.raises(CheckpointError, match="--history-length"):
        load_checkpoint(path)
    for length in (0, -3, 2**31):
        with pytest.raises(CheckpointError, match=f"history length {length} is not possible"):
            load_checkpoint(path, history_length=length)
    loaded = load_checkpoint(path, history_length=50)
    assert loaded.vocabulary.ids == list(range(1, N_ITEMS + 1))  # the embedding's row numbers
    assert loaded.vocabulary.counts.sum() == 0
    expected = import_state_dict(authors_weights(), 50).state_dict()
    for name, found in loaded.model.state_dict().items():
        assert torch.equal(found, expected[name]), name


def test_old_torch_files(tmp_path: Path) -> None:
    path = tmp_path / "legacy.pth"
    torch.save(authors_weights(), path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path, history_length=50).model.config.n_items == N_ITEMS


def test_item_ids_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    torch.save(authors_weights(), path)
    ids = [f"film-{n}" for n in range(N_ITEMS)]
    assert load_checkpoint(path, history_length=50, item_ids=ids).vocabulary.ids == ids
    with pytest.raises(CheckpointError, match="29 item ids for the 30 items"):
        load_checkpoint(path, history_length=50, item_ids=ids[:-1])


def broken_weights() -> dict[str, dict[Any, Any]]:
    weights = authors_weights()
    first = "recurrent_layers.0.behavior_modeling."
    return {
        "one missing": {name: w for name, w in weights.items() if name != f"{first}gates.bias"},
        "no embedding": {name: w for name, w in weights.items() if not name.startswith("item_")},
        "one too many": {**weights, "position_embedding.weight": torch.zeros(3, 8)},
        "a layer missing": {name.replace("layers.1.", "layers.5."): w for name, w in weights.items()},
        "a layer far off": {**weights, "recurrent_layers.999999999999.layer_norm.bias": torch.zeros(8)},
        "shapes that do not fit": {**weights, f"{first}gates.weight": torch.zeros(3, 8)},
        "an embedding without width": {**weights, "item_embedding.weight": torch.zeros(31)},
        "no items": {**weights, "item_embedding.weight": torch.zeros(1, 8)},
        "not a tensor": {**weights, f"{first}Lambda": [1.0]},
        "a name that is none": {**weights, 7: torch.zeros(1)},
    }


@pytest.mark.parametrize("case", broken_weights())
def test_weights_that_do_not_fit(case: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.pth"
    torch.save(broken_weights()[case], path)
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path, history_length=50)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
