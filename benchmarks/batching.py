"""An engine that batches against a bare one: throughput when saturated, latency at 30% load (of what the bare engine
does, one request after the other), and one caller to 64.

    python benchmarks/batching.py [DATA]

Histories have DATA's lengths, or those of a log-normal distribution like MovieLens's without it. Steps are histories of
one item, which cost as much as one item on a state, one of a request or a group. Ratios and percentiles are medians
over rounds in which all sides take turns, each round beginning with another. Latency in open loop counts from the
scheduled start; a lone request is measured in the same way, at a rate at which it meets no other. The first 0.2 s of a
load are not counted: a CPU that idled before may take 20 ms to wake, in a virtual machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_info, write_result

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.preparation import DataSettings, prepare
from recblr.runtime import Batching, Engine, load
from recblr.vocabulary import ItemVocabulary

N_ITEMS = 3416
K = 10
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CALLERS = (1, 2, 4, 8, 16, 32, 64)
SATURATING_CALLERS = 128
LOAD = 0.3
LONE_RATE = 50.0
SENDERS = 16  # threads of an open loop; a start waits if none is free, and that counts
DELAYS_MS = (0.0, 2.0)
WARM_UP_SECONDS = 0.2
GROUP_ROWS = 16

LOADED = (
    "submitted_to_executor",
    "threads",
    "one_thread_without_batcher",
    "threads_without_batcher",
)

Requests = list[list[list[int]]]  # of histories of item ids
Ask = Callable[[int], Awaitable[object]]


def history_lengths(data: Path | None, generator: np.random.Generator) -> tuple[np.ndarray, str]:
    """Lengths of 512 histories, and where they are from."""
    if data is None:
        return np.clip(generator.lognormal(4.5, 1.0, 512), 5, 2000).astype(int), "log-normal, median 90"
    return generator.choice(prepare(data, DataSettings()).split.test.histories.lengths, 512), data.name


def requests_of(length: int, n_rows: int, generator: np.random.Generator) -> Requests:
    """64 requests of so many histories, of so many items each."""
    return [generator.integers(1, N_ITEMS + 1, (n_rows, length)).tolist() for _ in range(64)]


def rate_of(call: Callable[[], object], rows: int, seconds: float) -> float:
    """Rows per second of one thread."""
    done, started = 0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        call()
        done += rows
    return done / (now - started)


def closed_loop(ask: Ask, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Requests per second of so many asyncio tasks that each wait for the answer, and latencies in ms."""
    latencies: list[float] = []

    async def caller(number: int, stop: float) -> None:
        while (started := time.perf_counter()) < stop:
            await ask(number)
            latencies.append((time.perf_counter() - started) * 1e3)
            number += callers

    async def run() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(caller(number, started + seconds) for number in range(callers)))
        return len(latencies) / (time.perf_counter() - started)

    return asyncio.run(run()), latencies


def scheduled_starts(rate: float, seconds: float, generator: np.random.Generator) -> list[float]:
    """Random times at this rate, for so long after the warm-up but at least 100, from now on."""
    gaps = generator.exponential(1 / rate, max(100, int(rate * (seconds + WARM_UP_SECONDS))))
    starts: list[float] = (np.cumsum(gaps) + time.perf_counter() + 0.05).tolist()
    return starts


def sleep_until(start: float) -> None:
    """Wait for a time of `time.perf_counter`; at once where it is past."""
    wait = start - time.perf_counter()
    if wait > 0:
        time.sleep(wait)


def open_loop(
    send: Callable[[Callable[[], None]], None], rate: float, seconds: float, generator: np.random.Generator
) -> list[float]:
    """Latencies in ms from the scheduled starts, which are random at this rate and wait for no answer.

    Args:
        send: sends a request, and has the function called at its answer.
        rate: requests per second.
        seconds: of all after the warm-up, whose latencies are left out.
        generator: of the starts.
    """
    latencies: list[float] = []
    left = threading.Semaphore(0)
    starts = scheduled_starts(rate, seconds, generator)
    counted = starts[0] + WARM_UP_SECONDS

    def answered(start: float) -> None:
        if start >= counted:
            latencies.append((time.perf_counter() - start) * 1e3)
        left.release()

    for start in starts:
        sleep_until(start)
        send(lambda start=start: answered(start))  # type: ignore[misc]
    for _ in starts:
        left.acquire()
    return latencies


