"""The runtime's core: what a request costs beside the kernels, in C++ and in Python, the batcher against the bare
engine when saturated and at 30% load, and how often a request takes memory from the heap.

    python benchmarks/core.py

Builds the native benchmark in build/benchmarks and runs it on an exported bundle. What Python costs is measured here;
for that the native program runs the kernels in turn with it. All runs have one thread. Ratios and percentiles are
medians over rounds in which all sides take turns. Latency in open loop counts from the scheduled start; a lone request
is measured in the same way, at a rate at which it meets no other. The first 0.2 s of a load are not counted: a CPU that
idled before may take 20 ms to wake, in a virtual machine.
"""

from __future__ import annotations

import gc
import hashlib
import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
import numpy as np
import torch
from machine import machine_info, write_result

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.runtime import Batching, Engine, load
from recblr.vocabulary import ItemVocabulary

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "benchmarks"
N_ITEMS = 3416
K = 10
NEW_ITEMS = (1, 50)
VARIANTS = 64  # rows of other items, taken in turn
CALLERS = (1, 2, 8, 32)
LOAD = 0.3
LONE_RATE = 50.0
SENDERS = 16  # threads of an open loop; a start waits if none is free, and that counts
WARM_UP_SECONDS = 0.2
TURN_SECONDS = 0.02
BLOCK = 8  # calls

Call = Callable[[int], object]


def built_program() -> Path:
    """The native benchmark, built if it is not there or older than its sources."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-DRECBLR_BUILD_BENCHMARKS=ON", "-DRECBLR_CUDA=OFF"]
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", "core_benchmark", "--parallel", "2"]):
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            raise click.ClickException(f"{' '.join(command)} failed:\n{built.stdout}{built.stderr}")
    return BUILD / "benchmarks" / "native" / "core_benchmark"


class Kernels:
    """The native program, which runs the kernels alone when it is asked to."""

    def __init__(self, program: Path, bundle: Path) -> None:
        self._process = subprocess.Popen(
            [program, bundle, "--bare"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe(self._process.stdin).close()
        self._process.wait()

    def microseconds(self, n_items: int, seconds: float) -> float:
        """Of a run for one row of so many items, measured for so long."""
        print(n_items, seconds, file=self._pipe(self._process.stdin), flush=True)
        return float(self._pipe(self._process.stdout).readline())

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def microseconds_of(call: Call, seconds: float) -> float:
    """Of a call with the numbers from 0 on: the median of short blocks, of which other processes disturb few."""
    blocks, ends = list[float](), time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends:
        first = len(blocks) * BLOCK
        for n in range(first, first + BLOCK):
            call(n)
        blocks.append(time.perf_counter() - started)
    return statistics.median(blocks) / BLOCK * 1e6


def rows_of(n_items: int) -> list[list[list[int]]]:
    """Arguments for requests of one row of so many items each."""
    items = np.random.default_rng(2).integers(1, N_ITEMS + 1, (VARIANTS, n_items))
    return [[row] for row in items.tolist()]


def single_calls(engine: Engine, n_items: int) -> dict[str, Call]:
    """One row of so many items: as a whole history, and as what is new since a state."""
    rows = rows_of(n_items)
    state = engine.step(None, [[1]], k=K)[1]
    return {
        "recommend": lambda n: engine.recommend(rows[n % VARIANTS], k=K, exclude_seen=False),
        "step": lambda n: engine.step(state, rows[n % VARIANTS], k=K),
    }


def measure_single(engine: Engine, kernels: Kernels, rounds: int) -> list[dict[str, Any]]:
    """Python's calls for one row against the kernels' run for it."""
    measured = []
    for n_items in NEW_ITEMS:
        calls = single_calls(engine, n_items)
        bare, us = list[float](), {name: list[float]() for name in calls}
        for _ in range(rounds):
            bare.append(kernels.microseconds(n_items, TURN_SECONDS))
            for name, call in calls.items():
                microseconds_of(call, TURN_SECONDS / 10)  # the other process had the caches
                us[name].append(microseconds_of(call, TURN_SECONDS))
        measured.append(
            {
                "items": n_items,
                "bare_us": statistics.median(bare),
                **{
                    name: {
                        "us": statistics.median(of),
                        "ratio": statistics.median(a / b for a, b in zip(of, bare, strict=True)),
                    }
                    for name, of in us.items()
                },
            }
        )
    return measured


def rate_of_threads(call: Call, callers: int, seconds: float) -> float:
    """Calls per second of so many threads."""
    counts = [0] * callers
    started = time.perf_counter()

    def caller(number: int) -> None:
        n = number
        while time.perf_counter() - started < seconds:
            call(n)
            n += callers
            counts[number] += 1

    run_threads([partial(caller, number) for number in range(callers)])
    return sum(counts) / (time.perf_counter() - started)


def run_threads(targets: list[Callable[[], None]]) -> None:
    """Run each in a thread of its own."""
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure_threads(direct: Call, batched: Call, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Steps per second of threads that call again and again, without the batcher and through it."""
    measured = []
    for callers in CALLERS:
        rates: dict[str, list[float]] = {"direct": [], "batched": []}
        for _ in range(rounds):
            for name, call in (("direct", direct), ("batched", batched)):
                rates[name].append(rate_of_threads(call, callers, seconds))
        ratio = statistics.median(b / a for a, b in zip(rates["direct"], rates["batched"], strict=True))
        medians = {f"{name}_per_s": statistics.median(of) for name, of in rates.items()}
        measured.append({"callers": callers, **medians, "ratio": ratio})
    return measured


