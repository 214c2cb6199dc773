"""The peers of the quality benchmark compute what they are named after."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recblr.data import Sequences

TRAIN = Sequences(np.array([1, 2, 3, 1, 2, 2, 4], np.int32), np.array([0, 3, 5, 7]))  # users {1,2,3}, {1,2}, {2,4}


def test_popularity_counts(quality_module):
    score = quality_module("neighbours").popularity_scorer(TRAIN, 5)
    scores = score(torch.tensor([1, 2]), torch.tensor([0, 1, 2]))
    assert scores.tolist() == [[-math.inf, 2, 3, 1, 1, 0]] * 2


def test_item_knn_sums_cosines_to_other_items(quality_module):
    score = quality_module("neighbours").item_knn_scorer(TRAIN, 5)
    scores = score(torch.tensor([1, 1, 4, 5]), torch.tensor([0, 1, 3, 4]))
    cosine = {(1, 2): 2 / math.sqrt(6), (1, 3): 1 / math.sqrt(2), (2, 4): 1 / math.sqrt(3)}
    expected = [
        [-math.inf, 0, cosine[1, 2], cosine[1, 3], 0, 0],
        [-math.inf, 0, cosine[1, 2] + cosine[2, 4], cosine[1, 3], 0, 0],
        [-math.inf, 0, 0, 0, 0, 0],
    ]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.fixture
def gru(quality_module):
    torch.manual_seed(0)
    module = quality_module("gru4rec")
    return module.GRU4Rec(module.GRU4RecConfig(n_items=20, dim=8, width=12, dropout=0.0)).eval()


def test_gru4rec_is_causal_and_rows_do_not_meet(gru):
    items, offsets = torch.randint(1, 21, (12,)), torch.tensor([0, 3, 10, 12])
    hidden, _ = gru(items, offsets)
    changed = items.clone()
    changed[5] = items[5] % 20 + 1
    other, _ = gru(changed, offsets)
    same = (hidden == other).all(dim=1)
    assert same[:5].all()
    assert not same[5:10].any()
    assert same[10:].all()


def test_gru4rec_alone_and_in_a_batch(gru):
    items, offsets = torch.randint(1, 21, (12,)), torch.tensor([0, 3, 10, 12])
    hidden, _ = gru(items, offsets)
    query, _ = gru.query(items, offsets)
    torch.testing.assert_close(query, hidden[offsets[1:] - 1])
    alone, _ = gru(items[3:10], torch.tensor([0, 7]))
    torch.testing.assert_close(alone, hidden[3:10])
