"""Training speed: every position in one pass, against one sample per prefix (the authors' scheme).

Same model, same data, same machine, alternating in one run. A "target" is one item to predict: both schemes learn from
the same ones, the second reads a history anew for each.

    python benchmarks/training.py [DATA] [--seconds 60]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from machine import machine_info, write_result

from recblr.batches import gather_rows, training_batches, training_windows
from recblr.config import RecBLRConfig
from recblr.data import Sequences, leave_one_out, synthetic_interactions
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR
from recblr.plugins import find_library
from recblr.preparation import DataSettings, prepare

MAX_HISTORY = 200
BATCH_TOKENS = 4096  # recblr-train's default
BATCH_PREFIXES = 2048  # the authors' batch size


def every_position(model: RecBLR, train: Sequences, generator: np.random.Generator) -> tuple[torch.Tensor, int]:
    """Loss of one token-budget batch, and its number of targets."""
    windows = training_windows(train, MAX_HISTORY)
    batch, tokens = next(training_batches(train, windows, BATCH_TOKENS, generator))
    hidden, _ = model(batch.items, batch.offsets)
    return chunked_cross_entropy(hidden, model.embedding.weight, batch.targets), tokens


def one_sample_per_prefix(model: RecBLR, train: Sequences, generator: np.random.Generator) -> tuple[torch.Tensor, int]:
    """Loss of one batch of prefixes, each with one target, and its number of targets."""
    inputs = train.lengths - 1
    last_input = generator.integers(0, inputs.sum(), BATCH_PREFIXES)
    ends = np.cumsum(inputs)
    row = np.searchsorted(ends, last_input, side="right")
    length = np.minimum(last_input - (ends - inputs)[row] + 1, MAX_HISTORY)
    stop = train.offsets[row] + last_input - (ends - inputs)[row] + 1
    place, offsets = gather_rows(train.items, stop - length, length)
    query, _ = model.query(torch.from_numpy(train.items[place]).long(), torch.from_numpy(offsets))
    targets = torch.from_numpy(train.items[stop]).long()
    return chunked_cross_entropy(query, model.embedding.weight, targets), BATCH_PREFIXES


def targets_per_second(
    scheme: Callable[[RecBLR, Sequences, np.random.Generator], tuple[torch.Tensor, int]],
    model: RecBLR,
    train: Sequences,
    generator: np.random.Generator,
    seconds: float,
) -> float:
    """Whole optimizer steps for so many seconds."""
    optimizer = torch.optim.Adam(model.parameters())
    targets, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        optimizer.zero_grad()
        loss, count = scheme(model, train, generator)
        (loss / count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        targets += count
    return targets / elapsed


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--seconds", default=60.0, show_default=True, help="Of measuring, both schemes together.")
def main(data: Path | None, seconds: float) -> None:
    """Measure and write benchmarks/results/training.json."""
    if data is None:
        split = leave_one_out(synthetic_interactions(1000, 1500, 100, seed=0))
        source = "synthetic, 1,000 users, mean length 100"
    else:
        split = prepare(data, DataSettings()).split
        source = data.name
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=int(split.train.items.max()))).train()
    schemes = {"every_position": every_position, "one_sample_per_prefix": one_sample_per_prefix}
    speeds: dict[str, list[float]] = {name: [] for name in schemes}
    for repeat in range(4):
        for name, scheme in schemes.items():
            generator = np.random.default_rng(repeat)
            speed = targets_per_second(scheme, model, split.train, generator, seconds / 8)
            if repeat:  # the first is a warm-up
                speeds[name].append(speed)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "data": source,
        "model": model.config.to_dict(),
        "pytorch_ops": "native" if find_library() is not None else "reference",
        "max_history": MAX_HISTORY,
        "threads": torch.get_num_threads(),
        "targets_per_second": medians,
        "runs": speeds,
        "ratio": medians["every_position"] / medians["one_sample_per_prefix"],
    }
    path = write_result("training", result)
    for name, value in medians.items():
        click.echo(f"{name:24} {value:10,.0f} targets/s")
    click.echo(f"ratio {result['ratio']:.1f}, written to {path}")


if __name__ == "__main__":
    main()
