"""Checkpoints of the authors' implementation, through to what the runtime answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from recblr.checkpoint import load_checkpoint
from recblr.export.bundle import export_bundle
from recblr.runtime import load


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["bare", "Lightning", "safetensors"])
def test_made_up_checkpoint(authors_state_dict: dict[str, torch.Tensor], kind: str, tmp_path: Path) -> None:
    """50 items of history leave a padding of 14, so new users have a state that is not zero."""
    prefixed = {f"model._orig_mod.{name}": weight for name, weight in authors_state_dict.items()}
    if kind == "safetensors":
        save_file(prefixed, tmp_path / "authors.pth", {"history_length": "50"})
    elif kind == "Lightning":
        hyper_parameters = argparse.Namespace(MAX_ITEM_LIST_LENGTH=50)
        torch.save({"state_dict": prefixed, "hyper_parameters": hyper_parameters}, tmp_path / "authors.pth")
    else:
        torch.save(authors_state_dict, tmp_path / "authors.pth")
    checkpoint = load_checkpoint(tmp_path / "authors.pth", history_length=50 if kind == "bare" else None)
    export_bundle(checkpoint, tmp_path / "bundle")
    history = [3, 40, 3, 1, 17]

    ranking = load(tmp_path / "bundle", threads=1).recommend([history], k=40, exclude_seen=False)[0]

    query, _ = checkpoint.model.query(torch.tensor(history), torch.tensor([0, len(history)]))
    best = checkpoint.model.scores(query)[0].topk(40)
    assert np.load(tmp_path / "bundle" / "initial_state.npy").any()
    assert ranking.items == best.indices.tolist()  # item ids are the embedding's row numbers
    np.testing.assert_allclose(ranking.scores, best.values, atol=1e-4)


@pytest.mark.parametrize("case", ["beauty_like", "ml_like"])
def test_equals_the_reference_implementation(reference_outputs: Path, tmp_path: Path, case: str) -> None:
    settings = json.loads((reference_outputs / f"{case}.json").read_text())
    expected = np.load(reference_outputs / f"{case}.npz")
    checkpoint = load_checkpoint(reference_outputs / f"{case}.pt", history_length=settings["MAX_ITEM_LIST_LENGTH"])
    export_bundle(checkpoint, tmp_path / "bundle")
    histories = [
        row[:length].tolist() for row, length in zip(expected["item_id_list"], expected["item_length"], strict=True)
    ]

    rankings, states = load(tmp_path / "bundle", threads=1).step(None, histories, k=10)

    np.testing.assert_allclose(states[:, -settings["hidden_size"] :], expected["query"], atol=1e-4)
    np.testing.assert_array_equal([ranking.items for ranking in rankings], expected["top10_items"])
    np.testing.assert_allclose([ranking.scores for ranking in rankings], expected["top10_scores"], atol=1e-4)
