"""Training with a catalogue of a million items: memory and speed of the sampled and of the chunked full softmax.

    python benchmarks/quality/large_catalogue.py

Histories are synthetic: Zipf-distributed items, of which half follow from the one before. Each loss runs in a process
of its own; its peak memory is that process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine_info, write_result
from measure import peak_memory

from recblr.batches import Batch
from recblr.config import RecBLRConfig
from recblr.data import Sequences, Split, Targets
from recblr.model import RecBLR
from recblr.objective import Objective
from recblr.trainer import Trainer, TrainingConfig

BATCH_TOKENS = 4096
ROW = 64  # items of a history
OBJECTIVES = {"sampled": Objective("sampled", negatives=2048), "softmax": Objective("softmax")}


def histories(n_items: int, rows: int, generator: np.random.Generator) -> np.ndarray:
    """[rows, ROW + 1] items; each is with probability 1/2 a function of the one before it."""
    popular = np.minimum(generator.zipf(1.2, (rows, ROW + 1)), n_items).astype(np.int64)
    follows = generator.random((rows, ROW + 1)) < 0.5
    items = popular
    for t in range(1, ROW + 1):
        items[:, t] = np.where(follows[:, t], (items[:, t - 1] * 7 + 3) % n_items + 1, popular[:, t])
    return items


def measure(loss: str, n_items: int, steps: int) -> dict[str, Any]:
    """Train for so many steps in this process."""
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=n_items))
    some = Sequences(np.ones(4, np.int32), np.array([0, 4]))
    no_targets = Targets(np.empty(0, np.int64), some, np.empty(0, np.int32))
    config = TrainingConfig(batch_tokens=BATCH_TOKENS, objective=OBJECTIVES[loss])
    trainer = Trainer(model, Split(some, no_targets, no_targets), config)
    offsets = torch.arange(0, BATCH_TOKENS + 1, ROW)
    losses, seconds = [], []
    model.train()
    for _ in range(steps):
        items = torch.from_numpy(histories(n_items, BATCH_TOKENS // ROW, generator))
        batch = Batch(items[:, :-1].reshape(-1), items[:, 1:].reshape(-1), offsets)
        started = time.perf_counter()
        losses.append(trainer.step(batch, BATCH_TOKENS))
        seconds.append(time.perf_counter() - started)
    tenth = max(1, steps // 10)
    return {
        "loss": loss,
        "negatives": OBJECTIVES[loss].negatives if loss == "sampled" else None,
        "steps": steps,
        "first_loss": float(np.mean(losses[:tenth])),
        "last_loss": float(np.mean(losses[-tenth:])),
        "tokens_per_second": BATCH_TOKENS / float(np.median(seconds)),
        "peak_gib": peak_memory("cpu") / 2**30,
        "parameters_gib": sum(p.numel() for p in model.parameters()) * 4 / 2**30,
        "threads": torch.get_num_threads(),
    }


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--steps", default=100, show_default=True, help="Of the sampled loss.")
@click.option("--full-steps", default=4, show_default=True, help="Of the full softmax.")
@click.option("--only", type=click.Choice(list(OBJECTIVES)), default=None, help="Measure in this process, print JSON.")
def main(items: int, steps: int, full_steps: int, only: str | None) -> None:
    """Measure and write benchmarks/results/quality-large-catalogue.json."""
    if only is not None:
        click.echo(json.dumps(measure(only, items, steps)))
        return
    rows = []
    for loss, n_steps in (("sampled", steps), ("softmax", full_steps)):
        command = [sys.executable, __file__, "--only", loss, "--items", str(items), "--steps", str(n_steps)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(output))
        click.echo(
            f"{loss}: {rows[-1]['tokens_per_second']:,.0f} tokens/s, peak {rows[-1]['peak_gib']:.2f} GiB, loss "
            f"{rows[-1]['first_loss']:.2f} -> {rows[-1]['last_loss']:.2f} in {n_steps} steps"
        )
    result = {"machine": machine_info(("recblr", "torch")), "items": items, "batch_tokens": BATCH_TOKENS, "runs": rows}
    click.echo(f"written to {write_result('quality-large-catalogue', result)}")


if __name__ == "__main__":
    main()
