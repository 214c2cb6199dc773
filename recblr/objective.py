"""What training minimises: next-item cross-entropy over all items or over sampled ones, and its refinements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.errors import ConfigError
from recblr.loss import chunked_cross_entropy, sampled_cross_entropy

LOSSES = ("softmax", "sampled")


@dataclass(frozen=True)
class Objective:
    """Loss of a batch's hidden vectors.

    Attributes:
        loss: "softmax" over all items, or "sampled": over each target and `negatives` random items.
        negatives: M, drawn anew for every batch and shared by its tokens.
        correction: of "sampled", from 0 to 1; see `recblr.loss.sampled_cross_entropy`.
        label_smoothing: probability that is taken from the target and spread over all items.
        item_norm: length to which each item's vector is scaled, so that popular items cannot score by length; 0
            leaves them as they are. As a layer norm follows wherever the model reads an item's vector, nothing else
            changes; `RecBLR.scale_items` gives a model that needs no such option.
    """

    loss: str = "softmax"
    negatives: int = 512
    correction: float = 1.0
    label_smoothing: float = 0.0
    item_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"loss is {self.loss!r}: give one of {', '.join(LOSSES)}")
        if self.negatives < 1:
            raise ConfigError(f"negatives is {self.negatives}: give at least 1")
        if not 0 <= self.correction <= 1:
            raise ConfigError(f"correction is {self.correction}: give a number from 0 to 1")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}: give a probability below 1")
        if not (self.item_norm >= 0 and math.isfinite(self.item_norm)):
            raise ConfigError(f"item_norm is {self.item_norm}: give 0 or a positive number")

    def __call__(self, hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        """The sum over tokens, a float32 scalar.

        Args:
            hidden: [N, D].
            embedding: [V+1, D].
            targets: [N] int64, from 1 to V.
        """
        scale = self.item_norm
        if self.loss == "sampled":
            negatives = torch.randint(1, len(embedding), (self.negatives,), device=targets.device)
            # Looked up together, as each look-up's gradient is as large as the embedding.
            both = _scaled(F.embedding(torch.cat([targets, negatives]), embedding), scale)
            of_targets, of_negatives = both[: len(targets)], both[len(targets) :]
            offset = self.correction * math.log((len(embedding) - 1) / self.negatives)
            total = sampled_cross_entropy(hidden, of_targets, of_negatives, targets, negatives, offset)
            others = of_negatives
        else:
            weight = _scaled(embedding, scale)
            total = chunked_cross_entropy(hidden, weight, targets)
            if not self.label_smoothing:
                return total
            of_targets, others = F.embedding(targets, weight), weight[1:]
        if self.label_smoothing:
            # Of q = (1 - e) one-hot + e uniform, the cross-entropy is -log p(target) + e (s_target - mean of s).
            total = total + self.label_smoothing * (hidden * (of_targets - others.mean(dim=0))).float().sum()
        return total


def _scaled(vectors: Tensor, norm: float) -> Tensor:
    return F.normalize(vectors, dim=-1) * norm if norm else vectors
