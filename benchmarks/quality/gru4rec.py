"""GRU4Rec (Hidasi et al. 2016) in plain PyTorch, with the methods of `recblr.model.RecBLR` that training needs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence


@dataclass(frozen=True)
class GRU4RecConfig:
    """Settings; as in RecBole, a dense layer leads from the GRU's width back to D."""

    n_items: int
    dim: int = 64
    width: int = 128
    layers: int = 1
    dropout: float = 0.3

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


class GRU4Rec(nn.Module):
    """Ragged in and out, as RecBLR."""

    def __init__(self, config: GRU4RecConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_items + 1, config.dim)
        nn.init.xavier_normal_(self.embedding.weight)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(config.dim, config.width, config.layers)
        self.out = nn.Linear(config.width, config.dim)

    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, None]:
        """The vector at every position, [N] -> [N, D]."""
        packed, places = self._pack(items, offsets)
        y, _ = self.gru(packed)
        hidden = torch.empty_like(y.data)
        hidden[places] = y.data
        return self.out(hidden), None

    def query(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, None]:
        """The vector at each row's last position, [B, D]. No empty rows."""
        packed, _ = self._pack(items, offsets)
        _, h = self.gru(packed)
        return self.out(h[-1]), None

    def scores(self, queries: Tensor) -> Tensor:
        """Every item's score, [B, D] -> [B, V+1]; item 0 gets -inf."""
        scores = queries @ self.embedding.weight.T
        scores[:, 0] = -torch.inf
        return scores

    def _pack(self, items: Tensor, offsets: Tensor) -> tuple[PackedSequence, Tensor]:
        """The embedded rows as PyTorch's GRU takes them, and where in the flat batch each of their vectors belongs."""
        lengths = offsets.diff().tolist()
        positions = torch.split(torch.arange(len(items), device=items.device), lengths)
        places = pack_sequence(list(positions), enforce_sorted=False)
        x = self.dropout(self.embedding(items))[places.data]
        return PackedSequence(x, places.batch_sizes, places.sorted_indices, places.unsorted_indices), places.data
