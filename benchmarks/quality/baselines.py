"""SASRec (Kang & McAuley 2018) in plain PyTorch, with the methods of `recblr.model.RecBLR` that training needs.

As RecBole builds it, which is what RecBLR's paper compares with: learned positions, blocks with the norms after the
residuals, two heads, GELU feed-forward of inner width 4D, dropout on the attention weights, tied item vectors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from padded_model import pad_rows
from torch import Tensor, nn

_NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class SASRecConfig:
    """Settings.

    Attributes:
        n_items: V.
        max_history: T, positions that have a vector; no row may be longer.
        fused_attention: by PyTorch's fused kernels, which never hold the T x T weights, and not step by step; without
            dropout on the weights, with which a CPU has no fused kernel.
    """

    n_items: int
    max_history: int
    dim: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    fused_attention: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


class _Attention(nn.Module):
    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.dim, config.dim)
        self.key_value = nn.Linear(config.dim, 2 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor, at: Tensor, last: Tensor | None) -> Tensor:
        """Attention of each position to itself and earlier ones: [B, T, D] -> [B, T, D].

        Args:
            at: x; or [B, 1, D], x at each row's last position, with
            last: its index, int64 [B].
        """
        heads = self.config.heads
        k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in self.key_value(x).chunk(2, dim=2))
        q = self.query(at).unflatten(2, (heads, -1)).transpose(1, 2)
        positions = torch.arange(x.shape[1], device=x.device)
        asking = positions if last is None else last[:, None]
        if self.config.fused_attention and last is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            later = (positions > asking[..., None]).unsqueeze(-3)  # [1, T, T], or [B, 1, 1, T]
            weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).masked_fill(later, -torch.inf).softmax(dim=3)
            y = F.dropout(weights, self.config.dropout, self.training) @ v
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out


class _Block(nn.Module):
    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.attention_norm = nn.LayerNorm(config.dim, _NORM_EPSILON)
        self.up = nn.Linear(config.dim, 4 * config.dim)
        self.down = nn.Linear(4 * config.dim, config.dim)
        self.feed_forward_norm = nn.LayerNorm(config.dim, _NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, at: Tensor, last: Tensor | None = None) -> Tensor:
        at = self.attention_norm(at + self.dropout(self.attention(x, at, last)))
        out: Tensor = self.feed_forward_norm(at + self.dropout(self.down(F.gelu(self.up(at)))))
        return out


class SASRec(nn.Module):
    """Ragged in and out, as RecBLR; between, rows are padded at their end to the longest."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_items + 1, config.dim)
        self.positions = nn.Embedding(config.max_history, config.dim)
        self.norm = nn.LayerNorm(config.dim, _NORM_EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, None]:
        """The vector at every position, [N] -> [N, D]; a SASRec has no state."""
        x, real = self._enter(items, offsets)
        for block in self.blocks:
            x = block(x, x)
        return x[real], None

    def query(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, None]:
        """The vector at each row's last position, [B, D]; the last layer does only what that needs. No empty rows."""
        x, _ = self._enter(items, offsets)
        for block in self.blocks[:-1]:
            x = block(x, x)
        last = offsets.diff() - 1
        at = x[torch.arange(len(x), device=x.device), last][:, None]
        return self.blocks[-1](x, at, last)[:, 0], None

    def scores(self, queries: Tensor) -> Tensor:
        """Every item's score, [B, D] -> [B, V+1]; item 0 gets -inf."""
        scores = queries @ self.embedding.weight.T
        scores[:, 0] = -torch.inf
        return scores

    def _enter(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Items' and positions' vectors [B, T, D], and which are real [B, T]."""
        rows = pad_rows(items, offsets, int(offsets.diff().max()))
        x = self.embedding(rows) + self.positions.weight[: rows.shape[1]]
        return self.dropout(self.norm(x)), rows > 0
