"""Speed of learning: the prefixes are the positions' targets, and curves are read rightly."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch

from recblr.batches import training_windows
from recblr.config import RecBLRConfig
from recblr.data import Sequences, leave_one_out, synthetic_interactions
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR

SEQUENCES = Sequences(np.array([4, 7, 1, 9, 2, 3, 8, 8], np.int32), np.array([0, 4, 4, 5, 8]))


@pytest.fixture(scope="module")
def prefix_training(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("prefix_training")


@pytest.fixture(scope="module")
def learning_speed(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("learning_speed")


def test_every_prefix_is_a_window(prefix_training: ModuleType) -> None:
    windows = prefix_training.prefix_windows(SEQUENCES, None)
    rows = [
        (SEQUENCES.items[start : start + length].tolist(), int(SEQUENCES.items[start + length]))
        for start, length in zip(windows.start, windows.length, strict=True)
    ]
    assert rows == [([4], 7), ([4, 7], 1), ([4, 7, 1], 9), ([3], 8), ([3, 8], 8)]


def test_prefixes_are_cut_to_their_latest_items(prefix_training: ModuleType) -> None:
    windows = prefix_training.prefix_windows(SEQUENCES, 2)
    assert windows.length.tolist() == [1, 2, 2, 1, 2]
    assert windows.start.tolist() == [0, 0, 1, 5, 5]


def test_both_schemes_have_the_same_targets(prefix_training: ModuleType) -> None:
    train = leave_one_out(synthetic_interactions(40, 30, 9, seed=2)).train
    positions, prefixes = training_windows(train, 5), prefix_training.prefix_windows(train, 5)
    assert len(prefixes.start) == positions.length.sum()


def test_a_step_in_parts_is_the_step_of_the_batch(prefix_training: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_training, "_MAX_TOKENS", 3)
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=9, dim=8, dropout=0.0))
    windows = prefix_training.prefix_windows(SEQUENCES, None)
    loss = prefix_training.prefix_step(model, torch.optim.SGD(model.parameters(), lr=0.0), SEQUENCES, windows)
    got = {name: weight.grad for name, weight in model.named_parameters()}
    # Without windows and cuts, a history's positions are its prefixes.
    items, targets = torch.tensor([4, 7, 1, 3, 8]), torch.tensor([7, 1, 9, 8, 8])
    hidden, _ = model(items, torch.tensor([0, 3, 5]))
    expected = chunked_cross_entropy(hidden, model.embedding.weight, targets) / 5
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for (name, _), wanted in zip(
        model.named_parameters(), torch.autograd.grad(expected, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(got[name], wanted, atol=1e-5, rtol=1e-3, msg=name)


def test_training_on_prefixes_learns_and_stops(prefix_training: ModuleType) -> None:
    split = leave_one_out(synthetic_interactions(300, 40, 10, seed=0))
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=int(split.train.items.max()), dim=16))
    run = prefix_training.train_on_prefixes(model, split, 8, seed=0, seconds=1.0, points=4)
    assert 1 <= len(run.curve) <= 4
    assert run.curve[-1]["loss"] < run.curve[0]["loss"]
    assert run.curve[-1]["train_seconds"] == run.train_seconds
    assert run.samples_per_epoch == len(prefix_training.prefix_windows(split.train, 8).start)


def test_the_curve_of_a_run_adds_up(learning_speed: ModuleType) -> None:
    run = {
        "epochs": 2,
        "validation_seconds": 1.0,
        "curve": [
            {"epoch": 1, "loss": 5.0, "validation_ndcg@10": 0.1, "train_seconds": 2.0, "tokens": 100},
            {"epoch": 2, "loss": 4.0, "validation_ndcg@10": 0.3, "train_seconds": 3.0, "tokens": 100},
        ],
    }
    curve = learning_speed.curve_of_positions(run)
    assert learning_speed.reached(curve, 0.2) == {
        "epochs": 2,
        "train_seconds": 5.0,
        "wall_seconds": 6.0,
        "targets_per_second": 40.0,
        "validation_ndcg@10": 0.3,
    }
    assert learning_speed.reached(curve, 0.05)["epochs"] == 1
    assert learning_speed.reached(curve, 0.4) is None


def test_an_epoch_is_timed_for_the_same_targets(learning_speed: ModuleType) -> None:
    train = leave_one_out(synthetic_interactions(40, 30, 9, seed=2)).train
    model = RecBLR(RecBLRConfig(n_items=30, dim=8))
    timed = learning_speed.seconds_per_epoch(model, train, 5, 64, 2, "cpu")
    assert timed["targets"] == training_windows(train, 5).length.sum()
    assert timed["tokens_of_all_prefixes"] > timed["targets"]
    assert timed["ratio"] == timed["seconds"]["one_sample_per_prefix"] / timed["seconds"]["every_position"]
