"""Sweeps: what differs between entries, what the command line changes, and the figures over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from recblr.data import synthetic_interactions, write_interactions

BEAUTY = Path("amazon-beauty.parquet")


@pytest.fixture(scope="module")
def sweep(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("sweep")


@pytest.fixture(scope="module")
def variants(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("variants")


def test_the_command_line_changes_the_recipe(sweep: ModuleType) -> None:
    own = sweep.base_recipe(BEAUTY, sweep.Overrides())
    assert own.history == 50
    changed = sweep.base_recipe(BEAUTY, sweep.Overrides(epochs=3, dropout=0.1, max_history=20))
    assert changed.training == {**own.training, "epochs": 3, "max_history": 20}
    assert changed.model == {**own.model, "dropout": 0.1}
    assert changed.history == 20


def test_only_the_recipe_itself_shares_its_files(sweep: ModuleType, variants: ModuleType) -> None:
    none = sweep.Overrides()

    def name(entry: object, overrides: object = none, data: Path = BEAUTY) -> str:
        return str(sweep.run_name(data, "sweep", entry, 1, overrides))

    assert name(sweep.Entry("full")) == "amazon-beauty-paper-seed1"
    assert name(sweep.Entry("expansion 2", {"expansion": 2.0})) == "amazon-beauty-paper-seed1"
    assert name(sweep.Entry("expansion 3", {"expansion": 3.0})) == "amazon-beauty-sweep-expansion-3-seed1"
    assert name(sweep.Entry("no gates", make_model=variants.WithoutGates)) == "amazon-beauty-sweep-no-gates-seed1"
    assert name(sweep.Entry("full"), sweep.Overrides(epochs=2)) == "amazon-beauty-sweep-full-seed1"
    assert name(sweep.Entry("full"), data=Path("mine.csv")) == "mine-sweep-full-seed1"
    assert name(sweep.Entry("no decay", training={"weight_decay": 0.0})) == "amazon-beauty-sweep-no-decay-seed1"
    assert name(sweep.Entry("smooth", objective={"label_smoothing": 0.1})) == "amazon-beauty-sweep-smooth-seed1"
    assert sweep.run_name(BEAUTY, "sweep", sweep.Entry("full"), 1, none, "open") == "amazon-beauty-open-seed1"


def test_an_entry_changes_the_recipe(sweep: ModuleType) -> None:
    recipe = sweep.base_recipe(BEAUTY, sweep.Overrides(), "open")
    assert sweep.Entry("same").apply(recipe) == recipe
    changed = sweep.Entry(
        "x", model={"dropout": 0.1}, training={"weight_decay": 0.0}, objective={"correction": 0.0}
    ).apply(recipe)
    assert changed.model == {**recipe.model, "dropout": 0.1}
    assert changed.training == {**recipe.training, "weight_decay": 0.0}
    assert changed.objective == {**recipe.objective, "correction": 0.0}


def test_every_option_is_one_change_of_the_open_recipe(
    sweep: ModuleType, quality_module: Callable[[str], ModuleType]
) -> None:
    recipe = sweep.base_recipe(BEAUTY, sweep.Overrides(), "open")
    first, *others = quality_module("options").ENTRIES
    assert first.apply(recipe) == recipe
    labels = {first.label}
    for entry in others:
        changes = [*entry.model.items(), *entry.training.items(), *entry.objective.items()]
        assert len(changes) == 1
        assert entry.apply(recipe) != recipe
        labels.add(entry.label)
    assert len(labels) == len(others) + 1


def test_mean_and_standard_deviation(sweep: ModuleType) -> None:
    runs = [{"test": dict.fromkeys(sweep.METRICS, value)} for value in (0.1, 0.4)]
    of = sweep.of_runs(runs, "test")["ndcg@10"]
    assert of == {"mean": pytest.approx(0.25), "sd": pytest.approx(statistics.stdev([0.1, 0.4]))}
    assert sweep.of_runs(runs[:1], "test")["hr@10"] == {"mean": 0.1, "sd": 0.0}


def test_a_sweep_trains_every_entry(sweep: ModuleType, variants: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "made-up.parquet"
    write_interactions(synthetic_interactions(60, 40, 8, seed=0), data)
    entries = (sweep.Entry("full"), sweep.Entry("no convolution", make_model=variants.WithoutConvolution))
    rows = sweep.run_sweep(data, "sweep", entries, [0, 1], sweep.Overrides(epochs=1, max_history=6), tmp_path / "work")
    assert [row["label"] for row in rows] == ["full", "no convolution"]
    assert [row["model"]["conv_width"] for row in rows] == [4, 1]
    assert rows[0]["parameters"] > rows[1]["parameters"]
    for row in rows:
        assert [run["seed"] for run in row["runs"]] == [0, 1]
        mean = (row["runs"][0]["test"]["hr@20"] + row["runs"][1]["test"]["hr@20"]) / 2
        assert row["test"]["hr@20"]["mean"] == pytest.approx(mean)


def test_a_sweep_adds_seeds_to_its_results(sweep: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "made-up.parquet"
    write_interactions(synthetic_interactions(60, 40, 8, seed=0), data)
    entries, overrides = (sweep.Entry("full"),), sweep.Overrides(epochs=1, max_history=6)
    described = sweep.describe(sweep.base_recipe(data, overrides), [0])
    path = tmp_path / "results.json"
    assert sweep.earlier_runs(path, described) == {}
    rows = sweep.run_sweep(data, "sweep", entries, [0], overrides, tmp_path / "work")
    marked = {**rows[0]["runs"][0], "test": dict.fromkeys(sweep.METRICS, 0.5)}  # to be recognised
    machine = marked.pop("machine")
    content = {**described, "machine": machine, "entries": [{**rows[0], "runs": [marked]}]}
    path.write_text(json.dumps(content))

    earlier = sweep.earlier_runs(path, {**described, "seeds": [1]})
    (added,) = sweep.run_sweep(data, "sweep", entries, [0, 1], overrides, tmp_path / "work", earlier=earlier)
    assert [run["seed"] for run in added["runs"]] == [0, 1]
    assert added["runs"][0] == {**marked, "machine": machine}
    assert added["runs"][1]["test"] != marked["test"]
    with pytest.raises(click.UsageError, match="training"):
        sweep.earlier_runs(path, sweep.describe(sweep.base_recipe(data, sweep.Overrides(epochs=2, max_history=6)), [1]))
    other = {key: {**run, "model": {**run["model"], "dim": 8}} for key, run in earlier.items()}
    with pytest.raises(click.UsageError, match="another model"):
        sweep.run_sweep(data, "sweep", entries, [0, 1], overrides, tmp_path / "work", earlier=other)
