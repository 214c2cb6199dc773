"""What an answer costs with each of the peers: whole histories to the 10 best items, and one new event.

    python benchmarks/quality/inference_cost.py ml-1m.parquet

Histories are those of DATA's test part, cut as the data set's recipe cuts them, each asked for once by all in turn; the
models compute in PyTorch eager, RecBLR also in its engine. What a model costs does not depend on its weights, so these
are random. An event is one item on a stored state with RecBLR; the others, as they are here, read the history again.
The result is results/quality-inference-cost-<data>.json.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from baselines import SASRec, SASRecConfig
from gru4rec import GRU4Rec, GRU4RecConfig
from machine import machine_info, write_result
from measure import interleaved
from neighbours import item_knn_scorer, popularity_scorer
from runner import cut, recipes_of

import recblr.runtime
from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.evaluation import Scorer, model_scorer
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.preparation import DataSettings, prepare

K = 10
RECBLR, ENGINE, EVENT = "RecBLR", "RecBLR, engine", "RecBLR, engine, one event"

Answer = Callable[[list[list[int]]], object]


@torch.inference_mode()
def answer(scorer: Scorer, histories: list[list[int]]) -> Tensor:
    """The best items of each history: int64 [B, K]."""
    items = torch.tensor([item for history in histories for item in history])
    offsets = torch.tensor([0, *map(len, histories)]).cumsum(0)
    return scorer(items, offsets).topk(K).indices


def measure(answers: dict[str, Answer], batches: list[list[list[int]]]) -> dict[str, float]:
    """Mean over batches of the median milliseconds of each answer, all called in turn."""
    times = [interleaved({name: partial(of, batch) for name, of in answers.items()}, 5, "cpu") for batch in batches]
    return {name: statistics.mean(time[name]["median"] for time in times) for name in answers}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--requests", type=click.IntRange(min=1), default=32, show_default=True, help="Of one user; of 32, fewer."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
def main(data: Path, requests: int, threads: int) -> None:
    """Measure on DATA's histories."""
    recipes = recipes_of(data)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    history = recipes["paper"].history
    assert history is not None
    prepared = prepare(data, DataSettings())
    split, n_items = cut(prepared.split, history), prepared.interactions.n_items
    recblr_model = RecBLR(RecBLRConfig(n_items)).eval()
    scorers: dict[str, Scorer] = {
        "popularity": popularity_scorer(split.train, n_items),
        "item-kNN": item_knn_scorer(split.train, n_items),
        "SASRec": model_scorer(SASRec(SASRecConfig(n_items, history, fused_attention=True)).eval()),  # type: ignore[arg-type]
        "GRU4Rec": model_scorer(GRU4Rec(GRU4RecConfig(n_items)).eval()),  # type: ignore[arg-type]
        RECBLR: model_scorer(recblr_model),
    }
    answers: dict[str, Answer] = {name: partial(answer, scorer) for name, scorer in scorers.items()}
    vocabulary = prepared.vocabulary()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(Checkpoint(recblr_model, vocabulary), bundle)
        engine = recblr.runtime.load(bundle, threads)
        ids = [0, *vocabulary.ids]
        states = engine.step(None, [vocabulary.ids[:1]] * 32)[1]
        answers[ENGINE] = lambda rows: engine.recommend([[ids[i] for i in row] for row in rows], K, exclude_seen=False)
        answers[EVENT] = lambda rows: engine.step(states[: len(rows)], [[ids[row[-1]]] for row in rows], K)
        of_users = split.test.histories
        chosen = np.random.default_rng(0).choice(len(of_users), 32 * requests)
        rows = [of_users.items[of_users.offsets[u] : of_users.offsets[u + 1]].tolist() for u in chosen]
        one = measure(answers, [[row] for row in rows[:requests]])
        many = measure(answers, [rows[at : at + 32] for at in range(0, len(rows), 32 * 8)])
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "data": data.stem,
        "threads": threads,
        "engine": engine.description,
        "mean_length": statistics.mean(map(len, rows)),
        "k": K,
        "users": [{"users": 1, "ms": one}, {"users": 32, "ms": many}],
    }
    for name in answers:
        click.echo(f"{name:26} 1 user {one[name]:8.3f} ms, 32 users {many[name]:8.2f} ms")
    click.echo(f"written to {write_result(f'quality-inference-cost-{data.stem}', result)}")


if __name__ == "__main__":
    main()
