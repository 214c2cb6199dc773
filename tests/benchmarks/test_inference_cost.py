"""The cost of an answer: all peers and the engine are asked, and the best items are those of the scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from recblr.data import synthetic_interactions, write_interactions


@pytest.fixture(scope="module")
def inference_cost(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("inference_cost")


def test_the_best_items_of_a_scorer(inference_cost: ModuleType) -> None:
    def scorer(items: Tensor, offsets: Tensor) -> Tensor:
        scores = torch.zeros(len(offsets) - 1, 30)
        scores[torch.arange(len(offsets) - 1), items[offsets[1:] - 1]] = 1.0
        return scores

    assert inference_cost.answer(scorer, [[3, 7], [9]])[:, 0].tolist() == [7, 9]


def test_all_are_asked(inference_cost: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "amazon-beauty.parquet"
    write_interactions(synthetic_interactions(200, 30, 12, seed=1), data)
    written: dict[str, Any] = {}
    monkeypatch.setattr(inference_cost, "write_result", lambda name, result: written.update({name: result}))
    threads = torch.get_num_threads()
    try:
        result = CliRunner().invoke(inference_cost.main, [str(data), "--requests", "1"])
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    one, many = written["quality-inference-cost-amazon-beauty"]["users"]
    assert (one["users"], many["users"]) == (1, 32)
    assert one["ms"].keys() == many["ms"].keys()
    assert {"item-kNN", "SASRec", "GRU4Rec", "RecBLR", "RecBLR, engine"} < one["ms"].keys()
    assert min(*one["ms"].values(), *many["ms"].values()) > 0
