"""Trains one recipe with one seed and writes down all that happened."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import RESULTS, machine_info
from recipes import RECIPES, Recipe

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.data import Split
from recblr.evaluation import evaluate
from recblr.files import write_text
from recblr.model import RecBLR
from recblr.objective import Objective
from recblr.preparation import DataSettings, PreparedData, prepare
from recblr.saved_run import load_run
from recblr.trainer import SELECTION_METRIC, EpochRecord, Trainer, TrainingConfig

QUALITY = RESULTS / "quality"


class Progress:
    """One line per epoch; implements `recblr.trainer.Monitor`."""

    def epoch_started(self, epoch: int, tokens: int) -> None:
        """Nothing."""

    def batch_done(self, tokens: int, loss: float) -> None:
        """Nothing."""

    def validating(self) -> None:
        """Nothing."""

    def epoch_done(self, record: EpochRecord, model: RecBLR) -> None:
        """Report the epoch."""
        click.echo(
            f"epoch {record.epoch:3}  loss {record.loss:.4f}  {SELECTION_METRIC} "
            f"{record.validation[SELECTION_METRIC]:.4f}  {record.tokens / record.train_seconds:,.0f} tokens/s"
            f"{'  best' if record.best else ''}"
        )


def recipes_of(data: Path) -> dict[str, Recipe]:
    """The recipes of the data set that a file is named after.

    Raises:
        click.BadParameter: it has none.
    """
    if data.stem not in RECIPES:
        raise click.BadParameter(f"{data.stem} has no recipes: give one of {', '.join(RECIPES)}")
    return RECIPES[data.stem]


def cut(split: Split, history: int | None) -> Split:
    """The split with validation and test histories cut to the latest items."""
    if history is None:
        return split
    return dataclasses.replace(split, validation=split.validation.latest(history), test=split.test.latest(history))


def train(
    data: Path,
    recipe: Recipe,
    seed: int,
    work: Path,
    name: str,
    test: bool = True,
    make_model: Callable[[RecBLRConfig], RecBLR] = RecBLR,
) -> dict[str, Any]:
    """Train and evaluate; goes on where an interrupted run of the same settings stopped.

    Args:
        data: the interactions.
        recipe: settings.
        seed: decides all randomness.
        work: folder of what is kept between runs: the resume file, and the trained model.
        name: of the run, for its files.
        test: read the test part, once, after training.
        make_model: builds another model than RecBLR's own.

    Returns:
        JSON-ready: settings, the validation curve, the best epoch, validation and test metrics, both also with the
        items of the history left out of the ranking, seconds, machine.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    prepared = prepare(data, DataSettings())
    split = cut(prepared.split, recipe.history)
    torch.manual_seed(seed)
    model = make_model(RecBLRConfig(n_items=prepared.interactions.n_items, **recipe.model))
    config = TrainingConfig(seed=seed, objective=Objective(**recipe.objective), **recipe.training)
    trainer = Trainer(model, split, config, device="cuda" if torch.cuda.is_available() else "cpu")
    work.mkdir(parents=True, exist_ok=True)
    resume_file = work / f"{name}.resume"
    if resume_file.exists():
        trainer.resume(load_run(resume_file))
        click.echo(f"resuming after epoch {trainer.state.epoch}")
    best = trainer.fit(Progress(), resume_file)
    model = trainer.model
    parts = {"validation": split.validation} | ({"test": split.test} if test else {})
    if type(model) is RecBLR:
        _checkpoint(model, prepared, config).save(work / f"{name}.pt")
    return {
        "data": data.stem,
        "seed": seed,
        "model": model.config.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": dataclasses.asdict(config),
        "history": recipe.history,
        "note": recipe.note,
        "device": trainer.device,
        "threads": torch.get_num_threads(),
        "epochs": trainer.state.epoch,
        "best_epoch": best.epoch,
        "validation": best.validation,
        "test": evaluate(model, split.test).metrics if test else None,
        "seen_left_out": {part: evaluate(model, targets, mask_seen=True).metrics for part, targets in parts.items()},
        "train_seconds": sum(record.train_seconds for record in trainer.state.records),
        "validation_seconds": sum(record.validation_seconds for record in trainer.state.records),
        "wall_seconds_since_last_start": time.perf_counter() - started,
        "cpu_seconds_since_last_start": time.process_time() - cpu_started,
        "curve": [
            {
                "epoch": record.epoch,
                "loss": record.loss,
                "validation_ndcg@10": record.validation["ndcg@10"],
                "validation_hr@10": record.validation["hr@10"],
                "train_seconds": record.train_seconds,
                "tokens": record.tokens,
            }
            for record in trainer.state.records
        ],
        "machine": machine_info(("recblr", "torch", "numpy")),
    }


def write_run(name: str, run: dict[str, Any]) -> Path:
    """Write `results/quality/<name>.json`."""
    QUALITY.mkdir(parents=True, exist_ok=True)
    path = QUALITY / f"{name}.json"
    write_text(path, json.dumps(run, indent=2, allow_nan=False) + "\n")
    return path


def _checkpoint(model: RecBLR, prepared: PreparedData, config: TrainingConfig) -> Checkpoint:
    return Checkpoint(model.cpu(), prepared.vocabulary(), training=dataclasses.asdict(config))
