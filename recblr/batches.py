"""Ragged batches of a bounded number of tokens, whatever the lengths of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recblr.data import Sequences
from recblr.data.ragged import row_offsets, row_positions


@dataclass(frozen=True)
class Batch:
    """Rows for next-item training.

    Attributes:
        items, targets: int64 [N].
        offsets: int64 [B+1].
        continues: whether the one row goes on where the batch before ended, from the state reached there.
        continued: whether the batch after this one goes on with its row.
    """

    items: Tensor
    targets: Tensor
    offsets: Tensor
    continues: bool = False
    continued: bool = False


@dataclass(frozen=True)
class Windows:
    """Where training rows lie in the flat items: row w reads items[start:start+length] and predicts one further on.

    Attributes:
        start, length: int64 [W].
    """

    start: np.ndarray
    length: np.ndarray


def training_windows(sequences: Sequences, max_history: int | None) -> Windows:
    """One window per sequence, or several of at most `max_history` inputs each, counted from the end.

    Every position but a sequence's first is a target exactly once. Sequences of one item have none.
    """
    start, inputs = sequences.offsets[:-1], np.diff(sequences.offsets) - 1
    start, inputs = start[inputs > 0], inputs[inputs > 0]
    if max_history is None:
        return Windows(start, inputs)
    pieces = -(-inputs // max_history)
    sequence = np.repeat(np.arange(len(inputs)), pieces)
    nth_from_last = pieces[sequence] - 1 - (np.arange(len(sequence)) - (np.cumsum(pieces) - pieces)[sequence])
    end = inputs[sequence] - nth_from_last * max_history
    begin = np.maximum(end - max_history, 0)
    return Windows(start[sequence] + begin, end - begin)


def pack_rows(lengths: np.ndarray, max_tokens: int, max_rows: int | None = None) -> Iterator[slice]:
    """Cut consecutive rows into batches of at most `max_tokens` tokens; a longer row is a batch of its own."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        base = ends[first] - lengths[first]
        stop = max(int(np.searchsorted(ends, base + max_tokens, side="right")), first + 1)
        if max_rows is not None:
            stop = min(stop, first + max_rows)
        yield slice(first, stop)
        first = stop


def gather_rows(items: np.ndarray, start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N] in `items` of the rows' tokens, one row after another, and offsets int64 [B+1]."""
    return row_positions(start, length), row_offsets(length)


def training_batches(
    sequences: Sequences,
    windows: Windows,
    max_tokens: int,
    generator: np.random.Generator,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[tuple[Batch, int]]:
    """One epoch's batches in random order.

    A row of more than `max_tokens` comes as several batches, one after the other, of nearly equal length: truncated
    backpropagation through time, in which the state is carried on and the gradient ends at a piece's first token.

    Args:
        max_tokens: of a whole batch, over all processes.
        rank, world_size: with several processes each gets every `world_size`-th row of a batch, possibly none.

    Yields:
        This process's batch, and the tokens of the whole batch.
    """
    order = generator.permutation(len(windows.start))
    start, length = windows.start[order], windows.length[order]
    for rows in pack_rows(length, max_tokens):
        first, tokens = start[rows], length[rows]
        n_pieces = -(-int(tokens.sum()) // max_tokens)  # more than one of a single long row only
        ends = tokens[-1] * np.arange(n_pieces + 1) // n_pieces
        for piece in range(n_pieces):
            lengths = tokens if n_pieces == 1 else np.diff(ends[piece : piece + 2])
            mine = slice(rank, None, world_size)
            place, offsets = gather_rows(sequences.items, (first + ends[piece])[mine], lengths[mine])
            items, targets = (torch.from_numpy(sequences.items[place + shift]).long() for shift in (0, 1))
            batch = Batch(items, targets, torch.from_numpy(offsets), piece > 0, piece + 1 < n_pieces)
            yield batch, int(lengths.sum())
