"""Ragged rows: flat values, and where each row's lie."""

from __future__ import annotations

import numpy as np

from recblr.data.arrays import PositionsArray, RowOffsetsArray, RowsArray


def row_offsets(lengths: RowsArray) -> RowOffsetsArray:
    """[R + 1] offsets of rows of these lengths [R], one after another: row r is `[offsets[r]:offsets[r + 1]]`."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_positions(starts: RowsArray, lengths: RowsArray) -> PositionsArray:
    """[sum of lengths] the positions `starts[r]`, `starts[r] + 1`, ... of each row r, one row after another."""
    offsets = row_offsets(lengths)
    positions: PositionsArray = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return positions
