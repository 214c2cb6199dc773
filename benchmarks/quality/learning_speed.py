"""How soon a quality is reached: every position of a history in one pass, against one sample per prefix.

    python benchmarks/quality/train.py amazon-beauty.parquet --recipe paper --seeds 0
    python benchmarks/quality/learning_speed.py amazon-beauty.parquet --minutes 20

The curve of the first is that of a run of train.py. The second, the authors' scheme, trains the same model here for
--minutes: a sample is a prefix, a batch is 2,048 of them, the loss is that of the last position, the optimizer Adam
with a constant rate. It is given recblr's ragged layout and kernels, too, and no padding, so the difference is that of
the schemes. Both learn from the same targets; an epoch is all of them once.

For a ratio under equal conditions, some batches of both are timed in turn before, and multiplied to an epoch.
The target is a validation NDCG@10, by default the number that the paper has for the test part.
The result is results/quality-learning-speed-<data>.json, with a plot beside it.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine_info, write_result
from measure import default_device, device_name, milliseconds
from plots import new_figure, write_plot
from prefix_training import (
    BATCH_PREFIXES,
    PrefixRun,
    prefix_batches,
    prefix_step,
    prefix_windows,
    train_on_prefixes,
)
from recipes import PAPER, PUBLISHED
from runner import QUALITY, cut

from recblr.batches import Batch, training_batches, training_windows
from recblr.config import RecBLRConfig
from recblr.data import Sequences
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR
from recblr.preparation import DataSettings, prepare

POSITIONS_PER_TURN = 8


def curve_of_positions(run: dict[str, Any]) -> list[dict[str, float]]:
    """Points of the curve of a run of runner.py, as those of `PrefixRun.curve`: seconds and tokens add up."""
    validation = run["validation_seconds"] / run["epochs"]
    points: list[dict[str, float]] = []
    seconds, tokens = 0.0, 0
    for number, epoch in enumerate(run["curve"], start=1):
        seconds += epoch["train_seconds"]
        tokens += epoch["tokens"]
        points.append(
            {
                "epoch": epoch["epoch"],
                "samples": tokens,
                "loss": epoch["loss"],
                "validation_ndcg@10": epoch["validation_ndcg@10"],
                "train_seconds": seconds,
                "validation_seconds": number * validation,
            }
        )
    return points


def reached(curve: list[dict[str, float]], target: float) -> dict[str, float] | None:
    """The first point with so much validation NDCG@10, JSON-ready; None if there is none."""
    for point in curve:
        if point["validation_ndcg@10"] >= target:
            return {
                "epochs": point["epoch"],
                "train_seconds": point["train_seconds"],
                "wall_seconds": point["train_seconds"] + point["validation_seconds"],
                "targets_per_second": point["samples"] / point["train_seconds"],
                "validation_ndcg@10": point["validation_ndcg@10"],
            }
    return None


def position_step(model: RecBLR, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """One optimizer step with the loss at every position."""
    device = model.embedding.weight.device
    optimizer.zero_grad(set_to_none=True)
    hidden, _ = model(batch.items.to(device), batch.offsets.to(device))
    loss = chunked_cross_entropy(hidden, model.embedding.weight, batch.targets.to(device)) / len(batch.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def seconds_per_epoch(
    model: RecBLR, train: Sequences, max_history: int | None, batch_tokens: int, turns: int, device: str
) -> dict[str, Any]:
    """Of both schemes, by the mean time of batches of each, taken in turn.

    Args:
        model, train, max_history, batch_tokens: see `Trainer`.
        turns: each of one batch of prefixes and `POSITIONS_PER_TURN` of positions, before which one more
            finds the memory as the other scheme left it and is not counted; nor is the first turn.
        device: of the model.
    """
    windows, prefixes = training_windows(train, max_history), prefix_windows(train, max_history)
    optimizer = torch.optim.Adam(model.parameters())
    model.train()
    rng = np.random.default_rng(0)
    some_batches = _endless(lambda: training_batches(train, windows, batch_tokens, rng))
    some_prefixes = _endless(lambda: prefix_batches(prefixes, rng))
    per_target: dict[str, list[float]] = {"every_position": [], "one_sample_per_prefix": []}
    for turn in range(turns + 1):
        for number in range(POSITIONS_PER_TURN + 1):
            batch, tokens = next(some_batches)
            ms = milliseconds(partial(position_step, model, optimizer, batch), device)
            if turn and number:
                per_target["every_position"].append(ms / 1e3 / tokens)
        chosen = next(some_prefixes)
        ms = milliseconds(partial(prefix_step, model, optimizer, train, chosen), device)
        if turn:
            per_target["one_sample_per_prefix"].append(ms / 1e3 / len(chosen.start))
    targets = int(windows.length.sum())
    seconds = {name: statistics.mean(of) * targets for name, of in per_target.items()}
    return {
        "timed_batches": {name: len(of) for name, of in per_target.items()},
        "targets": targets,
        "tokens_of_all_prefixes": int(prefixes.length.sum()),
        "seconds": seconds,
        "ratio": seconds["one_sample_per_prefix"] / seconds["every_position"],
    }


def _endless(epoch: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    return itertools.chain.from_iterable(epoch() for _ in itertools.count())


def plot(name: str, curves: dict[str, list[dict[str, float]]], target: float) -> Path:
    """Validation NDCG@10 over minutes of training and over epochs."""
    figure = new_figure(9)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (key, unit, label) in zip(
        panels, (("train_seconds", 60, "minutes of training"), ("epoch", 1, "epochs")), strict=True
    ):
        for scheme, curve in curves.items():
            values = [point["validation_ndcg@10"] for point in curve]
            axes.plot([point[key] / unit for point in curve], values, marker=".", label=scheme.replace("_", " "))
        axes.axhline(target, color="tab:gray", linewidth=0.8, linestyle="--", label=f"target {target:g}")
        axes.set(xlabel=label, xscale="log")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="validation NDCG@10", ylim=(0, None))
    panels[0].legend(fontsize=8)
    return write_plot(name, figure)


def _of_positions(positions: dict[str, Any], curve: list[dict[str, float]], target: float) -> dict[str, Any]:
    last = curve[-1]
    return {
        **{key: positions[key] for key in ("machine", "device", "threads", "training", "test", "epochs")},
        "reached": reached(curve, target),
        "train_seconds": last["train_seconds"],
        "seconds_per_epoch": statistics.median(epoch["train_seconds"] for epoch in positions["curve"]),
        "targets_per_second": last["samples"] / last["train_seconds"],
        "curve": curve,
    }


def _of_prefixes(run: PrefixRun, target: float) -> dict[str, Any]:
    return {
        "batch": BATCH_PREFIXES,
        "optimizer": "Adam, learning rate 1e-3",
        "reached": reached(run.curve, target),
        "epochs": run.samples / run.samples_per_epoch,
        "steps": run.steps,
        "train_seconds": run.train_seconds,
        "seconds_per_epoch": run.train_seconds / run.steps * run.steps_per_epoch,
        "seconds_per_epoch_from": f"{run.steps} steps run, of {run.steps_per_epoch} in an epoch",
        "targets_per_second": run.samples / run.train_seconds,
        "tokens_per_second": run.tokens / run.train_seconds,
        "curve": run.curve,
    }


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Result of train.py; results/quality/<data>-paper-seed0.json if not given.",
)
@click.option("--target", type=float, default=None, help="Validation NDCG@10; the paper's for DATA if not given.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True)
@click.option("--points", type=click.IntRange(min=1), default=20, show_default=True, help="Of the prefixes' curve.")
@click.option("--turns", type=click.IntRange(min=1), default=10, show_default=True, help="To time both in.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, default=None, help="PyTorch's threads.")
@click.option("--device", default=default_device, help="cpu or cuda; a GPU if there is one.")
def main(
    data: Path,
    run_file: Path | None,
    target: float | None,
    minutes: float,
    points: int,
    turns: int,
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Train on DATA and write benchmarks/results/quality-learning-speed-<data>.json."""
    if threads is not None:
        torch.set_num_threads(threads)
    run_file = run_file or QUALITY / f"{data.stem}-paper-seed0.json"
    if not run_file.exists():
        raise click.UsageError(f"there is no {run_file}: run benchmarks/quality/train.py {data} --recipe paper first")
    positions = json.loads(run_file.read_text(encoding="utf-8"))
    if positions["data"] != data.stem:
        raise click.BadParameter(f"{run_file} is of {positions['data']}, not of {data.stem}")
    if target is None:
        target = PUBLISHED.get(data.stem, {}).get(PAPER, {}).get("ndcg@10")
    if target is None:
        raise click.UsageError(f"{data.stem} has no published number: give --target")

    prepared = prepare(data, DataSettings())
    split = cut(prepared.split, positions["history"])
    training = positions["training"]
    max_history = training["max_history"]

    def new_model() -> RecBLR:
        torch.manual_seed(seed)
        return RecBLR(RecBLRConfig.from_dict(positions["model"])).to(device)

    sampled = seconds_per_epoch(new_model(), split.train, max_history, training["batch_tokens"], turns, device)
    click.echo(f"seconds per epoch, in {turns} turns: {sampled['seconds']}, ratio {sampled['ratio']:.1f}")
    run = train_on_prefixes(new_model(), split, max_history, seed, minutes * 60, points)
    curve = curve_of_positions(positions)
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "data": data.stem,
        "model": positions["model"],
        "history": positions["history"],
        "max_history": max_history,
        "seed": seed,
        "target_validation_ndcg@10": target,
        "seconds_per_epoch_in_turn": sampled,
        "every_position": _of_positions(positions, curve, target),
        "one_sample_per_prefix": _of_prefixes(run, target),
    }
    name = f"quality-learning-speed-{data.stem}"
    curves = {"every_position": curve, "one_sample_per_prefix": run.curve}
    for scheme, points_of_scheme in curves.items():
        click.echo(f"{scheme}: validation NDCG@10 {target:g}: {reached(points_of_scheme, target) or 'not reached'}")
    click.echo(f"written to {write_result(name, result)} and {plot(name, curves, target)}")


if __name__ == "__main__":
    main()
