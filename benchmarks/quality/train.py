"""Trains and evaluates the recipes of a data set; one JSON file per recipe and seed in benchmarks/results/quality/.

    python benchmarks/quality/train.py ml-1m.parquet --recipe paper --seeds 0

The file's name, without its ending, is the data set's. Selection is by validation NDCG@10; the test part is read once,
after training. With --try nothing is read of it, and the result goes to the work folder.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import torch
from recipes import Recipe
from runner import recipes_of, train, write_run

from recblr.config import RecBLRConfig
from recblr.objective import Objective
from recblr.trainer import TrainingConfig


def changed(recipe: Recipe, changes: tuple[str, ...]) -> Recipe:
    """The recipe with other settings, each given as "name=value", of the model, the training, or `history`."""
    groups: dict[type, dict[str, Any]] = {
        RecBLRConfig: dict(recipe.model),
        TrainingConfig: dict(recipe.training),
        Objective: dict(recipe.objective),
    }
    history = recipe.history
    for change in changes:
        name, _, text = change.partition("=")
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        if name == "history":
            history = value
            continue
        for kind, settings in groups.items():
            if name in {field.name for field in dataclasses.fields(kind)}:
                settings[name] = value
                break
        else:
            raise click.BadParameter(f"there is no setting {name!r}")
    model, training, objective = groups.values()
    return dataclasses.replace(recipe, model=model, training=training, objective=objective, history=history)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--recipe", "names", multiple=True, help="Names in recipes.py; all of the data set's if not given.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Comma-separated.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Another setting, for --try.")
@click.option("--try", "trial", default=None, help="Name of a trial: validation only.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".quality"), show_default=True)
@click.option("--threads", type=int, default=None, help="PyTorch's threads.")
def main(
    data: Path,
    names: tuple[str, ...],
    seeds: str,
    changes: tuple[str, ...],
    trial: str | None,
    work: Path,
    threads: int | None,
) -> None:
    """Train DATA's recipes."""
    recipes = recipes_of(data)
    if changes and trial is None:
        raise click.UsageError("--set changes a recipe: give --try with a name for the result")
    if threads is not None:
        torch.set_num_threads(threads)
    for recipe_name in names or tuple(recipes):
        if recipe_name not in recipes:
            raise click.BadParameter(f"recipe {recipe_name!r}: give one of {', '.join(recipes)}")
        recipe = changed(recipes[recipe_name], changes)
        for seed in map(int, seeds.split(",")):
            name = f"{data.stem}-{trial or recipe_name}-seed{seed}"
            click.echo(f"{name}: {recipe.note}")
            run = train(data, recipe, seed, work, name, test=trial is None)
            run["recipe"] = trial or recipe_name
            if trial is None:
                click.echo(f"{name}: test {run['test']}, written to {write_run(name, run)}")
            else:
                (work / f"{name}.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
                click.echo(f"{name}: validation {run['validation']}")


if __name__ == "__main__":
    main()