def open_loop(call: Call, senders: int, rate: float, seconds: float, generator: np.random.Generator) -> list[float]:
    """Latencies in microseconds from starts at random times of this rate; a free thread takes the next one."""
    gaps = generator.exponential(1 / rate, max(50, int(rate * (seconds + WARM_UP_SECONDS))))
    starts: list[float] = (np.cumsum(gaps) + time.perf_counter() + 0.01).tolist()
    counted = starts[0] + WARM_UP_SECONDS
    turns, latencies = iter(enumerate(starts)), list[float]()

    def sender() -> None:
        for n, start in turns:
            wait = start - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            call(n)
            if start >= counted:
                latencies.append((time.perf_counter() - start) * 1e6)

    run_threads([sender] * senders)
    return latencies


def stand_in(us: float) -> Call:
    """A call of so many microseconds that is no request: half of it hashes, for which Python lets other threads run."""
    data, loops = bytes(1 << 20), range(100_000)

    def pass_through(n: int) -> None:
        for _ in loops[:n]:
            pass

    hashed = int(len(data) * us / 2 / microseconds_of(lambda _: hashlib.sha256(data), WARM_UP_SECONDS))
    passed = int(len(loops) * us / 2 / microseconds_of(lambda _: pass_through(len(loops)), WARM_UP_SECONDS))

    def call(_: int) -> None:
        hashlib.sha256(data[:hashed])
        pass_through(passed)

    return call


def measure_latency(direct: Call, batched: Call, rounds: int, seconds: float) -> dict[str, Any]:
    """Latency of steps by threads at 30% of what one thread does, against that of lone requests.

    What Python's threads alone have is told by calls as long as a step that are no requests.
    """
    generator = np.random.default_rng(3)
    us = microseconds_of(direct, seconds)
    rate, lone = LOAD * 1e6 / us, list[float]()
    sides = {"threads": batched, "threads_without_batching": direct, "threads_without_requests": stand_in(us)}
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        lone.append(statistics.median(open_loop(direct, 1, LONE_RATE, seconds, generator)))
        for name, call in sides.items():
            p50, p99 = np.percentile(open_loop(call, SENDERS, rate, seconds, generator), (50, 99)).tolist()
            measured[name].append((p50, p99, p99 / lone[-1]))
    return {
        "load": LOAD,
        "per_s": rate,
        "lone_us": statistics.median(lone),
        **{
            name: dict(zip(("p50_us", "p99_us", "p99_to_lone"), np.median(of, axis=0).tolist(), strict=True))
            for name, of in measured.items()
        },
    }


def show(native: dict[str, Any], python: dict[str, Any]) -> None:
    """Print the essentials."""
    for of_native, of_python in zip(native["single"], python["single"], strict=True):
        click.echo(
            f"one row of {of_native['items']} items: kernels {of_native['bare_us']:.1f} us, C++ "
            f"{of_native['ratio']:.3f} times as long; kernels {of_python['bare_us']:.1f} us, Python's recommend "
            f"{of_python['recommend']['ratio']:.2f}, step {of_python['step']['ratio']:.2f}"
        )
    for kind in ("histories", "steps"):
        saturated = native["saturated"][kind]
        click.echo(
            f"{kind}: bare {saturated['bare_per_s']:,.0f}/s at {saturated['bare_rows']} rows, submitted "
            f"{saturated['submit']['ratio']:.2f} of that, by threads {saturated['threads']['ratio']:.2f}; "
            f"{saturated['handovers_per_s']:,.0f}/s where threads have nothing to compute"
        )
    for row in python["threads"]:
        click.echo(
            f"Python, {row['callers']} threads: {row['direct_per_s']:,.0f} steps/s, batched "
            f"{row['batched_per_s']:,.0f}/s, ratio {row['ratio']:.2f}"
        )
    for name, at_load in (("C++", native["at_load"]), ("Python", python["at_load"])):
        for side in ("submit", "threads", "threads_without_batching", "threads_without_requests"):
            if side in at_load:
                click.echo(
                    f"{name} at {at_load['load']:.0%} load, {side}: p50 {at_load[side]['p50_us']:.0f} us, p99 "
                    f"{at_load[side]['p99_us']:.0f} us, {at_load[side]['p99_to_lone']:.2f} times a lone one's median"
                )
    click.echo(f"allocations: {native['allocations']}")


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds of each comparison.")
@click.option("--seconds", default=0.5, show_default=True, help="Seconds of each measurement of threads.")
def main(rounds: int, seconds: float) -> None:
    """Measure and write benchmarks/results/core.json."""
    program = built_program()
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_bundle(Checkpoint(model, vocabulary), bundle)
        native = json.loads(subprocess.run([program, bundle], stdout=subprocess.PIPE, check=True).stdout)
        gc.collect()
        gc.freeze()  # PyTorch's objects take the collector 0.1 s
        direct = load(bundle, threads=1)
        with load(bundle, batching=Batching()) as batching, Kernels(program, bundle) as kernels:
            step, batched_step = (single_calls(engine, 1)["step"] for engine in (direct, batching))
            python = {
                "single": measure_single(direct, kernels, 4 * rounds),
                "threads": measure_threads(step, batched_step, rounds, seconds),
                "at_load": measure_latency(step, batched_step, rounds, 2 * seconds),
            }
            description = batching.description
    path = write_result(
        "core",
        {
            "machine": machine_info(("recblr", "numpy")),
            "model": model.config.to_dict(),
            "engine": description,
            "k": K,
            "native": native,
            "python": python,
        },
    )
    show(native, python)
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
