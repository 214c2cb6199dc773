"""The arrays of the data part, beside those of `recblr.array_types`.

U counts users, R rows, n the elements at hand.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped

IdsArray: TypeAlias = Shaped[np.ndarray, "n"]  # the user's own: int64, uint64, or object (str)
CodesArray: TypeAlias = Int32[np.ndarray, "N"]  # positions in an IdsArray
ItemsArray: TypeAlias = Int32[np.ndarray, "n"]  # the model's indices, 1..V
RowOffsetsArray: TypeAlias = Int64[np.ndarray, "R+1"]  # of a whole data set, so 64 bits
RowsArray: TypeAlias = Int64[np.ndarray, "R"]  # one integer per row: a length, a user
PositionsArray: TypeAlias = Int64[np.ndarray, "n"]
MaskArray: TypeAlias = Bool[np.ndarray, "N"]
UniformArray: TypeAlias = Float64[np.ndarray, "n"]
TimestampsArray: TypeAlias = Int64[np.ndarray, "N"] | Float64[np.ndarray, "N"]
SuccessorsArray: TypeAlias = Int32[np.ndarray, "V branching"]
