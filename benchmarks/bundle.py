"""How long a bundle of a million items takes to open, hashes included, and what it takes of memory.

Each bundle holds an embedding of 64 numbers an item and is opened in a process of its own, with its files in the
system's cache. Ids are integers in a row, integers far apart, or strings.

    python benchmarks/bundle.py [--items 1000000]    # writes benchmarks/results/bundle.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from machine import machine_info, write_result
from onnx import helper, numpy_helper

from recblr.files import write_text
from recblr.runtime.bundle.manifest import (
    INITIAL_STATE_FILE,
    ITEMS_FILE,
    MODEL_FILE,
    Manifest,
    file_entry,
    write_manifest,
)
from recblr.vocabulary import ItemVocabulary

DIM = 64
ROUNDS = 5

_OPEN = """
import json, sys, time
from recblr.runtime import open_bundle

def taken(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))

before = taken("RssAnon")
started, cpu_started = time.perf_counter(), time.process_time()
bundle = open_bundle(sys.argv[1])
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
memory = {"memory_bytes": taken("RssAnon") - before, "peak_bytes": taken("VmHWM")}
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, **memory}))
"""


def ids_of(kind: str, n_items: int) -> list[int] | list[str]:
    """So many ids of a kind, in no order."""
    numbers: list[int] = np.random.default_rng(0).permutation(n_items).tolist()
    if kind == "strings":
        return [f"item-{number:09d}" for number in numbers]
    return numbers if kind == "integers" else [1_000_003 * number for number in numbers]


def write_bundle(folder: Path, ids: list[int] | list[str]) -> None:
    """A bundle of these ids, whose graph holds the embedding alone."""
    embedding = np.random.default_rng(1).standard_normal((len(ids) + 1, DIM), np.float32)
    graph = helper.make_graph([], "embedding", [], [], [numpy_helper.from_array(embedding, "embedding")])
    content = helper.make_model(graph).SerializeToString()
    (folder / MODEL_FILE).write_bytes(content)
    counts = np.random.default_rng(2).integers(0, 1000, len(ids))
    write_text(folder / ITEMS_FILE, json.dumps(ItemVocabulary(ids, counts).to_json(), ensure_ascii=False))
    np.save(folder / INITIAL_STATE_FILE, np.zeros(2 * DIM, np.float32))
    place = {
        "file": MODEL_FILE,
        "offset": content.index(embedding.tobytes()),
        "shape": list(embedding.shape),
        "dtype": "float32",
    }
    manifest = Manifest(
        created="2025-01-01T00:00:00+00:00",
        fingerprint="sha256:benchmark",
        model={"dim": DIM, "norm_epsilon": 1e-12},
        precision="fp32",
        state_size=2 * DIM,
        n_items=len(ids),
        max_k=100,
        weights={"embedding.weight": place},
        onnx={},
        versions={"onnx": onnx.__version__},
        files={name: file_entry(folder / name) for name in (MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE)},
        parity={},
        metrics={},
        data={},
    )
    write_manifest(folder, manifest)


def measure(kind: str, n_items: int) -> dict[str, Any]:
    """The median of several processes that open a bundle of this kind of ids."""
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder), ids_of(kind, n_items))
        command = [sys.executable, "-c", _OPEN, folder]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(ROUNDS)]
        items_bytes = (Path(folder) / ITEMS_FILE).stat().st_size
    row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {"ids": kind, "items": n_items, "items_json_bytes": items_bytes, **row}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    options = parser.parse_args()
    rows = [measure(kind, options.items) for kind in ("integers", "integers far apart", "strings")]
    path = write_result("bundle", {"machine": machine_info(), "dim": DIM, "rows": rows})
    for row in rows:
        seconds = f"{row['seconds']:.2f} s, {row['cpu_seconds']:.2f} s of a CPU"
        print(f"{row['ids']}: {seconds}, {row['memory_bytes'] / 2**20:.0f} MiB")
    print(path)


if __name__ == "__main__":
    main()
