"""Training batches: every target once, never more tokens than allowed, the same rows over all processes."""

from __future__ import annotations

import functools
import itertools
import operator
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.batches import Batch, gather_rows, pack_rows, training_batches, training_windows
from recblr.data import Sequences

LENGTHS = st.lists(st.integers(0, 15), max_size=12)


def sequences_of(lengths: list[int]) -> Sequences:
    """All items distinct, so that each tells where it stands."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets)


def all_targets(sequences: Sequences) -> list[int]:
    """Every item but each row's first."""
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    return [item for start, stop in bounds for item in sequences.items[start:stop][1:].tolist()]


@settings(deadline=None)
@given(LENGTHS, st.one_of(st.none(), st.integers(1, 17)))
def test_windows_cover_every_target_once(lengths: list[int], max_history: int | None) -> None:
    sequences = sequences_of(lengths)
    windows = training_windows(sequences, max_history)
    spans = list(zip(windows.start.tolist(), windows.length.tolist(), strict=True))
    found = [item for start, length in spans for item in sequences.items[start + 1 : start + length + 1].tolist()]
    assert sorted(found) == all_targets(sequences)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    for start, length in spans:
        assert length >= 1
        assert max_history is None or length <= max_history
        assert row_of[start] == row_of[start + length]


def test_windows_are_counted_from_the_end() -> None:
    windows = training_windows(sequences_of([8, 1, 0, 2, 4]), 3)
    assert windows.start.tolist() == [0, 1, 4, 9, 11]
    assert windows.length.tolist() == [1, 3, 3, 1, 3]
    whole = training_windows(sequences_of([8, 1, 0, 2, 4]), None)
    assert whole.start.tolist() == [0, 9, 11]
    assert whole.length.tolist() == [7, 1, 3]


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 30), st.one_of(st.none(), st.integers(1, 4)))
def test_packing(lengths: list[int], max_tokens: int, max_rows: int | None) -> None:
    parts = list(pack_rows(np.array(lengths, dtype=np.int64), max_tokens, max_rows))
    rows = [range(len(lengths))[part] for part in parts]
    assert [row for part in rows for row in part] == list(range(len(lengths)))
    for part in rows:
        assert len(part) >= 1
        assert sum(lengths[row] for row in part) <= max_tokens or len(part) == 1
        assert max_rows is None or len(part) <= max_rows
    for part, following in itertools.pairwise(rows):  # none was closed too early
        is_full = max_rows is not None and len(part) == max_rows
        assert is_full or sum(lengths[row] for row in [*part, following[0]]) > max_tokens


def test_gathering() -> None:
    place, offsets = gather_rows(np.arange(100), np.array([50, 7, 20]), np.array([2, 0, 3]))
    assert place.tolist() == [50, 51, 20, 21, 22]
    assert offsets.tolist() == [0, 2, 2, 5]
    place, offsets = gather_rows(np.arange(100), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert place.tolist() == []
    assert offsets.tolist() == [0]


def epoch(
    sequences: Sequences, max_tokens: int, seed: int = 0, rank: int = 0, world_size: int = 1
) -> list[tuple[Batch, int]]:
    windows = training_windows(sequences, 6)
    generator = np.random.default_rng(seed)
    return list(training_batches(sequences, windows, max_tokens, generator, rank, world_size))


def rows_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    bounds = batch.offsets.tolist()
    return [
        (batch.items[start:stop].tolist(), batch.targets[start:stop].tolist())
        for start, stop in itertools.pairwise(bounds)
    ]


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 99))
def test_an_epoch_has_every_target_once_after_its_predecessor(lengths: list[int], max_tokens: int, seed: int) -> None:
    sequences = sequences_of(lengths)
    found: list[int] = []
    for batch, tokens in epoch(sequences, max_tokens, seed):
        assert batch.items.dtype == batch.targets.dtype == batch.offsets.dtype == torch.int64
        assert tokens == len(batch.items) == len(batch.targets) == batch.offsets[-1]
        assert tokens <= max_tokens
        assert torch.equal(batch.targets, batch.items + 1)  # the item that stands next
        found += batch.targets.tolist()
    assert sorted(found) == all_targets(sequences)


def test_a_row_longer_than_a_batch_comes_in_pieces_in_order() -> None:
    sequences = sequences_of([4, 24, 3])
    windows = training_windows(sequences, None)
    for world_size in (1, 2):
        ranks = [
            list(training_batches(sequences, windows, 10, np.random.default_rng(1), rank, world_size))
            for rank in range(world_size)
        ]
        pieces = [
            (
                functools.reduce(operator.iadd, (batch.targets.tolist() for batch, _ in step), []),
                step[0][0].continues,
                step[0][0].continued,
                step[0][1],
            )
            for step in zip(*ranks, strict=True)
            if step[0][0].continues or step[0][0].continued
        ]
        assert pieces == [
            (list(range(6, 13)), False, True, 7),
            (list(range(13, 21)), True, True, 8),
            (list(range(21, 29)), True, False, 8),
        ]


def test_order_follows_the_generator() -> None:
    sequences = sequences_of([5] * 30)
    first, again, other = ([batch.items.tolist() for batch, _ in epoch(sequences, 20, seed)] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_processes_share_each_batch(world_size: int) -> None:
    sequences = sequences_of(np.random.default_rng(0).integers(0, 12, 40).tolist())
    alone = epoch(sequences, 25)
    shares = [epoch(sequences, 25, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(len(share) == len(alone) for share in shares)
    sizes = Counter[int]()
    for (batch, tokens), *parts in zip(alone, *shares, strict=True):
        assert all(part_tokens == tokens for _, part_tokens in parts)
        rows = [row for part, _ in parts for row in rows_of(part)]
        assert sorted(rows) == sorted(rows_of(batch))
        sizes.update(len(rows_of(part)) for part, _ in parts)
    if world_size == 7:
        assert sizes[0] > 0  # some process had no row


def test_nothing_to_learn_from() -> None:
    assert epoch(sequences_of([]), 10) == []
    assert epoch(sequences_of([1, 0, 1]), 10) == []
