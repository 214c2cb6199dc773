"""Ranking a catalogue of a million items on this CPU: an engine of the C++ core, and ONNX Runtime's MatMul + TopK.

    python benchmarks/catalogue.py

Times are taken in turn in one process, after a pause in which the others' threads fall asleep. Memory is that of a
process of its own for each: what it holds beside one copy of the embedding, and how much more while it ranks.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from bundle import DIM, write_bundle
from machine import machine_info, write_result
from onnx import TensorProto, helper, numpy_helper

from recblr.runtime import AllowList, Engine, Limits, open_bundle

N_ITEMS = 1_000_000
ROWS = (1, 2, 8, 12, 32, 256)
KS = (10, 100)
RANKERS = ("native", "onnxruntime")
MEMORY_ROWS, MEMORY_K = 32, 100
ALLOWED = 900_000  # items of an allow-list
THREADS = 2
PAUSE = 0.05  # seconds; ONNX Runtime's threads wait actively for a while after a run

Ranker = Callable[[np.ndarray, int], object]


def embedding_of_random_items() -> np.ndarray:
    """float32 [V + 1, D]."""
    return np.random.default_rng(0).standard_normal((N_ITEMS + 1, DIM), dtype=np.float32)


def onnxruntime_ranker(embedding: np.ndarray) -> Ranker:
    """MatMul + TopK; the matrix is a constant, which ONNX Runtime arranges for itself when it loads."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["queries", "catalogue"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["top_scores", "top_items"]),
        ],
        "ranking",
        [
            helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", DIM]),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("top_items", TensorProto.INT64, ["B", "n"]),
            helper.make_tensor_value_info("top_scores", TensorProto.FLOAT, ["B", "n"]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(embedding.T), "catalogue")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda queries, k: session.run(None, {"queries": queries, "k": np.array([k])})


class States:
    """A backend that leaves states as they are, and all ranking to the engine."""

    description, max_k, limits = "states as they are", 0, Limits()

    def run(self, items: np.ndarray, offsets: np.ndarray, state_in: np.ndarray, exclude: np.ndarray, k: int) -> Any:
        return None, None, state_in


def native_ranker(folder: Path, only: AllowList | None = None) -> Ranker:
    """The C++ core's ranking, through an engine."""
    engine = Engine(open_bundle(folder), States(), threads=THREADS)

    def rank(queries: np.ndarray, k: int) -> object:
        states = np.concatenate([np.zeros_like(queries), queries], axis=1)  # [B, 2 * D]: a query is a state's end
        return engine.step(states, [()] * len(queries), k, only=only)

    return rank


def make_ranker(name: str, folder: Path) -> Ranker:
    """The ranker of this name, of the bundle in a folder."""
    return native_ranker(folder) if name == "native" else onnxruntime_ranker(embedding_of_random_items())


def random_queries(n_rows: int) -> np.ndarray:
    """float32 [B, D]."""
    return np.random.default_rng(1).standard_normal((n_rows, DIM), dtype=np.float32)


def measure_times(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Median milliseconds for every number of rows and k."""
    rankers = {name: make_ranker(name, folder) for name in RANKERS}
    measured = []
    for n_rows in ROWS:
        queries = random_queries(n_rows)
        for k in KS:
            times: dict[str, list[float]] = {name: [] for name in RANKERS}
            for repeat in range(repeats + 1):
                for name, rank in rankers.items():
                    time.sleep(PAUSE)
                    rank(queries, k)  # wakes its threads, as the request before does in a server
                    started = time.perf_counter()
                    rank(queries, k)
                    if repeat > 0:  # the first call warms up
                        times[name].append((time.perf_counter() - started) * 1e3)
            medians = {name: statistics.median(values) for name, values in times.items()}
            ratio = medians["onnxruntime"] / medians["native"]
            measured.append({"rows": n_rows, "k": k, "ms": medians, "onnxruntime_to_native": ratio})
            print(f"{n_rows} rows, k {k}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()))
    return measured


def measure_allow_list(folder: Path, repeats: int) -> dict[str, Any]:
    """Median milliseconds for one row that may have most of the items."""
    allowed = AllowList(np.random.default_rng(2).permutation(N_ITEMS)[:ALLOWED] + 1)
    rank, queries = native_ranker(folder, allowed), random_queries(1)
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        rank(queries, 10)
        times.append((time.perf_counter() - started) * 1e3)
    median = statistics.median(times[1:])
    print(f"1 row, k 10, {ALLOWED:,} items allowed: {median:.1f} ms")
    return {"items": ALLOWED, "rows": 1, "k": 10, "ms": {"native": median}}


def measure_memory(name: str, folder: Path) -> dict[str, float]:
    """MiB in this process: what a ranker holds beside one embedding, and a ranking's peak beyond all that is held."""
    embedding_kib = 4 * (N_ITEMS + 1) * DIM / 1024
    without = _status_kib("VmRSS")
    rank = make_ranker(name, folder)
    rank(random_queries(1), 1)  # threads, buffers of the library
    before = _status_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # loading needs more than the ranking: start the peak anew
    rank(random_queries(MEMORY_ROWS), MEMORY_K)
    return {"held_mib": (before - without - embedding_kib) / 1024, "peak_mib": (_status_kib("VmHWM") - before) / 1024}


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@click.command()
@click.option("--repeats", default=15, show_default=True, help="Timed calls of each.")
def main(repeats: int) -> None:
    """Measure and write benchmarks/results/catalogue.json."""
    context = multiprocessing.get_context("spawn")
    memory = {}
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        write_bundle(folder, list(range(1, N_ITEMS + 1)))
        for name in RANKERS:
            with context.Pool(1) as pool:
                memory[name] = pool.apply(measure_memory, (name, folder))
            print(f"{name}: " + ", ".join(f"{what} {mib:.1f}" for what, mib in memory[name].items()))
        times, allow_list = measure_times(folder, repeats), measure_allow_list(folder, repeats)
    result = {
        "machine": machine_info(["recblr", "onnxruntime-gpu", "numpy"]),
        "items": N_ITEMS,
        "dim": DIM,
        "threads": THREADS,
        "times": times,
        "allow_list": allow_list,
        "memory": {"rows": MEMORY_ROWS, "k": MEMORY_K, **memory},
    }
    print(write_result("catalogue", result))


if __name__ == "__main__":
    main()
