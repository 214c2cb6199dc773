"""Other recommenders on the same data, splits and evaluation.

    python benchmarks/quality/peers.py amazon-beauty.parquet --peer popularity --peer item-knn --peer sasrec

One JSON file per peer and seed in benchmarks/results/quality/. SASRec and GRU4Rec are trained as the data set's paper
recipe trains RecBLR: the same loss over all items at all positions, optimizer, schedule, dropout and history, but
without its item vectors of one length.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from baselines import SASRec, SASRecConfig
from gru4rec import GRU4Rec, GRU4RecConfig
from runner import cut, recipes_of, train, write_run

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine_info
from neighbours import item_knn_scorer, popularity_scorer

from recblr.config import RecBLRConfig
from recblr.evaluation import Scorer, metrics_of_ranks, rank_targets
from recblr.preparation import DataSettings, prepare

SCORERS = {"popularity": popularity_scorer, "item-knn": item_knn_scorer}
NOTES = {
    "popularity": "how often each item occurs in the training part",
    "item-knn": "cosine similarity of items by the users who have both, all neighbours, summed over the history",
    "sasrec": "SASRec, 2 layers, 2 heads, D=64, full softmax",
    "gru4rec": "GRU4Rec, 1 layer of 128, D=64, full softmax",
}


def model_maker(peer: str, history: int) -> Callable[[RecBLRConfig], Any]:
    """Builds the peer from RecBLR's settings: items, width, dropout."""
    if peer == "sasrec":
        return lambda config: SASRec(
            SASRecConfig(config.n_items, history, dim=config.dim, layers=config.layers, dropout=config.dropout)
        )
    return lambda config: GRU4Rec(GRU4RecConfig(config.n_items, dim=config.dim, dropout=config.dropout))


def evaluate_scorer(data: Path, peer: str, history: int | None) -> dict[str, Any]:
    """What `runner.train` gives, for a peer that is counted and not trained."""
    prepared = prepare(data, DataSettings())
    split, n_items = cut(prepared.split, history), prepared.interactions.n_items
    started = time.perf_counter()
    scorer: Scorer = SCORERS[peer](split.train, n_items)
    counted = time.perf_counter()
    parts = {"validation": split.validation, "test": split.test}

    def metrics(mask_seen: bool) -> dict[str, Any]:
        ranks = {name: rank_targets(scorer, part, n_items, mask_seen) for name, part in parts.items()}
        return {name: metrics_of_ranks(of_part) for name, of_part in ranks.items()}

    return {
        "data": data.stem,
        "history": history,
        "train_seconds": counted - started,
        **metrics(mask_seen=False),
        "seen_left_out": metrics(mask_seen=True),
        "machine": machine_info(("recblr", "torch", "numpy")),
    }


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(NOTES)), help="All if not given.")
@click.option("--seeds", default="0", show_default=True, help="Comma-separated; of the trained ones.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".quality"), show_default=True)
@click.option("--threads", type=int, default=None, help="PyTorch's threads.")
def main(data: Path, peers: tuple[str, ...], seeds: str, work: Path, threads: int | None) -> None:
    """Evaluate peers on DATA, whose file name, without its ending, is that of a data set in recipes.py."""
    recipes = recipes_of(data)
    if threads is not None:
        torch.set_num_threads(threads)
    # Item vectors of one length are for models in which a norm follows them.
    recipe = dataclasses.replace(recipes["paper"], objective={})
    for peer in peers or NOTES:
        if peer in SCORERS:
            runs = {f"{data.stem}-{peer}": evaluate_scorer(data, peer, recipe.history)}
        else:
            assert recipe.history is not None
            make_model = model_maker(peer, recipe.history)
            names = [(f"{data.stem}-{peer}-seed{seed}", int(seed)) for seed in seeds.split(",")]
            runs = {name: train(data, recipe, seed, work, name, make_model=make_model) for name, seed in names}
        for name, run in runs.items():
            run |= {"recipe": peer, "note": NOTES[peer]}
            click.echo(f"{name}: test {run['test']}, written to {write_run(name, run)}")


if __name__ == "__main__":
    main()
