"""The benchmarks' baseline: it computes what the authors' implementation computes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from recblr.authors import import_state_dict

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "authors_model.py"


@pytest.fixture(scope="module")
def baseline() -> ModuleType:
    """benchmarks/authors_model.py; scripts there are no package."""
    spec = importlib.util.spec_from_file_location("authors_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("length", [1, 2, 16, 256])
def test_the_parallel_scan_equals_a_loop(baseline: ModuleType, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, 3, generator=generator)
    b = torch.randn(2, length, 3, generator=generator)
    h, expected = torch.zeros(2, 3), []
    for t in range(length):
        h = a[:, t] * h + b[:, t]
        expected.append(h)
    torch.testing.assert_close(baseline.parallel_scan(a, b), torch.stack(expected, 1))


@torch.inference_mode()
@pytest.mark.parametrize("history_length", [50, 64])
def test_equals_recblrs_model_of_its_weights(baseline: ModuleType, history_length: int) -> None:
    """Padded to 64: by 14 zeros, which change the state before the first item, and by none."""
    torch.manual_seed(5)
    authors = baseline.AuthorsModel(40, history_length, dim=8).eval()
    for weight in authors.parameters():
        weight.add_(0.3 * torch.randn(weight.shape))
    model = import_state_dict(authors.state_dict(), history_length)
    histories = [[3, 40, 3, 1, 17], [9], list(range(1, 41)) * 2]  # the last one is cut
    query = authors.query(*authors.pad(histories))
    kept = [history[-history_length:] for history in histories]
    offsets = torch.tensor([0, *map(len, kept)]).cumsum(0)
    expected, _ = model.query(torch.tensor([item for history in kept for item in history]), offsets)
    torch.testing.assert_close(query, expected, atol=1e-4, rtol=1e-4)
    assert query.abs().max() > 0.1
    scores = authors.scores(query)
    assert scores.shape == (3, 41)
    torch.testing.assert_close(scores[:, 1:], model.scores(expected)[:, 1:], atol=1e-3, rtol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("case", ["beauty_like", "ml_like"])
def test_equals_the_reference_implementation(baseline: ModuleType, reference_outputs: Path, case: str) -> None:
    settings = json.loads((reference_outputs / f"{case}.json").read_text())
    outputs = np.load(reference_outputs / f"{case}.npz")
    model = baseline.AuthorsModel(
        settings["n_items"] - 1,  # theirs counts the padding
        settings["MAX_ITEM_LIST_LENGTH"],
        settings["hidden_size"],
        settings["num_layers"],
        settings["expand"],
        settings["d_conv"],
    ).eval()
    model.load_state_dict(torch.load(reference_outputs / f"{case}.pt", weights_only=True))
    query = model.query(torch.tensor(outputs["item_id_list"]), torch.tensor(outputs["item_length"]))
    best = model.scores(query)[:, 1:].topk(10)
    np.testing.assert_allclose(query, outputs["query"], atol=1e-4)
    np.testing.assert_array_equal(best.indices + 1, outputs["top10_items"])
    np.testing.assert_allclose(best.values, outputs["top10_scores"], atol=1e-4)
