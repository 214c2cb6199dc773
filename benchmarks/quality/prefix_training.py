"""Training as the authors do it: every prefix of a history is a sample of its own, with one target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recblr.batches import Windows, gather_rows, pack_rows
from recblr.data import Sequences, Split
from recblr.evaluation import evaluate
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR

BATCH_PREFIXES = 2048  # the authors' batch size
_MAX_TOKENS = 32_768  # of a forward and backward pass; a batch is the sum of several


def prefix_windows(sequences: Sequences, max_history: int | None) -> Windows:
    """Every prefix of every sequence, cut to its last `max_history` items: one window per target."""
    lengths = sequences.lengths
    nth = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], lengths)
    place = np.flatnonzero(nth < np.repeat(lengths - 1, lengths))
    length = nth[place] + 1
    if max_history is not None:
        length = np.minimum(length, max_history)
    return Windows(place + 1 - length, length)


def prefix_batches(windows: Windows, generator: np.random.Generator) -> Iterator[Windows]:
    """One epoch's batches in random order."""
    order = generator.permutation(len(windows.start))
    for first in range(0, len(order), BATCH_PREFIXES):
        chosen = order[first : first + BATCH_PREFIXES]
        yield Windows(windows.start[chosen], windows.length[chosen])


def prefix_step(model: RecBLR, optimizer: torch.optim.Optimizer, train: Sequences, batch: Windows) -> float:
    """One optimizer step; returns the mean loss. Memory is that of a part of the batch, whose gradients add up."""
    device = model.embedding.weight.device
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in pack_rows(batch.length, _MAX_TOKENS):
        start, length = batch.start[part], batch.length[part]
        place, offsets = gather_rows(train.items, start, length)
        items, targets = (torch.from_numpy(train.items[at]).long().to(device) for at in (place, start + length))
        query, _ = model.query(items, torch.from_numpy(offsets).to(device))
        loss = chunked_cross_entropy(query, model.embedding.weight, targets) / len(batch.start)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    optimizer.step()
    return total


@dataclass
class PrefixRun:
    """How far a run came.

    Attributes:
        curve: JSON-ready points: epoch (a fraction), samples, mean loss since the last point, validation NDCG@10,
            seconds of training and of validation so far.
        steps, samples, tokens: done; tokens are the items read.
        steps_per_epoch: of the whole data.
    """

    steps_per_epoch: int
    samples_per_epoch: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    samples: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    validation_seconds: float = 0.0


def train_on_prefixes(
    model: RecBLR, split: Split, max_history: int | None, seed: int, seconds: float, points: int
) -> PrefixRun:
    """Train with Adam at 1e-3, as the authors do, until so many seconds of training are over.

    Args:
        model: trained in place.
        split: its validation part is evaluated `points` times, at equal intervals of training time.
        max_history: prefixes are cut to so many items.
        seed: of the order.
        seconds: of training; validation is not counted.
        points: of the curve.
    """
    windows = prefix_windows(split.train, max_history)
    run = PrefixRun(-(-len(windows.start) // BATCH_PREFIXES), len(windows.start))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    epoch, losses = 0, []
    while run.train_seconds < seconds:
        for batch in prefix_batches(windows, np.random.default_rng([seed, epoch])):
            model.train()
            started = time.perf_counter()
            losses.append(prefix_step(model, optimizer, split.train, batch))
            run.train_seconds += time.perf_counter() - started
            run.steps += 1
            run.samples += len(batch.start)
            run.tokens += int(batch.length.sum())
            if run.train_seconds >= (len(run.curve) + 1) * seconds / points:
                _validate(model, split, run, float(np.mean(losses)))
                losses.clear()
            if run.train_seconds >= seconds:
                break
        epoch += 1
    return run


def _validate(model: RecBLR, split: Split, run: PrefixRun, loss: float) -> None:
    started = time.perf_counter()
    metrics = evaluate(model, split.validation).metrics
    run.validation_seconds += time.perf_counter() - started
    run.curve.append(
        {
            "epoch": run.samples / run.samples_per_epoch,
            "samples": run.samples,
            "loss": loss,
            "validation_ndcg@10": metrics["ndcg@10"],
            "train_seconds": run.train_seconds,
            "validation_seconds": run.validation_seconds,
        }
    )
