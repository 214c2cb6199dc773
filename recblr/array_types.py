"""The names and shapes of every array that passes between modules, once.

| letter | counts |
|---|---|
| B | rows: users in a batch |
| N | tokens: items of all rows together |
| V | items in the catalogue; their indices are 1..V, and 0 is never recommended |
| D | model width |
| H | inner width: int(expansion * D) |
| K | width of the causal convolution |
| L | layers |
| S | state size: L * K * H + D |
| M | exclusions: pairs of (row, item) |
| k | results per row |
| n | results of one row, k or fewer |

A batch is ragged: `items [N]` holds the rows one after another, and row b is `items[offsets[b]:offsets[b + 1]]`.
"Items" are the model's indices; "item ids" are the user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

if TYPE_CHECKING:
    from torch import Tensor
else:  # this module is imported where PyTorch is not installed
    Tensor = Any

ItemId: TypeAlias = int | str

# NumPy, for the runtime.
ItemsArray: TypeAlias = Int32[np.ndarray, "N"]
OffsetsArray: TypeAlias = Int32[np.ndarray, "B+1"]
ExcludeArray: TypeAlias = Int32[np.ndarray, "M 2"]
StateArray: TypeAlias = Float32[np.ndarray, "S"]
StatesArray: TypeAlias = Float32[np.ndarray, "B S"]
QueriesArray: TypeAlias = Float32[np.ndarray, "B D"]
WeightArray: TypeAlias = Float32[np.ndarray, "..."]
EmbeddingArray: TypeAlias = Float32[np.ndarray, "V+1 D"]
TopItemsArray: TypeAlias = Int32[np.ndarray, "B k"]
TopScoresArray: TypeAlias = Float32[np.ndarray, "B k"]
RankedScoresArray: TypeAlias = Float32[np.ndarray, "n"]
ScoresArray: TypeAlias = Float32[np.ndarray, "B V+1"]

# PyTorch, for the model. Widths: D model, H inner.
Items: TypeAlias = Int[Tensor, "N"]
Offsets: TypeAlias = Int[Tensor, "B+1"]
Tokens: TypeAlias = Float[Tensor, "N D"]
Inner: TypeAlias = Float[Tensor, "N H"]
Gates: TypeAlias = Float[Tensor, "N 2*H"]
Channels: TypeAlias = Float[Tensor, "H"]
ConvWeight: TypeAlias = Float[Tensor, "H K"]
ConvTail: TypeAlias = Float[Tensor, "B K-1 H"]
Hidden: TypeAlias = Float[Tensor, "B H"]
Queries: TypeAlias = Float[Tensor, "B D"]
States: TypeAlias = Float[Tensor, "B S"]
Exclude: TypeAlias = Int[Tensor, "M 2"]
Scores: TypeAlias = Float[Tensor, "B V+1"]
