"""The variants that are timed compute the same."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import click
import numpy as np
import pytest
import torch

from recblr.config import RecBLRConfig
from recblr.model import RecBLR


@pytest.fixture(scope="module")
def scan_variants(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("scan_variants")


def test_all_variants_agree(scan_variants: ModuleType) -> None:
    torch.manual_seed(0)
    batch, n_items, _ = scan_variants.sample_batch(None, 4, np.random.default_rng(0))
    model = RecBLR(RecBLRConfig(n_items=n_items, dim=8, dropout=0.0))
    variants = scan_variants.encoders(model, batch)
    assert {"serial", "sequence_padding", "embedding_padding", "ragged_reference"} <= variants.keys()
    for encode in variants.values():
        assert encode().shape == (len(batch.items), 8)
    assert scan_variants.largest_difference(variants) < 1e-4


def test_a_wrong_variant_is_refused(scan_variants: ModuleType) -> None:
    variants = {"ragged_reference": lambda: torch.zeros(2, 3), "serial": lambda: torch.ones(2, 3)}
    with pytest.raises(click.ClickException, match="serial differs from the reference by 1"):
        scan_variants.largest_difference(variants)


def test_a_step_changes_the_weights_of_every_part(scan_variants: ModuleType) -> None:
    torch.manual_seed(0)
    batch, n_items, _ = scan_variants.sample_batch(None, 2, np.random.default_rng(0))
    model = RecBLR(RecBLRConfig(n_items=n_items, dim=8, dropout=0.0))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    encode = scan_variants.encoders(model, batch)["sequence_padding"]
    scan_variants.step(model, encode, batch.targets, torch.optim.Adam(model.parameters()))
    unchanged = [name for name, weight in model.state_dict().items() if torch.equal(weight, before[name])]
    assert unchanged == []
