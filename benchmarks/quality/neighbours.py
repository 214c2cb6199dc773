"""Recommenders that only count: popularity and item-kNN."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recblr.data import Sequences
from recblr.evaluation import Scorer


def popularity_scorer(train: Sequences, n_items: int) -> Scorer:
    """Every item's score is how often the training part has it."""
    counts = torch.from_numpy(np.bincount(train.items, minlength=n_items + 1)).float()
    counts[0] = -torch.inf

    def score(items: Tensor, offsets: Tensor) -> Tensor:
        return counts.repeat(len(offsets) - 1, 1)

    return score


def item_knn_scorer(train: Sequences, n_items: int) -> Scorer:
    """An item's score is the sum over the history's other items of their cosine similarity to it.

    With X [U, V+1] of which user has which item, the similarity of items i and j is (X^T X)_ij / sqrt(n_i n_j) (Sarwar
    et al. 2001); it is never held as a matrix: X^T (X h) is two sparse products.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    pairs = np.unique(np.stack([users, train.items]), axis=1)
    n = torch.from_numpy(np.bincount(pairs[1], minlength=n_items + 1)).float()
    scale = n.clamp(min=1).rsqrt()
    values = torch.ones(pairs.shape[1])
    of_users = torch.sparse_coo_tensor(torch.from_numpy(pairs), values, (len(train), n_items + 1)).to_sparse_csr()
    of_items = torch.sparse_coo_tensor(torch.from_numpy(pairs[::-1].copy()), values, (n_items + 1, len(train)))
    of_items = of_items.to_sparse_csr()

    def score(items: Tensor, offsets: Tensor) -> Tensor:
        rows = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
        history = torch.zeros(n_items + 1, len(offsets) - 1)
        history[items, rows] = 1.0
        scores = scale[:, None] * (of_items @ (of_users @ (scale[:, None] * history)))
        scores -= history * (n > 0)[:, None]  # an item's similarity to itself
        scores[0] = -torch.inf
        return scores.T.contiguous()

    return score
