"""What an order of ties that is the same for all users does to a score: the same training on both.

    python benchmarks/quality/order_effect.py ml-1m.parquet

Trains the paper's model on DATA as it is, and with every few interactions in a row put in one random order of all items
(`orders.py` says why). Validation only. The result is results/quality-order-effect-<data>.json, with both curves.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
import torch
from orders import write_runs

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine_info, write_result
from recipes import Recipe
from runner import recipes_of, train

# Few epochs of large batches: it is the difference that counts.
_TRAINING = {
    "batch_tokens": 8192,
    "learning_rate": 8e-3,
    "schedule": "constant",
    "warmup_epochs": 0.5,
    "weight_average": 0.99,
    "patience": 10,
}
_OF_A_RUN = ("epochs", "best_epoch", "validation", "curve", "train_seconds", "threads")


def short_recipe(paper: Recipe, epochs: int) -> Recipe:
    """The data set's recipe with less dropout and the training above."""
    training = {**paper.training, **_TRAINING, "epochs": epochs}
    return dataclasses.replace(paper, model={**paper.model, "dropout": 0.1}, training=training)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--length", type=click.IntRange(min=1), default=4, show_default=True, help="Interactions of a tie.")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".quality"), show_default=True)
@click.option("--threads", type=int, default=None, help="PyTorch's threads.")
def main(data: Path, length: int, epochs: int, work: Path, threads: int | None) -> None:
    """Train on DATA (Parquet) in both orders."""
    recipes = recipes_of(data)
    if threads is not None:
        torch.set_num_threads(threads)
    recipe = short_recipe(recipes["paper"], epochs)
    in_runs = work / f"runs-of-{length}" / data.name
    write_runs(data, in_runs, length)
    runs: dict[str, dict[str, Any]] = {}
    for name, path in (("as it is", data), (f"runs of {length} in one order", in_runs)):
        runs[name] = train(path, recipe, 0, work, f"{data.stem}-order-{name.replace(' ', '-')}", test=False)
        click.echo(f"{name}: validation {runs[name]['validation']}")
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "data": data.stem,
        "length": length,
        "model": recipe.model,
        "training": recipe.training,
        "runs": {name: {key: run[key] for key in _OF_A_RUN} for name, run in runs.items()},
    }
    click.echo(f"written to {write_result(f'quality-order-effect-{data.stem}', result)}")


if __name__ == "__main__":
    main()
