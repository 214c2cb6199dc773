"""Serving speed on this CPU: the engine against the authors' computation and against recblr's own in PyTorch eager, its
native ops against the ONNX functions, and a step against whole histories.

    python benchmarks/serving.py [DATA]

Without DATA the lengths of histories are those of a log-normal distribution like MovieLens's.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from authors_model import AuthorsModel
from machine import machine_info, write_result

import recblr.runtime
from recblr.authors import import_state_dict
from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.errors import ConfigError
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.plugins import find_library
from recblr.preparation import DataSettings, prepare
from recblr.vocabulary import ItemVocabulary

N_ITEMS = 3416
K = 10
HISTORY_LENGTHS = (10, 100, 200, 1_000, 10_000)
AUTHORS_HISTORY_LENGTH = 200  # what they use for ML-1M; the scan pads it to 256
AUTHORS_USERS = 32
WARM_UP = 3  # calls
PAUSE = 0.05  # seconds; PyTorch's threads wait actively for a while after a run


def interleaved(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each function, called in turn so that the machine's drift meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + WARM_UP):
        for name, function in functions.items():
            times[name] += milliseconds(function, 1)[repeat < WARM_UP :]
    return {name: statistics.median(values) for name, values in times.items()}


def in_turns(functions: dict[str, Callable[[], object]], repeats: int, turns: int = 5) -> dict[str, float]:
    """The same with some calls of a function in a row, and pauses in which its threads fall asleep."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(turns):
        for name, function in functions.items():
            time.sleep(PAUSE)
            times[name] += milliseconds(function, WARM_UP + repeats // turns)[WARM_UP:]
    return {name: statistics.median(values) for name, values in times.items()}


def milliseconds(function: Callable[[], object], calls: int) -> list[float]:
    """What each call takes."""
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def history_lengths(data: Path | None, rows: int, generator: np.random.Generator) -> tuple[np.ndarray, str]:
    """Lengths of `rows` histories, and where they are from."""
    if data is None:
        return np.clip(generator.lognormal(4.5, 1.0, rows), 5, 2000).astype(int), "log-normal, median 90"
    lengths = prepare(data, DataSettings()).split.test.histories.lengths
    return generator.choice(lengths, rows), data.name


def engine_against_authors(data: Path | None, vocabulary: ItemVocabulary, folder: Path) -> dict[str, Any]:
    """One user's whole history, cut to the authors' length: `recommend` against their computation, same weights.

    Both with one thread and with all. Times are per user the median of all called in turn; the ratio is of the faster
    of each. The best scores are compared as well.
    """
    authors = AuthorsModel(N_ITEMS, AUTHORS_HISTORY_LENGTH).eval()
    model = import_state_dict(authors.state_dict(), AUTHORS_HISTORY_LENGTH)
    export_bundle(Checkpoint(model, vocabulary), folder)
    all_threads = torch.get_num_threads()
    engines = {threads: recblr.runtime.load(folder, threads) for threads in sorted({1, all_threads})}
    generator = np.random.default_rng(3)
    lengths, _ = history_lengths(data, AUTHORS_USERS, generator)
    lengths = np.minimum(lengths, AUTHORS_HISTORY_LENGTH)

    def ask_engine(history: list[int], threads: int) -> np.ndarray:
        (ranking,) = engines[threads].recommend([history], k=K, exclude_seen=False)
        return ranking.scores

    @torch.inference_mode()
    def ask_authors(history: list[int], threads: int) -> np.ndarray:
        torch.set_num_threads(threads)
        scores = authors.scores(authors.query(*authors.pad([history])))
        return scores[0, 1:].topk(K).values.numpy()

    times, largest_difference = [], 0.0
    for length in lengths:
        history = generator.integers(1, N_ITEMS + 1, length).tolist()
        calls: dict[str, Callable[[], object]] = {}
        for threads in engines:
            calls[f"engine, threads: {threads}"] = partial(ask_engine, history, threads)
            calls[f"authors, threads: {threads}"] = partial(ask_authors, history, threads)
        times.append(interleaved(calls, 20))
        difference = float(np.abs(ask_engine(history, 1) - ask_authors(history, 1)).max())
        largest_difference = max(largest_difference, difference)
    torch.set_num_threads(all_threads)
    means = {name: statistics.mean(time[name] for time in times) for name in times[0]}
    fastest = {who: min(ms for name, ms in means.items() if name.startswith(who)) for who in ("engine", "authors")}
    return {
        "users": AUTHORS_USERS,
        "mean_length": float(lengths.mean()),
        "padded_to": 1 << (AUTHORS_HISTORY_LENGTH - 1).bit_length(),
        "ms": means,
        "ratio": fastest["authors"] / fastest["engine"],
        "largest_score_difference": largest_difference,
    }


def engine_against_pytorch(engine: Any, model: RecBLR, data: Path | None) -> tuple[list[dict[str, Any]], str]:
    """The whole of `recommend` against the model and its top-k in PyTorch eager, for 1 and 32 users."""
    generator = np.random.default_rng(0)
    rows_measured = []
    for users in (1, 32):
        batches, source = [], ""
        for _ in range(8):
            lengths, source = history_lengths(data, users, generator)
            batches.append([generator.integers(1, N_ITEMS + 1, length).tolist() for length in lengths])
        turn = {"engine": 0, "pytorch": 0}

        def next_batch(who: str, batches: list[Any] = batches, turn: dict[str, int] = turn) -> Any:
            turn[who] += 1
            return batches[turn[who] % len(batches)]

        def engine_run(next_batch: Any = next_batch) -> object:
            return engine.recommend(next_batch("engine"), k=K, exclude_seen=False)

        @torch.inference_mode()
        def pytorch_run(next_batch: Any = next_batch) -> object:
            histories = next_batch("pytorch")
            items = torch.tensor([item for history in histories for item in history])
            offsets = torch.tensor([0, *map(len, histories)]).cumsum(0)
            query, _ = model.query(items, offsets)
            return model.scores(query).topk(K)

        medians = in_turns({"engine": engine_run, "pytorch": pytorch_run}, 40)
        rows_measured.append({"users": users, "ms": medians, "ratio": medians["pytorch"] / medians["engine"]})
    return rows_measured, source


def native_against_functions(bundle: Path, data: Path | None) -> list[dict[str, Any]] | None:
    """`recommend` for 1 and 32 users and a step of each, both ways; None where the library has no operators."""
    try:
        engines = {
            "native": recblr.runtime.load(bundle, native_ops=True),
            "functions": recblr.runtime.load(bundle, native_ops=False),
        }
    except ConfigError:
        return None
    generator = np.random.default_rng(2)
    measured = []
    for users in (1, 32):
        lengths, _ = history_lengths(data, users, generator)
        histories = [generator.integers(1, N_ITEMS + 1, length).tolist() for length in lengths]
        new_items = [[7]] * users
        states = engines["functions"].step(None, histories, k=K)[1]
        calls: dict[str, Callable[[Any], object]] = {
            "recommend": lambda engine, histories=histories: engine.recommend(histories, k=K, exclude_seen=False),  # type: ignore[misc]
            "step": lambda engine, states=states, new=new_items: engine.step(states, new, k=K),  # type: ignore[misc]
        }
        for name, call in calls.items():
            medians = interleaved({way: partial(call, engine) for way, engine in engines.items()}, 100)
            measured.append(
                {
                    "call": name,
                    "users": users,
                    "items": int(lengths.sum()) if name == "recommend" else users,
                    "ms": medians,
                    "ratio": medians["functions"] / medians["native"],
                }
            )
    return measured


def step_against_recommend(engine: Any) -> list[dict[str, Any]]:
    """One new item on a stored state against the whole history, over lengths of history."""
    generator = np.random.default_rng(1)
    histories = {n: generator.integers(1, N_ITEMS + 1, n).tolist() for n in HISTORY_LENGTHS}
    states = {n: engine.step(None, [history], k=K)[1] for n, history in histories.items()}
    steps = interleaved(
        {str(n): lambda state=state: engine.step(state, [[7]], k=K) for n, state in states.items()},  # type: ignore[misc]
        400,
    )
    whole = {
        n: interleaved({"all": partial(engine.recommend, [history], k=K, exclude_seen=False)}, 10)["all"]
        for n, history in histories.items()
    }
    return [
        {"history": n, "step_ms": steps[str(n)], "recommend_ms": whole[n], "ratio": whole[n] / steps[str(n)]}
        for n in histories
    ]


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True), required=False)
def main(data: Path | None) -> None:
    """Measure and write benchmarks/results/serving.json."""
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(Checkpoint(model, vocabulary), bundle)
        engine = recblr.runtime.load(bundle)
        against_authors = engine_against_authors(data, vocabulary, Path(folder) / "authors")
        against_pytorch, lengths = engine_against_pytorch(engine, model, data)
        against_functions = native_against_functions(bundle, data)
        steps = step_against_recommend(engine)
    slowest, fastest = (f(row["step_ms"] for row in steps) for f in (max, min))
    result = {
        "machine": machine_info(("recblr", "torch", "onnxruntime-gpu", "numpy")),
        "model": model.config.to_dict(),
        "engine": engine.description,
        "pytorch_ops": "native" if find_library() is not None else "reference",
        "k": K,
        "lengths": lengths,
        "engine_against_authors": against_authors,
        "engine_against_pytorch": against_pytorch,
        "native_against_functions": against_functions,
        "step_against_recommend": steps,
        "step_spread": slowest / fastest,
    }
    path = write_result("serving", result)
    for name, mean in against_authors["ms"].items():
        click.echo(f"1 user of {against_authors['mean_length']:.0f} items: {name} {mean:8.2f} ms")
    click.echo(f"  the authors' computation against the engine, the faster of each: {against_authors['ratio']:.1f}")
    for row in against_pytorch:
        ms = row["ms"]
        click.echo(
            f"{row['users']:3} users: engine {ms['engine']:8.2f} ms, PyTorch {ms['pytorch']:8.2f} ms, "
            f"ratio {row['ratio']:.1f}"
        )
    for row in against_functions or []:
        ms = row["ms"]
        click.echo(
            f"{row['users']:3} users, {row['call']:9}: native ops {ms['native']:8.2f} ms, ONNX functions "
            f"{ms['functions']:8.2f} ms, ratio {row['ratio']:.2f}"
        )
    for row in steps:
        click.echo(
            f"history {row['history']:6}: step {row['step_ms']:.3f} ms, recommend {row['recommend_ms']:9.2f} ms, "
            f"ratio {row['ratio']:.1f}"
        )
    click.echo(f"slowest step / fastest step {slowest / fastest:.2f}, written to {path}")


if __name__ == "__main__":
    main()
