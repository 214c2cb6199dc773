"""The model's settings."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from recblr.errors import ConfigError

MOST_LAYERS = 1024
# Protocol buffers, which ONNX files are, end at 2 GiB; the graph itself takes less than this margin.
LARGEST_ONNX_FILE = 2**31 - 1 - 2**20
_MOST_ITEMS = 2**31 - 2  # indices are int32
LARGEST_TENSOR = 2**31 - 1  # numbers; TensorRT counts them in int32
_LARGEST_SIZE = 2**31 - 1  # the kernels count in int32


@dataclass(frozen=True)
class RecBLRConfig:
    """Settings of a RecBLR model; the defaults are the paper's.

    Attributes:
        n_items: V, the number of items in the catalogue (the embedding has one more row, for index 0).
        dim: D, the model width.
        layers: L.
        expansion: H / D.
        conv_width: K, taps of the causal convolution, the current item included.
        dropout: probability, in training only.
        initial_state: learn each layer's state before the first item; without it that state is zero.
    """

    n_items: int
    dim: int = 64
    layers: int = 2
    expansion: float = 2.0
    conv_width: int = 4
    dropout: float = 0.2
    initial_state: bool = False

    def __post_init__(self) -> None:
        for name in ("n_items", "dim", "layers", "conv_width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST_SIZE:
                raise ConfigError(f"{name} is {value!r:.60}: give a whole number from 1 to {_LARGEST_SIZE}")
        for name in ("expansion", "dropout"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ConfigError(f"{name} is {value!r:.60}: give a number")
        if self.layers > MOST_LAYERS:
            raise ConfigError(f"layers is {self.layers}: give at most {MOST_LAYERS}")
        if not isinstance(self.initial_state, bool):
            raise ConfigError(f"initial_state is {self.initial_state!r}: give true or false")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout!r}: give a probability from 0 up to, not including, 1")
        if not 1 <= self.expansion * self.dim < math.inf:
            raise ConfigError(f"expansion is {self.expansion!r}: expansion * dim must be at least 1, and finite")

    @property
    def inner_dim(self) -> int:
        """H, the width of the recurrence."""
        return int(self.expansion * self.dim)

    @property
    def state_size(self) -> int:
        """S, floats per user: per layer K-1 past inputs of the convolution and h, then the query vector."""
        return self.layers * self.conv_width * self.inner_dim + self.dim

    @property
    def layer_parameters(self) -> int:
        """Numbers of all weights but the items' embedding [V+1, D]."""
        dim, inner = self.dim, self.inner_dim
        recurrent = 3 * inner * dim + inner * (self.conv_width + 2) + 2 * inner * (inner + 1) + 2 * dim
        feed_forward = 8 * dim * dim + 5 * dim + 2 * dim
        return 2 * dim + self.layers * (recurrent + feed_forward + inner * self.initial_state)

    @property
    def export_obstacle(self) -> str:
        """Why a model of these settings cannot be exported, and what to change; "" if it can."""
        if self.n_items > _MOST_ITEMS:
            return (
                f"a model of {self.n_items:,} items cannot be exported, item indices end at {_MOST_ITEMS:,}: train "
                "with a larger --min-item-interactions"
            )
        if 4 * self.layer_parameters > LARGEST_ONNX_FILE:
            return (
                f"a model whose layers have {4 * self.layer_parameters / 2**30:.1f} GiB of weights cannot be exported, "
                "an ONNX file holds 2: train with a smaller dim, expansion or number of layers"
            )
        return ""

    @property
    def engine_obstacle(self) -> str:
        """Why TensorRT builds no engine for a model of these settings, though it can be exported; "" if it does."""
        size = (self.n_items + 1) * self.dim
        if size <= LARGEST_TENSOR:
            return ""
        return (
            f"TensorRT builds no engine for {self.n_items:,} items x {self.dim}, its tensors hold {LARGEST_TENSOR:,} "
            "numbers: train with a smaller dim or a larger --min-item-interactions, or serve without TensorRT"
        )

    @property
    def n_parameters(self) -> int:
        """Numbers of all weights."""
        return (self.n_items + 1) * self.dim + self.layer_parameters

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON-ready dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: an unknown name, or a value out of range.
        """
        unknown = settings.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ConfigError(f"unknown model settings {sorted(unknown)}: the file is of a newer recblr; upgrade")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigError(f"model settings are incomplete: {error}") from error