def open_loop_of_threads(
    call: Callable[[], object], rate: float, seconds: float, generator: np.random.Generator
) -> list[float]:
    """As `open_loop`, of threads that each take the next start and wait for their answer, as in a threaded server."""
    starts, latencies = scheduled_starts(rate, seconds, generator), list[float]()
    turns, counted = iter(starts), starts[0] + WARM_UP_SECONDS

    def caller() -> None:
        for start in turns:
            sleep_until(start)
            call()
            if start >= counted:
                latencies.append((time.perf_counter() - start) * 1e3)

    threads = [threading.Thread(target=caller) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def percentiles(rounds: list[list[float]]) -> dict[str, float]:
    """Of latencies in ms, each a median of the rounds'."""
    p50, p95, p99 = np.median([np.percentile(latencies, [50, 95, 99]) for latencies in rounds], axis=0).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def best_batch(candidates: dict[tuple[int, int], Callable[[], object]], seconds: float) -> tuple[int, int]:
    """The (threads, rows) of the call with the most rows per second."""
    rates = {key: rate_of(call, key[1], seconds) for key, call in candidates.items()}
    return max(rates, key=lambda key: rates[key])


def saturation(
    candidates: dict[tuple[int, int], Callable[[], object]],
    ask: Ask,
    rounds: int,
    seconds: float,
    rows_of_request: int = 1,
) -> dict[str, Any]:
    """The batcher's rows per second with many callers against the bare best."""
    threads, rows = best_batch(candidates, seconds / 2)
    bare, batched = [], []
    for _ in range(rounds):
        bare.append(rate_of(candidates[threads, rows], rows, seconds))
        batched.append(closed_loop(ask, SATURATING_CALLERS, seconds)[0] * rows_of_request)
    return {
        "callers": SATURATING_CALLERS,
        "rows_of_request": rows_of_request,
        "bare_threads": threads,
        "bare_rows": rows,
        "bare_per_s": statistics.median(bare),
        "batched_per_s": statistics.median(batched),
        "ratio": statistics.median(b / a for a, b in zip(bare, batched, strict=True)),
    }


def latency_at_load(
    bare: Engine, batched: dict[float, Engine], requests: Requests, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Latency at 30% of what the bare engine does one after the other, against that of lone requests: of threads that
    call the batching engine, and for comparison without batching, of futures of an executor, of one thread and of as
    many as with it.

    Args:
        bare: without batching.
        batched: with it, by its delay in milliseconds.
        requests: asked for in turn.
        rounds, seconds: of the measurement.
    """
    turn = iter(range(2**62))

    def ask(engine: Engine) -> None:
        engine.recommend(requests[next(turn) % len(requests)], K, exclude_seen=False)

    def send_bare(answered: Callable[[], None]) -> None:
        ask(bare)
        answered()

    rate = LOAD * rate_of(partial(ask, bare), 1, seconds)
    measured = []
    for delay, engine in batched.items():
        generator = np.random.default_rng(3)
        latencies: dict[str, list[list[float]]] = {name: [] for name in ("lone", *LOADED)}
        with ThreadPoolExecutor(os.cpu_count()) as executor:

            def send_to_executor(answered: Callable[[], None], executor: ThreadPoolExecutor = executor) -> None:
                executor.submit(ask, bare).add_done_callback(lambda _: answered())

            sides: dict[str, tuple[Callable[..., list[float]], Callable[..., None], float]] = {
                "lone": (open_loop, send_bare, LONE_RATE),
                "submitted_to_executor": (open_loop, send_to_executor, rate),
                "threads": (open_loop_of_threads, partial(ask, engine), rate),
                "one_thread_without_batcher": (open_loop, send_bare, rate),
                "threads_without_batcher": (open_loop_of_threads, partial(ask, bare), rate),
            }
            names = list(sides)
            for n in range(rounds):
                first = n % len(names)
                for name in names[first:] + names[:first]:
                    loop, send_or_run, its_rate = sides[name]
                    latencies[name].append(loop(send_or_run, its_rate, seconds, generator))
        limits = [2 * statistics.median(of_round) + delay for of_round in latencies["lone"]]
        measured.append(
            {
                "delay_ms": delay,
                "per_s": rate,
                **{name: percentiles(of) for name, of in latencies.items()},
                "limit_ms": statistics.median(limits),
                "p99_to_limit": {
                    name: statistics.median(
                        float(np.percentile(of_round, 99)) / limit
                        for of_round, limit in zip(latencies[name], limits, strict=True)
                    )
                    for name in LOADED
                },
            }
        )
    return measured


def bare_calls(bare: dict[int, Engine], histories: list[list[int]]) -> dict[tuple[int, int], Callable[[], object]]:
    """Calls of the bare engines, by (threads, rows)."""

    def call_of(engine: Engine, rows: int) -> Callable[[], object]:
        turn = iter(range(2**62))

        def call() -> object:
            first = next(turn) * rows % len(histories)
            return engine.recommend(histories[first : first + rows], k=K, exclude_seen=False)

        return call

    return {(threads, rows): call_of(engine, rows) for threads, engine in bare.items() for rows in BATCH_SIZES}


def asks_of(engine: Engine, requests: Requests) -> Ask:
    """Asks an engine in asyncio, for the requests in turn."""
    return lambda number: engine.arecommend(requests[number % len(requests)], k=K, exclude_seen=False)


def closed_loops(ask: Ask, seconds: float) -> list[dict[str, float]]:
    """Throughput and latency of one caller to many."""
    measured = []
    for n in CALLERS:
        rate, latencies = closed_loop(ask, n, seconds)
        measured.append({"callers": n, "per_s": rate, **percentiles([latencies])})
    return measured


def measure_histories(
    bare: dict[int, Engine], batched: dict[float, Engine], data: Path | None, rounds: int, seconds: float
) -> dict[str, Any]:
    """Whole histories."""
    generator = np.random.default_rng(0)
    lengths, source = history_lengths(data, generator)
    histories = [generator.integers(1, N_ITEMS + 1, length).tolist() for length in lengths]
    ask = asks_of(batched[0.0], [[history] for history in histories])
    length = int(np.median(lengths))
    return {
        "lengths": source,
        "mean_length": float(lengths.mean()),
        "saturated": saturation(bare_calls(bare, histories), ask, rounds, seconds),
        "closed_loop": closed_loops(ask, seconds),
        "open_loop_length": length,
        "open_loop": latency_at_load(bare[1], batched, requests_of(length, 1, generator), rounds, seconds),
    }


def measure_steps(bare: dict[int, Engine], batched: dict[float, Engine], rounds: int, seconds: float) -> dict[str, Any]:
    """Single items."""
    generator = np.random.default_rng(1)
    requests, groups = requests_of(1, 1, generator), requests_of(1, GROUP_ROWS, generator)
    candidates = bare_calls(bare, generator.integers(1, N_ITEMS + 1, (512, 1)).tolist())
    ask, ask_of_group = (asks_of(batched[0.0], asked) for asked in (requests, groups))
    return {
        "saturated": saturation(candidates, ask, rounds, seconds),
        "saturated_by_groups": saturation(candidates, ask_of_group, rounds, seconds, GROUP_ROWS),
        "closed_loop": closed_loops(ask, seconds),
        "open_loop": latency_at_load(bare[1], batched, requests, rounds, seconds),
    }


def show(name: str, measured: dict[str, Any]) -> None:
    """Print the essentials."""
    for saturated in (measured[key] for key in ("saturated", "saturated_by_groups") if key in measured):
        click.echo(
            f"{name}, {saturated['rows_of_request']} of a request: bare {saturated['bare_per_s']:,.0f}/s "
            f"({saturated['bare_threads']} threads, {saturated['bare_rows']} rows), batched "
            f"{saturated['batched_per_s']:,.0f}/s, ratio {saturated['ratio']:.2f}"
        )
    for row in measured["open_loop"]:
        click.echo(f"  {row['per_s']:,.0f}/s, delay {row['delay_ms']} ms, limit {row['limit_ms']:.2f} ms:")
        for name in ("lone", *LOADED):
            shown = " ".join(f"{p} {row[name][f'{p}_ms']:.2f}" for p in ("p50", "p95", "p99"))
            to_limit = f", p99 {row['p99_to_limit'][name]:.2f} of the limit" if name in LOADED else ""
            click.echo(f"    {name.replace('_', ' '):27} {shown} ms{to_limit}")
    for row in measured["closed_loop"]:
        click.echo(
            f"  {row['callers']:3} callers: {row['per_s']:8,.0f}/s, p50 {row['p50_ms']:.2f} p99 {row['p99_ms']:.2f} ms"
        )


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--rounds", default=7, show_default=True, help="Rounds of each comparison.")
@click.option("--seconds", default=2.0, show_default=True, help="Seconds of each measurement.")
def main(data: Path | None, rounds: int, seconds: float) -> None:
    """Measure and write benchmarks/results/batching.json."""
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(Checkpoint(model, vocabulary), bundle)
        bare = {threads: load(bundle, threads=threads) for threads in {1, os.cpu_count() or 1}}
        with contextlib.ExitStack() as stack:
            batched = {
                delay: stack.enter_context(load(bundle, batching=Batching(max_delay_ms=delay))) for delay in DELAYS_MS
            }
            histories = measure_histories(bare, batched, data, rounds, seconds)
            steps = measure_steps(bare, batched, rounds, seconds)
            description = batched[0.0].description
    result = {
        "machine": machine_info(("recblr", "onnxruntime-gpu", "numpy")),
        "model": model.config.to_dict(),
        "engine": description,
        "load": LOAD,
        "histories": histories,
        "steps": steps,
    }
    path = write_result("batching", result)
    show("histories", histories)
    show("steps", steps)
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
