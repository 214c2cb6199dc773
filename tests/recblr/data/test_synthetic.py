"""The generator: repeatable, of the size asked for, and learnable from sequences but not from popularity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.data import (
    Columns,
    DataIdentity,
    Interactions,
    leave_one_out,
    load_interactions,
    synthetic_interactions,
    write_interactions,
)
from recblr.errors import ConfigError


def test_sizes_and_invariants() -> None:
    data = synthetic_interactions(2000, 300, 20, seed=3)
    assert data.n_users == 2000
    assert data.n_items == 300
    assert data.n_interactions / 2000 == pytest.approx(20, rel=0.1)
    assert data.lengths.min() == 5
    assert np.unique(data.items).tolist() == list(range(1, 301))
    assert len(set(data.item_ids.tolist())) == 300
    steps = np.diff(data.timestamps)
    within_user = np.ones(len(steps), bool)
    within_user[data.offsets[1:-1] - 1] = False
    assert (steps[within_user] >= 0).all()
    assert 0.05 < np.mean(steps[within_user] == 0) < 0.15  # ties are part of it
    kinds = [str(array.dtype) for array in (data.items, data.offsets, data.timestamps)]
    assert kinds == ["int32", "int64", "int64"]


def test_seed_repeats_and_changes() -> None:
    first, again, other = (synthetic_interactions(100, 50, 8, seed=seed) for seed in (1, 1, 2))
    assert DataIdentity(first).fingerprint == DataIdentity(again).fingerprint
    assert (first.timestamps == again.timestamps).all()
    assert DataIdentity(first).fingerprint != DataIdentity(other).fingerprint


@pytest.mark.parametrize("string_ids", [False, True])
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".inter"])
def test_written_file_reads_back_equal(suffix: str, string_ids: bool, tmp_path: Path) -> None:
    data = synthetic_interactions(300, 80, 9, seed=5, string_ids=string_ids)
    path = tmp_path / f"data{suffix}"
    write_interactions(data, path, Columns("u", "i", "t"))
    read, report = load_interactions(path, Columns("u", "i", "t"), 0, 0)
    assert DataIdentity(read).fingerprint == DataIdentity(data).fingerprint
    assert (read.timestamps == data.timestamps).all()
    assert isinstance(read.item_ids.tolist()[0], str if string_ids else int)
    assert report.rounds == 0


def hit_rate(ranked: np.ndarray, targets: np.ndarray) -> float:
    return float((ranked == targets[:, None]).any(axis=1).mean())


def test_last_item_tells_more_than_popularity() -> None:
    data = synthetic_interactions(3000, 400, 15, seed=0)
    split = leave_one_out(data)
    train = split.train
    follows = np.ones(len(train.items) - 1, bool)
    follows[train.offsets[1:-1] - 1] = False
    transitions = np.zeros((401, 401))
    np.add.at(transitions, (train.items[:-1][follows], train.items[1:][follows]), 1)
    last = split.test.histories.items[split.test.histories.offsets[1:] - 1]
    by_last_item = np.argsort(-transitions[last], axis=1, kind="stable")[:, :10]
    popular = np.argsort(-np.bincount(train.items, minlength=401), kind="stable")[:10]
    sequential = hit_rate(by_last_item, split.test.targets)
    assert sequential > 0.7
    assert sequential > 5 * hit_rate(popular[None], split.test.targets)


def test_smallest_sizes() -> None:
    data = synthetic_interactions(1, 1, 1, min_length=1)
    assert isinstance(data, Interactions)
    assert data.items.tolist() == [1] * data.n_interactions
    assert data.n_interactions >= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_users": 0}, "n_users 0"),
        ({"n_items": 0}, "n_items 0"),
        ({"branching": 0}, "branching 0"),
        ({"mean_length": 4}, "mean_length 4 is below min_length 5"),
        ({"follow": 1.5}, "follow 1.5"),
    ],
)
def test_settings_out_of_range(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthetic_interactions(**{"n_users": 10, "n_items": 10, "mean_length": 8, **changed})
