"""The computation of the RecBLR authors' implementation in plain PyTorch, as the baseline of benchmarks.

Written anew from the paper and from what is known of that implementation; its names of weights, so that its checkpoints
load. It does what training needs, for serving, too: histories of a fixed length, padded to a power of two for the scan,
every position through every layer, one operation after another.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NORM_EPSILON = 1e-12
_SQRT_EPSILON = 1e-8


def parallel_scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t with h_{-1} = 0, by a work-efficient parallel scan: 2 log2 P rounds of tensor operations.

    Args:
        a, b: [B, P, H], P a power of two.

    Returns:
        [B, P, H]
    """
    length = a.shape[1]
    if length == 1:
        return b
    even_a, odd_a, even_b, odd_b = a[:, ::2], a[:, 1::2], b[:, ::2], b[:, 1::2]
    odd_h = parallel_scan(odd_a * even_a, torch.addcmul(odd_b, odd_a, even_b))
    h = torch.empty_like(b)
    h[:, 1::2] = odd_h
    h[:, 0] = b[:, 0]
    torch.addcmul(even_b[:, 1:], even_a[:, 1:], odd_h[:, :-1], out=h[:, 2::2])
    return h


class _GatedRecurrentLayer(nn.Module):
    def __init__(self, dim: int, inner: int, conv_width: int) -> None:
        super().__init__()
        self.input = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv_width, groups=inner)
        self.gates = nn.Linear(inner, 2 * inner)
        self.output = nn.Linear(inner, dim, bias=False)
        self.Lambda = nn.Parameter(torch.linspace(-2.2, -6.9, inner))  # forgets 0.1 to 0.001 per item at most

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]"""
        length = hidden.shape[1]
        x, z = self.input(hidden).chunk(2, dim=-1)
        padded = 1 << (length - 1).bit_length()
        # The padding is before the first item, and the convolution is causal: zeros for its window as well.
        window = self.conv1d.kernel_size[0] - 1
        x = F.pad(x.transpose(1, 2), (padded - length + window, 0))
        x = F.silu(self.conv1d(x)).transpose(1, 2).contiguous()
        r, i = self.gates(x).chunk(2, dim=-1)
        a = torch.exp(-F.softplus(self.Lambda) * torch.sigmoid(r))
        b = torch.sqrt(1 - a**2 + _SQRT_EPSILON) * torch.sigmoid(i) * x
        h = parallel_scan(a, b)[:, padded - length :]
        output: Tensor = self.output(F.silu(z) * h)
        return output


class _FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, 4 * dim)
        self.w_2 = nn.Linear(4 * dim, dim)
        self.layer_norm = nn.LayerNorm(dim, eps=_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer_norm(self.w_2(F.silu(self.w_1(x))) + x)
        return output


class _Block(nn.Module):
    def __init__(self, dim: int, inner: int, conv_width: int) -> None:
        super().__init__()
        self.behavior_modeling = _GatedRecurrentLayer(dim, inner, conv_width)
        self.layer_norm = nn.LayerNorm(dim, eps=_NORM_EPSILON)
        self.ffn = _FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.ffn(self.layer_norm(self.behavior_modeling(x) + x))
        return output


class AuthorsModel(nn.Module):
    """RecBLR as the authors compute it, for inference: no dropout.

    Args:
        n_items: V; item 0 is the padding.
        history_length: their MAX_ITEM_LIST_LENGTH, the length to which every history is cut or padded.
    """

    def __init__(
        self,
        n_items: int,
        history_length: int,
        dim: int = 64,
        layers: int = 2,
        expansion: float = 2,
        conv_width: int = 4,
    ) -> None:
        super().__init__()
        self.history_length = history_length
        self.item_embedding = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.layer_norm = nn.LayerNorm(dim, eps=_NORM_EPSILON)
        self.recurrent_layers = nn.ModuleList(_Block(dim, int(expansion * dim), conv_width) for _ in range(layers))

    def pad(self, histories: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Histories of any length above 0 as int64 [B, T], the last T items of each, zeros after; and lengths [B]."""
        kept = [history[-self.history_length :] for history in histories]
        items = torch.tensor([history + [0] * (self.history_length - len(history)) for history in kept])
        return items, torch.tensor([len(history) for history in kept])

    def query(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The user vectors [B, D], the last layer's outputs at each row's last item.

        Args:
            items: int [B, T], zeros after the last item of a row.
            lengths: int [B], at least 1.
        """
        x = self.layer_norm(self.item_embedding(items))
        for block in self.recurrent_layers:
            x = block(x)
        vectors: Tensor = x[torch.arange(len(x)), lengths.long() - 1]
        return vectors

    def scores(self, query: Tensor) -> Tensor:
        """[B, V + 1] of all items; column 0 is the padding's."""
        return query @ self.item_embedding.weight.T
