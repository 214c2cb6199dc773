"""Trains several models that differ in one thing, over seeds, and puts them side by side."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import RESULTS, machine_info, write_result
from plots import new_figure, write_plot
from recipes import RECIPES, Recipe
from runner import train

from recblr.config import RecBLRConfig
from recblr.model import RecBLR

METRICS = ("hr@10", "ndcg@10", "mrr@10", "hr@20", "ndcg@20", "mrr@20")
_OF_A_RUN = (
    "seed",
    "parameters",
    "epochs",
    "best_epoch",
    "validation",
    "test",
    "seen_left_out",
    "train_seconds",
    "validation_seconds",
    "device",
    "threads",
    "machine",
)

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One of the models to compare.

    Attributes:
        label: its name in tables and plots.
        model: settings of `recblr.config.RecBLRConfig` that differ from the recipe's.
        training: those of `recblr.trainer.TrainingConfig`.
        objective: those of `recblr.objective.Objective`.
        make_model: builds it.
    """

    label: str
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)
    make_model: Callable[[RecBLRConfig], RecBLR] = RecBLR

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe with the entry's settings."""
        return dataclasses.replace(
            recipe,
            model={**recipe.model, **self.model},
            training={**recipe.training, **self.training},
            objective={**recipe.objective, **self.objective},
        )


@dataclass(frozen=True)
class Overrides:
    """What the command line changes in the recipe; None leaves it."""

    epochs: int | None = None
    dropout: float | None = None
    max_history: int | None = None
    negatives: int | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe so changed; its history, too, is `max_history` long."""
        model, training, history = dict(recipe.model), dict(recipe.training), recipe.history
        objective = dict(recipe.objective)
        if self.epochs is not None:
            training["epochs"] = self.epochs
        if self.dropout is not None:
            model["dropout"] = self.dropout
        if self.max_history is not None:
            training["max_history"] = history = self.max_history
        if self.negatives is not None:
            objective |= {"loss": "sampled", "negatives": self.negatives}
        return dataclasses.replace(recipe, model=model, training=training, objective=objective, history=history)


def base_recipe(data: Path, overrides: Overrides, name: str = "paper") -> Recipe:
    """A recipe of a data set, or for one without recipes recblr's defaults, as the command line says."""
    default = Recipe(model={}, training={}, history=None, note="defaults")
    return overrides.apply(RECIPES.get(data.stem, {}).get(name, default))


