"""RecBLR on ragged batches.

Equations: RecBLR (arXiv 2406.12580), section 4; where the authors' code differs from the paper, the code is followed.
Shapes are named in `recblr.array_types`.
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recblr import ops
from recblr.array_types import ConvTail, Hidden, Items, Offsets, Queries, Scores, States, Tokens
from recblr.config import RecBLRConfig
from recblr.memory import require_memory

LAYER_NORM_EPSILON = 1e-12
# exp(-softplus(Lambda)) starts between these, over the channels.
DECAY_RANGE = (0.9, 0.999)


class Dropout(nn.Dropout):
    """`nn.Dropout` by `recblr.ops.dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        """In training, some elements become 0 and the others larger."""
        return ops.dropout(x, self.p) if self.training and self.p > 0 else x


class GatedRecurrentLayer(nn.Module):
    """Projection, causal convolution, gated linear recurrence, output gate, projection."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__()
        dim, inner = config.dim, config.inner_dim
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(inner, config.conv_width))
        self.conv_bias = nn.Parameter(torch.empty(inner))
        self.gates = nn.Linear(inner, 2 * inner)
        self.decay = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise what the model does not: the convolution and the decay."""
        bound = self.conv_weight.shape[1] ** -0.5  # PyTorch's default for a depthwise Conv1d
        nn.init.uniform_(self.conv_weight, -bound, bound)
        nn.init.uniform_(self.conv_bias, -bound, bound)
        low, high = (math.log(math.expm1(-math.log(a))) for a in DECAY_RANGE)
        with torch.no_grad():
            self.decay.copy_(torch.linspace(low, high, len(self.decay)))

    def forward(self, tokens: Tokens, offsets: Offsets, tail: ConvTail, h0: Hidden) -> tuple[Tokens, ConvTail, Hidden]:
        """Every position: [N, D] -> [N, D], with the new tail [B, K-1, H] and state [B, H]."""
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        x, tail = ops.causal_conv1d(x, self.conv_weight, self.conv_bias, offsets, tail)
        y, h = ops.gated_scan(x, self.gates(x), z, self.decay, offsets, h0)
        return self.out_proj(y), tail, h

    def forward_last(
        self, tokens: Tokens, last_tokens: Queries, offsets: Offsets, tail: ConvTail, h0: Hidden
    ) -> tuple[Queries, ConvTail, Hidden]:
        """As `forward`, with the output at each row's last position only: [B, D].

        Args:
            last_tokens: [B, D], `tokens` at each row's last position.
        """
        into_x, into_z = self.in_proj.weight.chunk(2)
        x, tail = ops.causal_conv1d(F.linear(tokens, into_x), self.conv_weight, self.conv_bias, offsets, tail)
        z = F.linear(last_tokens, into_z)
        y, h = ops.gated_scan(x, self.gates(x), z, self.decay, offsets, h0, last_only=True)
        return self.out_proj(y), tail, h


class FeedForward(nn.Module):
    """W2 SiLU(W1 x), inner width 4D."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, 4 * config.dim)
        self.down = nn.Linear(4 * config.dim, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        out: Tensor = self.down(self.dropout(F.silu(self.up(x))))
        return out


class Block(nn.Module):
    """Recurrent layer, add & norm, feed-forward, add & norm."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__()
        self.recurrent = GatedRecurrentLayer(config)
        self.recurrent_norm = nn.LayerNorm(config.dim, LAYER_NORM_EPSILON)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.dim, LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)

    def _residuals(self, x: Tensor, recurrent_out: Tensor) -> Tensor:
        x = self.recurrent_norm(x + self.dropout(recurrent_out))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return out

    def forward(self, tokens: Tokens, offsets: Offsets, tail: ConvTail, h0: Hidden) -> tuple[Tokens, ConvTail, Hidden]:
        """Every position: [N, D] -> [N, D]."""
        out, tail, h = self.recurrent(tokens, offsets, tail, h0)
        return self._residuals(tokens, out), tail, h

    def forward_last(
        self, tokens: Tokens, last_tokens: Queries, offsets: Offsets, tail: ConvTail, h0: Hidden
    ) -> tuple[Queries, ConvTail, Hidden]:
        """Each row's last position only: [B, D]."""
        out, tail, h = self.recurrent.forward_last(tokens, last_tokens, offsets, tail, h0)
        return self._residuals(last_tokens, out), tail, h


class RecBLR(nn.Module):
    """The whole model: items of many users in, query vectors, scores and states out."""

    def __init__(self, config: RecBLRConfig) -> None:
        """Allocate and initialise.

        Raises:
            ConfigError: this machine has not the memory.
        """
        super().__init__()
        size = config.n_parameters * torch.finfo(torch.get_default_dtype()).bits // 8
        require_memory(size, "the model", "choose a smaller dim, expansion or conv-width, or fewer layers or items")
        self.config = config
        self.embedding = nn.Embedding(config.n_items + 1, config.dim)
        self.norm = nn.LayerNorm(config.dim, LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        h0 = torch.zeros(config.layers, config.inner_dim)
        if config.initial_state:
            self.initial_h: Tensor = nn.Parameter(h0)
        else:
            self.register_buffer("initial_h", h0, persistent=False)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def initial_state(self) -> Tensor:
        """The state [S] of a user without history."""
        tails = self.initial_h.new_zeros(self.config.layers, (self.config.conv_width - 1) * self.config.inner_dim)
        query = self.initial_h.new_zeros(self.config.dim)
        return torch.cat([torch.cat([tails, self.initial_h], dim=1).flatten(), query])

    def forward(self, items: Items, offsets: Offsets, state: States | None = None) -> tuple[Tokens, States]:
        """The vector at every position, for training.

        Args:
            items: [N] integers from 1 to V.
            offsets: [B+1] integers.
            state: [B, S] to go on from; None for new users.

        Returns:
            [N, D] - its product with the embedding scores the next item - and the new state [B, S].
        """
        x, layer_states, query = self._enter(items, offsets, state)
        new_states = []
        for block, (tail, h) in zip(self.blocks, layer_states, strict=True):
            x, tail, h = block(x, offsets, tail, h)
            new_states += _layer_state(tail, h)
        query = self._last(x, offsets, query)
        return x, torch.cat([*new_states, query], dim=1)

    def query(self, items: Items, offsets: Offsets, state: States | None = None) -> tuple[Queries, States]:
        """The vector at each row's last position, for serving: the last layer does only what that needs.

        Args and state: as in `forward`. A row without items keeps the query vector of its state.

        Returns:
            [B, D], and the new state [B, S].
        """
        x, layer_states, query = self._enter(items, offsets, state)
        new_states = []
        for block, (tail, h) in zip(self.blocks[:-1], layer_states[:-1], strict=True):
            x, tail, h = block(x, offsets, tail, h)
            new_states += _layer_state(tail, h)
        tail, h = layer_states[-1]
        last_x = self._last(x, offsets, torch.zeros_like(query))
        last_x, tail, h = self.blocks[-1].forward_last(x, last_x, offsets, tail, h)  # type: ignore[operator]
        query = torch.where(offsets.diff()[:, None] > 0, last_x, query)
        return query, torch.cat([*new_states, *_layer_state(tail, h), query], dim=1)

    def scores(self, queries: Queries) -> Scores:
        """Every item's score [B, V+1]; item 0 gets -inf."""
        never = torch.zeros(self.config.n_items + 1, dtype=queries.dtype, device=queries.device)
        never[0] = -torch.inf
        return F.linear(queries, self.embedding.weight, never)

    @torch.no_grad()
    def scale_items(self, norm: float) -> Self:
        """Scale each item's vector to this length, in place; scores become those of vectors so scaled.

        A layer norm follows wherever the model reads an item, so query vectors and states stay what they are.
        """
        self.embedding.weight.copy_(F.normalize(self.embedding.weight, dim=1) * norm)
        return self

    def _enter(
        self, items: Items, offsets: Offsets, state: States | None
    ) -> tuple[Tokens, list[tuple[ConvTail, Hidden]], Queries]:
        """Embed the items; take the state apart: per layer (tail [B, K-1, H], h [B, H]), and the query [B, D]."""
        config = self.config
        n_rows = offsets.shape[0] - 1
        if state is None:
            state = self.initial_state().expand(n_rows, -1)
        n_past, inner = config.conv_width - 1, config.inner_dim
        sizes = [n_past * inner, inner] if n_past else [inner]  # see _layer_state
        *parts, query = torch.split(state, sizes * config.layers + [config.dim], dim=1)
        hidden = parts[len(sizes) - 1 :: len(sizes)]
        tails = parts[::2] if n_past else [h[:, :0] for h in hidden]
        layer_states = [(tail.reshape(n_rows, n_past, inner), h) for tail, h in zip(tails, hidden, strict=True)]
        return self.norm(self.dropout(self.embedding(items))), layer_states, query

    @staticmethod
    def _last(x: Tokens, offsets: Offsets, otherwise: Queries) -> Queries:
        """x at each row's last position; `otherwise` [B, D] for rows without items."""
        has_items = offsets.diff() > 0
        # One row more, so that there is something to index where no row has any items.
        extended = torch.cat([x, x.new_zeros(1, x.shape[1])])
        index = torch.where(has_items, offsets[1:].long() - 1, x.shape[0])
        return torch.where(has_items[:, None], extended.index_select(0, index), otherwise.to(x.dtype))


def _layer_state(tail: ConvTail, h: Hidden) -> list[Tensor]:
    """A layer's parts of the state.

    The tail of a convolution of one tap is left out: in an exported graph it would be an empty tensor, which not every
    engine takes.
    """
    return [tail.flatten(1), h] if tail.shape[1] else [h]
