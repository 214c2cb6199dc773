"""Memory and time over the length of histories (the paper's figure 4), for RecBLR, an LRU without gates, and SASRec.

    python benchmarks/quality/history_length.py

The data is made up in the manner of XLong: long histories, all of one length, of a large catalogue. Measured are:

- `train_ms`: one optimizer step, forward, backward and Adam, on a fixed number of items in all;
- `train_memory_mib`: the most that building the model and training it takes, beyond what the process held before; on a
  CPU with an allocator that hands freed memory back, so that it is what is in use;
- `event_ms`: a user's vector after one new item: RecBLR and the LRU go on from a stored state, a SASRec has none and
  reads the history again;
- `inference_ms`: one user's whole history to the 10 best items of the catalogue; `query_ms` of it up to the user's
  vector, without the ranking, which takes the same time for every model and length.

The loss is over a sample of 512 items, as it would be with such a catalogue: over all items it would take most of the
time, the same for every model. Every measurement has a process of its own. Rounds go over all lengths and models, so
that the machine's drift meets all alike; times are medians over rounds of medians over steps. Memory does not vary
and is measured once.

`SASRec` computes attention step by step, as published implementations do, `SASRec, fused attention` by PyTorch's fused
kernels, which never hold all its weights. `LRU` is RecBLR with its gates held open: a linear recurrence of constant
decay.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from baselines import SASRec, SASRecConfig
from machine import machine_info, write_result
from measure import (
    check_clock,
    clock_option,
    default_device,
    device_name,
    interleaved,
    memory_in_use,
    peak_memory,
)
from plots import new_figure, write_plot
from variants import WithoutGates

from recblr.config import RecBLRConfig
from recblr.data import synthetic_interactions
from recblr.model import RecBLR
from recblr.objective import Objective
from recblr.plugins import find_library

K = 10
Model = RecBLR | SASRec

MODELS: dict[str, Callable[[int, int], Model]] = {
    "RecBLR": lambda n_items, length: RecBLR(RecBLRConfig(n_items)),
    "LRU": lambda n_items, length: WithoutGates(RecBLRConfig(n_items)),
    "SASRec": lambda n_items, length: SASRec(SASRecConfig(n_items, length)),
    "SASRec, fused attention": lambda n_items, length: SASRec(SASRecConfig(n_items, length, fused_attention=True)),
}


@dataclass(frozen=True)
class Task:
    """One measurement, for a process of its own."""

    model: str
    length: int
    n_items: int
    tokens: int
    repeats: int
    threads: int
    device: str
    clock: str


def histories(rows: int, length: int, n_items: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Items [N] of rows that all have `length` inputs, their targets [N], and offsets [B+1]."""
    made_up = synthetic_interactions(
        rows, n_items, length + 1, seed=0, min_length=length + 1, n_clusters=max(1, n_items // 100)
    )
    rows_of_items = torch.from_numpy(made_up.items).long().view(rows, length + 1)
    offsets = torch.arange(0, rows * length + 1, length)
    return rows_of_items[:, :-1].flatten(), rows_of_items[:, 1:].flatten(), offsets


class Subject:
    """A model with the data of one training step."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        self.device = task.device
        self.items, self.targets, self.offsets = (
            part.to(task.device) for part in histories(task.tokens // task.length, task.length, task.n_items)
        )
        self.memory_before = memory_in_use(task.device)
        self.model = MODELS[task.model](task.n_items, task.length).to(task.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
        self.objective = Objective(loss="sampled")

    def train(self) -> None:
        """One optimizer step."""
        self.optimizer.zero_grad(set_to_none=True)
        hidden = self.model(self.items, self.offsets)[0]
        loss = self.objective(hidden, self.model.embedding.weight, self.targets) / len(self.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @torch.no_grad()
    def query(self) -> torch.Tensor:
        """The vector of the first history's user, [1, D]."""
        offsets = self.offsets[:2]
        vector: torch.Tensor = self.model.query(self.items[: int(offsets[1])], offsets)[0]
        return vector

    def remember(self) -> None:
        """Keep the state after the first history, for `event`; a SASRec has none."""
        if isinstance(self.model, RecBLR):
            offsets = self.offsets[:2]
            with torch.no_grad():
                self.state = self.model.query(self.items[: int(offsets[1])], offsets)[1]

    @torch.no_grad()
    def event(self) -> torch.Tensor:
        """The vector of the first history's user after one more item, [1, D]."""
        if isinstance(self.model, RecBLR):
            one = self.offsets.new_tensor([0, 1])
            return self.model.query(self.items[:1], one, self.state)[0]
        return self.query()  # of as many items: the oldest makes room

    @torch.no_grad()
    def recommend(self) -> torch.Tensor:
        """The K best items of the first history's user, [1, K]."""
        return self.model.scores(self.query()).topk(K).indices


def measure_time(task: Task) -> dict[str, float]:
    """Milliseconds of a training step, and of one user's vector and ranking."""
    subject = Subject(task)
    train = interleaved({"train": subject.train}, task.repeats, task.device, task.clock)
    subject.model.eval()
    subject.remember()
    inference = interleaved(
        {"query": subject.query, "event": subject.event, "recommend": subject.recommend},
        4 * task.repeats,
        task.device,
        task.clock,
    )
    return {
        "train_ms": train["train"]["median"],
        "event_ms": inference["event"]["median"],
        "query_ms": inference["query"]["median"],
        "inference_ms": inference["recommend"]["median"],
    }


def measure_memory(task: Task) -> dict[str, float]:
    """The peak of three training steps; the first makes the optimizer's state."""
    subject = Subject(task)
    for _ in range(3):
        subject.train()
    return {"train_memory_mib": (peak_memory(task.device) - subject.memory_before) / 2**20}


def alone(function: Callable[[Task], dict[str, float]], task: Task) -> dict[str, float]:
    """The function's result, from a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, task).result()


@contextmanager
def memory_handed_back() -> Iterator[None]:
    """glibc in processes started meanwhile gives large freed blocks back to the system at once, and keeps none."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(64 * 1024)
    try:
        yield
    finally:
        del os.environ["MALLOC_MMAP_THRESHOLD_"]


def medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Of each number over rounds."""
    return {name: statistics.median(of[name] for of in rounds) for name in rounds[0]}


def plot(name: str, rows: list[dict[str, Any]], tokens: int) -> Path:
    """One panel per number, one line per model."""
    figure = new_figure(13, 3.4)
    panels = {
        "train_ms": f"training step of {tokens:,} items (ms)",
        "query_ms": "a user's vector from the history (ms)",
        "event_ms": "the vector after one more item (ms)",
        "train_memory_mib": "memory of training (MiB)",
    }
    for axes, (number, label) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        for model in dict.fromkeys(row["model"] for row in rows):
            of_model = [row for row in rows if row["model"] == model]
            axes.plot([row["length"] for row in of_model], [row[number] for row in of_model], marker="o", label=model)
        axes.set(xlabel="history length", ylabel=label, ylim=(0, None), xticks=[row["length"] for row in of_model])
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    return write_plot(name, figure)


@click.command()
@click.option("--lengths", default="250,500,750,1000", show_default=True, help="Comma-separated.")
@click.option("--items", "n_items", default=20_000, show_default=True, help="Of the catalogue.")
@click.option("--tokens", default=6000, show_default=True, help="Of a training step: a multiple of the lengths.")
@click.option("--repeats", default=5, show_default=True, help="Timed steps of a measurement.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each model and length.")
@click.option("--threads", default=1, show_default=True, help="PyTorch's.")
@click.option("--device", default=default_device, help="cpu or cuda; a GPU if there is one.")
@clock_option
@click.option("--name", default="quality-history-length", show_default=True, help="Of the result.")
def main(
    lengths: str, n_items: int, tokens: int, repeats: int, rounds: int, threads: int, device: str, clock: str, name: str
) -> None:
    """Measure and write benchmarks/results/NAME.json and NAME.png."""
    numbers = [int(length) for length in lengths.split(",")]
    unfit = [length for length in numbers if tokens % length]
    if unfit:
        raise click.BadParameter(f"{tokens} is no multiple of {unfit[0]}: steps would differ in size")
    check_clock(clock, threads, device)
    tasks = [
        Task(model, length, n_items, tokens, repeats, threads, device, clock) for length in numbers for model in MODELS
    ]
    with memory_handed_back():
        memory = {task: alone(measure_memory, task) for task in tasks}
    times: dict[Task, list[dict[str, float]]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            times[task].append(alone(measure_time, task))
    rows = [
        {"model": task.model, "length": task.length, **medians(times[task]), **memory[task]}
        for task in sorted(tasks, key=lambda task: list(MODELS).index(task.model))
    ]
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "device": device_name(device),
        "threads": threads,
        "clock": clock,
        "pytorch_ops": "native" if find_library() is not None else "reference",
        "data": f"made up, {n_items:,} items, all histories of one length",
        "items": n_items,
        "tokens_per_step": tokens,
        "loss": "sampled softmax, 512 negatives",
        "repeats": repeats,
        "rounds": rounds,
        "measured": rows,
    }
    path = write_result(name, result)
    for row in rows:
        click.echo(
            f"{row['model']:24} {row['length']:5}: step {row['train_ms']:8.1f} ms, memory "
            f"{row['train_memory_mib']:7.1f} MiB, vector {row['query_ms']:6.2f} ms, one more item "
            f"{row['event_ms']:6.2f} ms, with ranking {row['inference_ms']:6.2f} ms"
        )
    click.echo(f"written to {path} and {plot(name, rows, tokens)}")


if __name__ == "__main__":
    main()
