"""Users: the memory of a million cached states, and how fast events are stored and users answered.

python benchmarks/users.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
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
from recblr.runtime import Engine, Recommender, load
from recblr.vocabulary import ItemVocabulary

N_ITEMS = 3416
N_USERS = 500
HISTORY = 100
ROUNDS = 5
N_CACHED = 1_000_000
STATE_SIZE = 1_088

# In a process of its own: its growth is the cache's memory, ids and index included. The ids end with the cache.
_FILL = """
import json, sys
import numpy as np
from recblr.runtime import StateCache

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

n, size, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "string"
states = np.ones((1000, size), np.float32)
before = resident()
cache = StateCache(size, n * (size * 4 + 64))
for start in range(0, n, 1000):
    numbers = range(10**9 + start, 10**9 + start + 1000)
    users = [f"user-{number}" for number in numbers] if text else list(numbers)
    stamps = np.random.default_rng(start).integers(2**62, 2**63, 1000).tolist()
    cache.put(users, [start % 97 + 1] * 1000, stamps, states, [0] * 1000)
assert len(cache) == n
print(json.dumps(resident() - before))
"""


def cache_memory(ids: str) -> dict[str, Any]:
    """Resident bytes of a full cache against those of the states alone."""
    command = [sys.executable, "-c", _FILL, str(N_CACHED), str(STATE_SIZE), ids]
    taken = int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    raw = N_CACHED * STATE_SIZE * 4
    return {"ids": ids, "users": N_CACHED, "raw_bytes": raw, "resident_bytes": taken, "ratio": taken / raw}


def throughput(engine: Engine, name: str, store: str | None) -> dict[str, Any]:
    """Calls per second of one thread, for users with a history, one by one and in batches."""
    generator = np.random.default_rng(0)
    users = [f"user-{n}" for n in range(N_USERS)]
    with Recommender(engine, store) as recommender:
        histories = generator.integers(1, N_ITEMS + 1, (N_USERS, HISTORY)).tolist()
        recommender.add_events_many(zip(users, histories, strict=True))

        def timed(work: Any, rounds: int = 1) -> float:
            seconds = []
            for _ in range(rounds):
                started = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - started)
            return N_USERS / statistics.median(seconds)

        def add_and_ask() -> None:
            for user in users:
                recommender.add_events(user, [7])
                recommender.recommend(user)

        return {
            "store": name,
            "rebuild_many_per_s": timed(lambda: recommender.recommend_many(users)),
            # In rounds: SQLite moves its write-ahead log into its file now and then, in one call of many.
            "add_events_per_s": timed(lambda: [recommender.add_events(user, [5]) for user in users], ROUNDS),
            "add_events_many_per_s": timed(
                lambda: recommender.add_events_many([(user, [6]) for user in users]), ROUNDS
            ),
            "recommend_per_s": timed(lambda: [recommender.recommend(user) for user in users]),
            "add_events_and_recommend_per_s": timed(add_and_ask),
            "recommend_many_per_s": timed(lambda: recommender.recommend_many(users)),
        }


@click.command()
@click.option("--redis", "address", help="Measure a Redis or Valkey server too, such as redis://localhost.")
def main(address: str | None) -> None:
    """Measure and write benchmarks/results/users.json."""
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        export_bundle(Checkpoint(model, vocabulary), Path(folder) / "bundle")
        engine = load(Path(folder) / "bundle")
        stores: dict[str, str | None] = {"memory": None, "sqlite": str(Path(folder) / "store")}
        stores.update({"redis": address} if address else {})
        rates = [throughput(engine, name, store) for name, store in stores.items()]
    memory = [cache_memory(ids) for ids in ("string", "integer")]
    result = {
        "machine": machine_info(("recblr", "onnxruntime-gpu", "numpy", "redis")),
        "history": HISTORY,
        "users": N_USERS,
        "throughput": rates,
        "state_cache": memory,
    }
    path = write_result("users", result)
    for row in rates:
        click.echo(", ".join(f"{key} {value:,.0f}" if key != "store" else str(value) for key, value in row.items()))
    for row in memory:
        click.echo(f"{row['users']:,} cached states, {row['ids']} ids: {row['ratio']:.3f} times their raw bytes")
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
