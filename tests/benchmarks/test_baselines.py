"""SASRec: causal, its two attentions and its two outputs alike."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

ITEMS = torch.tensor([3, 30, 3, 1, 17, 9, 9])
OFFSETS = torch.tensor([0, 5, 7])


@pytest.fixture(scope="module")
def baselines(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("baselines")


def sasrec(baselines: ModuleType, fused_attention: bool) -> Any:
    torch.manual_seed(1)
    config = baselines.SASRecConfig(30, 8, dim=8, dropout=0.0, fused_attention=fused_attention)
    model = baselines.SASRec(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return model


@pytest.mark.parametrize("fused", [False, True])
def test_no_position_sees_later_items_or_other_rows(baselines: ModuleType, fused: bool) -> None:
    model = sasrec(baselines, fused)
    hidden, _ = model(ITEMS, OFFSETS)
    assert hidden.shape == (7, 8)
    changed = ITEMS.clone()
    changed[3] = 2
    other, _ = model(changed, OFFSETS)
    same = torch.tensor([0, 1, 2, 5, 6])
    torch.testing.assert_close(other[same], hidden[same])
    assert (other[3] - hidden[3]).abs().max() > 0.01
    assert (other[4] - hidden[4]).abs().max() > 0.001  # attention reaches it


def test_positions_count(baselines: ModuleType) -> None:
    hidden, _ = sasrec(baselines, False)(ITEMS, OFFSETS)
    assert (hidden[5] - hidden[6]).abs().max() > 0.01  # item 9 twice


def test_fused_attention_computes_the_same(baselines: ModuleType) -> None:
    plain, fused = sasrec(baselines, False), sasrec(baselines, True)
    torch.testing.assert_close(fused(ITEMS, OFFSETS)[0], plain(ITEMS, OFFSETS)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_the_query_is_the_last_position(baselines: ModuleType, fused: bool) -> None:
    model = sasrec(baselines, fused)
    hidden, _ = model(ITEMS, OFFSETS)
    query, _ = model.query(ITEMS, OFFSETS)
    torch.testing.assert_close(query, hidden[[4, 6]], atol=1e-5, rtol=1e-4)
    scores = model.scores(query)
    assert scores.shape == (2, 31)
    assert torch.isneginf(scores[:, 0]).all()
