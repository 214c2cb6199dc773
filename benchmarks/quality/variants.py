"""RecBLR with one part left out, for the ablations: each is trained and evaluated like the whole model."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from recblr.array_types import Gates, Inner
from recblr.config import RecBLRConfig
from recblr.model import Block, RecBLR

# sigmoid gives exactly 1 in float32 and in bfloat16, and its derivative is 1e-13.
_OPEN = 30.0


class _Open(nn.Module):
    """In the place of the gates' projection: both gates are 1, whatever comes in."""

    def forward(self, x: Inner) -> Gates:
        """[N, H] -> [N, 2H]."""
        return x.new_full((len(x), 2 * x.shape[1]), _OPEN)


class WithoutGates(RecBLR):
    """A linear recurrent unit with constant decay: alpha = exp(-softplus(Lambda)), beta = sqrt(1 - alpha^2).

    The real-valued form of the LRU (Orvieto et al. 2023), normalised as there; the range in which its decays start,
    the convolution, the output gate and all else are RecBLR's. Its scan is RecBLR's with gates held open, so a measured
    time includes reading them, but not their projection.
    """

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__(config)
        for block in _blocks(self):
            block.recurrent.gates = cast(nn.Linear, _Open())


class WithoutConvolution(RecBLR):
    """x' = SiLU(x) where RecBLR has x' = SiLU(conv(x) + bias); `config.conv_width` becomes 1, so states are smaller."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__(dataclasses.replace(config, conv_width=1))
        for block in _blocks(self):
            inner = config.inner_dim
            _fix(block.recurrent, "conv_weight", torch.ones(inner, 1))
            _fix(block.recurrent, "conv_bias", torch.zeros(inner))


class _RecurrentBlock(Block):
    """Recurrent layer, add & norm."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__(config)
        del self.feed_forward, self.feed_forward_norm

    def _residuals(self, x: Tensor, recurrent_out: Tensor) -> Tensor:
        out: Tensor = self.recurrent_norm(x + self.dropout(recurrent_out))
        return out


class WithoutFeedForward(RecBLR):
    """Blocks of the recurrent layer and its norm only."""

    def __init__(self, config: RecBLRConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(_RecurrentBlock(config) for _ in range(config.layers)).apply(self._initialise)


def _blocks(model: RecBLR) -> list[Block]:
    return cast(list[Block], list(model.blocks))


def _fix(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace a parameter by a constant, which goes to devices with the module but is not in its state_dict."""
    delattr(module, name)
    module.register_buffer(name, value, persistent=False)