def sweep_options(command: Command) -> Command:
    """The options of a sweep's script, which are those of `run_and_write`."""
    options = (
        click.argument("data", type=click.Path(path_type=Path, exists=True)),
        click.option("--seeds", default="0,1,2", show_default=True, help="Comma-separated."),
        click.option("--epochs", type=int, default=None, help="At most; the recipe's if not given."),
        click.option("--dropout", type=float, default=None, help="The recipe's if not given."),
        click.option("--max-history", type=int, default=None, help="The recipe's if not given."),
        click.option(
            "--negatives",
            type=int,
            default=None,
            help="Train against so many sampled items; the recipe's loss if not given.",
        ),
        click.option(
            "--work",
            type=click.Path(path_type=Path),
            default=Path(".quality"),
            show_default=True,
            help="What is kept between runs: an interrupted sweep goes on there.",
        ),
        click.option("--threads", type=int, default=None, help="PyTorch's threads."),
        click.option("--add", is_flag=True, help="Keep what the results file has of other seeds, and add these."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_name(data: Path, sweep: str, entry: Entry, seed: int, overrides: Overrides, recipe_name: str = "paper") -> str:
    """Of a run's files. An entry that is the recipe itself shares those that train.py leaves, so it is not redone."""
    if overrides == Overrides() and entry.make_model is RecBLR and data.stem in RECIPES:
        recipe = base_recipe(data, overrides, recipe_name)
        defaults = {field.name: field.default for field in dataclasses.fields(RecBLRConfig)}
        same_model = all(value == recipe.model.get(name, defaults[name]) for name, value in entry.model.items())
        if same_model and not entry.training and not entry.objective:
            return f"{data.stem}-{recipe_name}-seed{seed}"
    return f"{data.stem}-{sweep}-{entry.label.replace(' ', '-')}-seed{seed}"


def run_sweep(
    data: Path,
    sweep: str,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    overrides: Overrides,
    work: Path,
    recipe_name: str = "paper",
    earlier: Mapping[tuple[str, int], dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Train and evaluate all entries; seeds outermost, so that the machine's drift meets all alike.

    Args:
        data, sweep, entries, seeds, overrides, work, recipe_name: see `run_and_write`.
        earlier: runs that are not repeated, see `earlier_runs`.

    Returns:
        JSON-ready, per entry: its label, settings, runs, and means and standard deviations over seeds.
    """
    recipe = base_recipe(data, overrides, recipe_name)
    runs: dict[str, list[dict[str, Any]]] = {entry.label: [] for entry in entries}
    models: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        for entry in entries:
            run = (earlier or {}).get((entry.label, seed))
            if run is None:
                name = run_name(data, sweep, entry, seed, overrides, recipe_name)
                click.echo(f"{name}: {entry.label}")
                run = train(data, entry.apply(recipe), seed, work, name, make_model=entry.make_model)
                run["seconds_per_epoch"] = statistics.median(epoch["train_seconds"] for epoch in run["curve"])
            if models.setdefault(entry.label, run["model"]) != run["model"]:
                raise click.UsageError(f"{entry.label}: the results file has another model's runs: leave out --add")
            runs[entry.label].append({key: run[key] for key in (*_OF_A_RUN, "seconds_per_epoch")})
    return [
        {
            "label": entry.label,
            "model": models[entry.label],
            "parameters": runs[entry.label][0]["parameters"],
            "test": of_runs(runs[entry.label], "test"),
            "validation": of_runs(runs[entry.label], "validation"),
            "seconds_per_epoch": statistics.median(run["seconds_per_epoch"] for run in runs[entry.label]),
            "runs": runs[entry.label],
        }
        for entry in entries
    ]


def run_and_write(
    sweep: str,
    data: Path,
    entries: Sequence[Entry],
    plot: Callable[[str, list[dict[str, Any]]], Path],
    *,
    seeds: str,
    epochs: int | None,
    dropout: float | None,
    max_history: int | None,
    negatives: int | None,
    work: Path,
    threads: int | None,
    add: bool,
    recipe_name: str = "paper",
) -> None:
    """A sweep's command: `run_sweep`, and results/quality-<sweep>-<data>.json with its plot.

    Args:
        sweep, data, entries, work: see `run_sweep`.
        plot: of a name and the rows; gives the file.
        seeds, epochs, dropout, max_history, negatives, threads, add: as `sweep_options` gives them.
        recipe_name: of the recipe that the entries change.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    overrides = Overrides(epochs, dropout, max_history, negatives)
    numbers = [int(seed) for seed in seeds.split(",")]
    name = f"quality-{sweep}-{data.stem}"
    earlier = {}
    if add:
        earlier = earlier_runs(RESULTS / f"{name}.json", describe(base_recipe(data, overrides, recipe_name), numbers))
        numbers = sorted({*numbers, *(seed for _, seed in earlier)})
    rows = run_sweep(data, sweep, entries, numbers, overrides, work, recipe_name, earlier)
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "data": data.stem,
        **describe(base_recipe(data, overrides, recipe_name), numbers),
        "entries": rows,
    }
    echo_table(rows)
    click.echo(f"written to {write_result(name, result)} and {plot(name, rows)}")


def earlier_runs(path: Path, described: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """What a results file has, by label and seed; nothing where there is no file.

    Args:
        path: of the file.
        described: what `describe` gives for the runs to come.

    Raises:
        click.UsageError: it has runs of other settings.
    """
    if not path.exists():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    for key, value in described.items():
        if key != "seeds" and result[key] != value:
            raise click.UsageError(f"{path} has runs with {key} {result[key]!r}, not {value!r}: leave out --add")
    # Files of before runs were added do not tell each run's.
    return {
        (entry["label"], run["seed"]): {
            "machine": result["machine"],
            "seconds_per_epoch": entry["seconds_per_epoch"],
            **run,
            "model": entry["model"],
        }
        for entry in result["entries"]
        for run in entry["runs"]
    }


def of_runs(runs: Sequence[dict[str, Any]], part: str) -> dict[str, dict[str, float]]:
    """Of each metric of a part, "test" or "validation": mean and standard deviation (0 for a single run)."""
    values = {metric: [run[part][metric] for run in runs] for metric in METRICS}
    return {
        metric: {"mean": statistics.mean(of), "sd": statistics.stdev(of) if len(of) > 1 else 0.0}
        for metric, of in values.items()
    }


def describe(recipe: Recipe, seeds: Sequence[int]) -> dict[str, Any]:
    """What a sweep's entries have in common, JSON-ready."""
    return {
        "recipe": recipe.note,
        "training": recipe.training,
        "objective": recipe.objective,
        "history": recipe.history,
        "seeds": list(seeds),
        "selection": "the epoch with the best validation NDCG@10; the test part is read once per run, after training",
    }


def plot_dots(
    name: str, rows: Sequence[dict[str, Any]], panels: Sequence[tuple[str, str]], size: tuple[float, float]
) -> Path:
    """A dot per entry with its standard deviation, the first entry on top and as a line.

    Args:
        name: of the file, see `plots.write_plot`.
        rows: see `run_sweep`.
        panels: part, "test" or "validation", and metric of each.
        size: width and height, in inches.
    """
    figure = new_figure(*size)
    labels = [row["label"] for row in rows]
    all_axes = figure.subplots(1, len(panels), sharey=True)
    all_axes[0].invert_yaxis()
    for axes, (part, metric) in zip(all_axes, panels, strict=True):
        values = [row[part][metric] for row in rows]
        means = [value["mean"] for value in values]
        axes.errorbar(means, labels, xerr=[value["sd"] for value in values], fmt="o", capsize=3)
        axes.axvline(means[0], color="tab:gray", linewidth=0.8)
        axes.set_xlabel(f"{part} {metric.upper()}")
        axes.grid(alpha=0.3)
    return write_plot(name, figure)


def echo_table(rows: Sequence[dict[str, Any]]) -> None:
    """HR@10 and NDCG@10 of the test part, one line per entry."""
    for row in rows:
        hr, ndcg = row["test"]["hr@10"], row["test"]["ndcg@10"]
        click.echo(
            f"{row['label']:18} HR@10 {hr['mean']:.4f} ({hr['sd']:.4f})  NDCG@10 {ndcg['mean']:.4f} ({ndcg['sd']:.4f})"
            f"  {row['parameters']:,} parameters  {row['seconds_per_epoch']:.1f} s/epoch"
        )
