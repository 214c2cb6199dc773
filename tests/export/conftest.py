"""Fixtures of the export room: a small model with weights of every size, and its bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle_writer import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

MakeModel: TypeAlias = Callable[..., RecBLR]


def _make_model(seed: int = 0, **settings: object) -> RecBLR:
    config = RecBLRConfig(**{"n_items": 60, "dim": 12, "initial_state": True, **settings})  # type: ignore[arg-type]
    model = RecBLR(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("decay"):
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator) + name.endswith("norm.weight"))
    return model.eval()


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Makes a model, in which nothing is zero or near its initial value; settings as in `RecBLRConfig`."""
    return _make_model


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """A model of 60 items named item-0, item-1, ..., with metrics and data."""
    ids = [f"item-{j}" for j in range(60)]
    return Checkpoint(
        model=_make_model(),
        vocabulary=ItemVocabulary(ids, list(range(60))),
        data={"fingerprint": "sha256:0"},
        metrics={"validation": {"ndcg@10": 0.25}},
    )


@pytest.fixture(scope="session")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `checkpoint`, up to 20 results; not to be changed."""
    path = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(checkpoint, path, max_k=20)
    return path


@pytest.fixture(scope="session")
def authors_state_dict() -> dict[str, torch.Tensor]:
    """Made-up weights under the names of the authors' implementation: 40 items, D 8, H 16, K 4, 2 layers."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    weights = {"item_embedding.weight": random(41, 8), "layer_norm.weight": 1 + random(8), "layer_norm.bias": random(8)}
    for layer in range(2):
        block = {
            "behavior_modeling.Lambda": random(16) - 3,
            "behavior_modeling.input.weight": random(32, 8),
            "behavior_modeling.conv1d.weight": random(16, 1, 4),
            "behavior_modeling.conv1d.bias": random(16),
            "behavior_modeling.gates.weight": random(32, 16),
            "behavior_modeling.gates.bias": random(32),
            "behavior_modeling.output.weight": random(8, 16),
            "layer_norm.weight": 1 + random(8),
            "layer_norm.bias": random(8),
            "ffn.w_1.weight": random(32, 8),
            "ffn.w_1.bias": random(32),
            "ffn.w_2.weight": random(8, 32),
            "ffn.w_2.bias": random(8),
            "ffn.layer_norm.weight": 1 + random(8),
            "ffn.layer_norm.bias": random(8),
        }
        weights |= {f"recurrent_layers.{layer}.{name}": weight for name, weight in block.items()}
    return weights
