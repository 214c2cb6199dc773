"""Writes docs/quality.md and the plots of validation curves from the runs in benchmarks/results/quality/.

python benchmarks/quality/table.py
"""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from plots import new_figure, write_plot
from recipes import COLUMNS, PUBLISHED, RECIPES
from runner import QUALITY

from recblr.files import write_text

DOCUMENT = Path(__file__).parents[2] / "docs" / "quality.md"
TITLES = {"ml-1m": "MovieLens-1M", "amazon-beauty": "Amazon Beauty", "amazon-sports": "Amazon Sports"}
LABELS = {
    "paper": "**RecBLR, recblr's paper row**",
    "open": "**RecBLR, recblr's open row**",
    "popularity": "popularity",
    "item-knn": "item-kNN",
    "sasrec": "SASRec, trained here",
    "gru4rec": "GRU4Rec, trained here",
}


def runs_of(data: str) -> dict[str, list[dict[str, Any]]]:
    """The runs of a data set by recipe, in the order of `LABELS`."""
    runs: dict[str, list[dict[str, Any]]] = {recipe: [] for recipe in LABELS}
    for path in sorted(QUALITY.glob(f"{data}-*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["data"] == data and run["recipe"] in runs:
            runs[run["recipe"]].append(run)
    return {recipe: of_recipe for recipe, of_recipe in runs.items() if of_recipe}


def row(label: str, seeds: str, cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {label} | {seeds} | {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    """Mean, and standard deviation of several."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


def section(data: str, runs: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """A data set's part of the document, line by line."""
    yield f"## {TITLES[data]}"
    yield ""
    yield row("", "seeds", ["HR@10", "NDCG@10", "MRR@10", "HR@20", "NDCG@20", "validation NDCG@10"])
    yield row("---", "---", ["---"] * 6)
    for label, metrics in PUBLISHED[data].items():
        yield row(label, "", [f"{metrics[c]:.4f}" if c in metrics else "" for c in COLUMNS] + [""])
    for recipe, of_recipe in runs.items():
        cells = [spread([run["test"][column] for run in of_recipe]) for column in COLUMNS]
        cells.append(spread([run["validation"]["ndcg@10"] for run in of_recipe]))
        yield row(LABELS[recipe], str(len(of_recipe)) if "seed" in of_recipe[0] else "", cells)
    yield ""
    for recipe, of_recipe in runs.items():
        if "curve" in of_recipe[0]:
            yield "- " + described(recipe, of_recipe)
    yield ""
    if any("curve" in of_recipe[0] for of_recipe in runs.values()):
        yield f"![Validation NDCG@10 over epochs](../benchmarks/results/quality-{data}.png)"
        yield ""


def tried(data: str) -> Iterator[str]:
    """The trials of a data set: what `train.py --try` left, whose results were looked at on validation alone."""
    trials = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((QUALITY / "trials").glob("*.json"))]
    trials = [trial for trial in trials if trial["data"] == data]
    if not trials:
        return
    yield "What was tried and not kept, one seed each:"
    yield ""
    yield row("settings", "epochs", ["validation HR@10", "validation NDCG@10"])
    yield row("---", "---", ["---"] * 2)
    for trial in sorted(trials, key=lambda trial: -trial["validation"]["ndcg@10"]):
        metrics = [f"{trial['validation'][name]:.4f}" for name in ("hr@10", "ndcg@10")]
        yield row(settings_of(trial), f"{trial['best_epoch']} of {trial['epochs']}", metrics)
    yield ""


def settings_of(run: dict[str, Any]) -> str:
    """What distinguishes a run, in words."""
    training, objective = run["training"], run["training"]["objective"]
    if objective["loss"] == "sampled":
        correction = "corrected" if objective["correction"] else "uncorrected"
        loss = f"{objective['negatives']} sampled negatives, {correction}"
    else:
        loss = "all items"
    norm = f", item vectors of length {objective['item_norm']:g}" if objective["item_norm"] else ""
    average = f", weights averaged with {training['weight_average']:g}" if training["weight_average"] else ""
    decay = f", weight decay {training['weight_decay']:g}" if training["weight_decay"] else ""
    width = f", D={run['model']['dim']}" if run["model"]["dim"] != 64 else ""
    return (
        f"{loss}{norm}{width}, dropout {run['model']['dropout']:g}, learning rate {training['learning_rate']:g} "
        f"({training['schedule']}), batches of {training['batch_tokens']} items{average}{decay}"
    )


def described(recipe: str, runs: list[dict[str, Any]]) -> str:
    """How the runs were made, in a sentence."""
    training, objective = runs[0]["training"], runs[0]["training"]["objective"]
    parts = [
        f"{runs[0]['note']}; dropout {runs[0]['model']['dropout']:g}",
        f"learning rate {training['learning_rate']:g}, {training['schedule']}",
        f"batches of {training['batch_tokens']} items",
        f"weights averaged with {training['weight_average']:g}" if training["weight_average"] else "",
        f"weight decay {training['weight_decay']:g}" if training["weight_decay"] else "",
        f"item vectors of length {objective['item_norm']:g}" if objective["item_norm"] else "",
        f"{objective['negatives']} sampled negatives" if objective["loss"] == "sampled" else "",
        f"best of {'/'.join(str(run['epochs']) for run in runs)} epochs: "
        f"{'/'.join(str(run['best_epoch']) for run in runs)}",
        f"{runs[0]['parameters']:,} parameters",
    ]
    return f"{LABELS[recipe].strip('*')}: " + "; ".join(part for part in parts if part) + "."


def plot(data: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Validation curves as PNG."""
    figure = new_figure(6.4)
    axes = figure.add_subplot()
    for recipe, of_recipe in runs.items():
        for n, run in enumerate(of_recipe):
            if "curve" not in run:
                continue
            label = LABELS[recipe].strip("*") if n == 0 else None
            color = f"C{list(LABELS).index(recipe)}"
            values = [epoch["validation_ndcg@10"] for epoch in run["curve"]]
            axes.plot([epoch["epoch"] for epoch in run["curve"]], values, color=color, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation NDCG@10")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    write_plot(f"quality-{data}", figure)


INTRODUCTION = """# Recommendation quality

Written by `benchmarks/quality/table.py` from the runs in `benchmarks/results/quality/`; do not edit.

Protocol: 5-core, leave-one-out (each user's last item is the test, the one before it validation), all items ranked,
none masked. The epoch is chosen by validation NDCG@10; the test part is read once per run, after training. The
published numbers are those of RecBLR's paper (table 2) and, last, the best reports on the same statistics that we know.

    python benchmarks/quality/train.py DATA.parquet --recipe paper --seeds 0,1,2   # then peers.py, table.py
"""


ORDERS = """\
The published numbers are of RecBole's order of the interactions, ours of their exact times, so on this data set
they cannot be compared directly. RecBole keeps timestamps as float32 (its issues 1653 and 2204): they differ by 64
seconds at least, and within those a user's films stay in the order of the ratings file, which is not by time, but
an order of films that many users share and that can be learned. `orders.py recbole` puts the original ratings file
into that order, for whoever has it. What such an order can do was measured without it (`order_effect.py`): after
{epochs} epochs of the same training, validation NDCG@10 is {exact:.4f} in the exact order, and {tied:.4f} with the
same interactions in {how} of all items"""


def order_effect(data: str) -> Iterator[str]:
    """What an order of ties does to a data set's score, where `order_effect.py` measured it."""
    path = QUALITY.parent / f"quality-order-effect-{data}.json"
    if not path.exists():
        return
    result = json.loads(path.read_text(encoding="utf-8"))
    (_, exact), (in_runs, tied) = result["runs"].items()
    exact_score, tied_score = (run["validation"]["ndcg@10"] for run in (exact, tied))
    text = ORDERS.format(epochs=exact["epochs"], exact=exact_score, tied=tied_score, how=in_runs)
    yield textwrap.fill(f"{text} ({tied_score / exact_score - 1:+.0%}).", 120)
    yield ""


def inference_cost(data: str) -> Iterator[str]:
    """What answers cost with a data set's histories, where `inference_cost.py` measured it."""
    path = QUALITY.parent / f"quality-inference-cost-{data}.json"
    if not path.exists():
        return
    result = json.loads(path.read_text(encoding="utf-8"))
    one, many = (users["ms"] for users in result["users"])
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    length = f"{result['mean_length']:.0f} items on average"
    yield f"What an answer costs, histories of {length}, {threads} (`inference_cost.py`):"
    yield ""
    yield row("ms", "1 user", ["32 users"])
    yield row("---", "---", ["---"])
    for name in one:
        yield row(name, f"{one[name]:.2f}", [f"{many[name]:.2f}"])
    yield ""


@click.command()
def main() -> None:
    """Write docs/quality.md."""
    lines = [INTRODUCTION]
    for data in RECIPES:
        runs = runs_of(data)
        if not runs:
            continue
        lines += [*section(data, runs), *order_effect(data), *inference_cost(data), *tried(data)]
        if any("curve" in run for of_recipe in runs.values() for run in of_recipe):
            plot(data, runs)
    write_text(DOCUMENT, "\n".join(lines))
    click.echo(f"written to {DOCUMENT}")


if __name__ == "__main__":
    main()
