"""Users: the memory of a million cached states, and how fast events are stored and users answered.

python benchmarks/users.py [--before PYTHON]

With the Python of an environment that has an earlier recblr, that one takes turns at an event and a request.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
COMPARED = 3
N_CACHED = 1_000_000
LENGTHS = (10, 50_000)

# In a process of its own: its growth is the cache's memory, ids and index included, as the store holds nothing.
_FILL = """
import json, sys
from recblr.runtime import Event, Recommender, load

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

class OneEventEach:
    max_history = None
    def read(self, users, since):
        return [[Event(1, 5, [1, 2, 3])] for _ in users]
    def append(self, appends): ...
    def forget(self, user): ...
    def close(self): ...

n, text = int(sys.argv[1]), sys.argv[2] == "string"
engine = load(sys.argv[3])
recommender = Recommender(engine, OneEventEach(), cache_bytes=n * (engine.state_size * 4 + 256))
users = lambda start: [f"user-{number}" if text else number for number in range(10**9 + start, 10**9 + start + 1000)]
recommender.recommend_many(users(n), 1)
before = resident()
for start in range(0, n, 1000):
    recommender.recommend_many(users(start), 1)
taken = resident() - before
assert len(recommender.recent_users(2 * n)) == n + 1000
print(json.dumps(taken))
"""

# Of any version of recblr: microseconds of an event and the request after it, one user after the other.
_EVENT_AND_REQUEST = """
import json, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.runtime import Recommender
from recblr.vocabulary import ItemVocabulary

n_items, n_users, history = map(int, sys.argv[1:4])
torch.manual_seed(0)
model = RecBLR(RecBLRConfig(n_items=n_items)).eval()
vocabulary = ItemVocabulary(list(range(1, n_items + 1)), np.ones(n_items, dtype=np.int64))
with tempfile.TemporaryDirectory() as folder:
    export_bundle(Checkpoint(model, vocabulary), Path(folder) / "bundle")
    store = sys.argv[4] or str(Path(folder) / "store")
    with Recommender(str(Path(folder) / "bundle"), store) as recommender:
        users = [f"user-{n}" for n in range(n_users)]
        histories = np.random.default_rng(0).integers(1, n_items + 1, (n_users, history)).tolist()
        recommender.add_events_many(zip(users, histories, strict=True))
        recommender.recommend_many(users)
        seconds = []
        for _ in range(4):
            started = time.perf_counter()
            for user in users:
                recommender.add_events(user, [7])
                recommender.recommend(user)
            seconds.append(time.perf_counter() - started)
        for user in users:  # a server keeps what another turn would find
            recommender.forget(user)
print(json.dumps(min(seconds) / n_users * 1e6))
"""


def event_and_request(before: str, stores: dict[str, str]) -> list[dict[str, Any]]:
    """Microseconds of an event and a request now and with an earlier recblr, in turn, for each store.

    In turn with them, what the disk alone takes: an event in a file is not durable sooner.
    """
    rows = []
    for name, address in stores.items():
        sides: dict[str, list[float]] = {sys.executable: [], before: []}
        disk = []
        for _ in range(COMPARED):
            disk.append(disk_wait())
            for python, measured in sides.items():
                arguments = [str(N_ITEMS), str(N_USERS), str(HISTORY), address]
                command = [python, "-c", _EVENT_AND_REQUEST, *arguments]
                # Elsewhere than in this checkout, which Python would import from.
                output = subprocess.run(
                    command, capture_output=True, text=True, check=True, cwd=tempfile.gettempdir()
                ).stdout
                measured.append(float(json.loads(output.splitlines()[-1])))
        now, then = (statistics.median(sides[python]) for python in (sys.executable, before))
        row = {"store": name, "us": now, "before_us": then, "ratio": then / now}
        rows.append(row if address else {**row, "disk_us": statistics.median(disk)})
    return rows


def disk_wait() -> float:
    """Microseconds to write over a page of a file and wait until the disk has it."""
    page = bytes(4096)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(page * N_USERS)
        os.fsync(file.fileno())

        def write_over() -> None:
            for n in range(N_USERS):
                os.pwrite(file.fileno(), page, n * len(page))
                os.fdatasync(file.fileno())

        return timed(write_over) / N_USERS * 1e6


def cache_memory(ids: str, bundle: Path) -> dict[str, Any]:
    """Resident bytes of a full cache against those of the states alone."""
    command = [sys.executable, "-c", _FILL, str(N_CACHED), ids, str(bundle)]
    taken = int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    raw = N_CACHED * load(bundle).state_size * 4
    return {"ids": ids, "users": N_CACHED, "raw_bytes": raw, "resident_bytes": taken, "ratio": taken / raw}


def step_latency(engine: Engine) -> float:
    """Microseconds of a step of one item, the most that is to be compared with."""
    _, states = engine.step(None, [[7]])
    return timed(lambda: [engine.step(states, [[7]]) for _ in range(N_USERS)]) / N_USERS * 1e6


def history_lengths(engine: Engine, name: str, store: str | None) -> list[dict[str, Any]]:
    """Microseconds of a request for a user of few events and for one of many, cached."""
    generator = np.random.default_rng(0)
    rows = []
    with Recommender(engine, store) as recommender:
        for n in LENGTHS:
            user = f"of {n} events"
            items = generator.choice(N_ITEMS // 4, n) + 1
            recommender.add_events_many([(user, [item]) for item in items.tolist()])
            recommender.recommend(user)

            def ask(user: str = user) -> None:
                for _ in range(N_USERS):
                    recommender.recommend(user)

            def add_and_ask(user: str = user) -> None:
                for _ in range(N_USERS):
                    recommender.add_events(user, [7])
                    recommender.recommend(user)

            again, one_more = timed(ask), timed(add_and_ask)
            rows.append(
                {
                    "store": name,
                    "events": n,
                    "recommend_us": again / N_USERS * 1e6,
                    "add_events_and_recommend_us": one_more / N_USERS * 1e6,
                }
            )
            recommender.forget(user)
    return rows


def timed(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds, the median of some rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def throughput(engine: Engine, name: str, store: str | None) -> dict[str, Any]:
    """Calls per second of one thread, for users with a history, one by one and in batches."""
    generator = np.random.default_rng(0)
    users = [f"user-{n}" for n in range(N_USERS)]
    with Recommender(engine, store) as recommender:
        histories = generator.integers(1, N_ITEMS + 1, (N_USERS, HISTORY)).tolist()
        recommender.add_events_many(zip(users, histories, strict=True))

        def rate(work: Callable[[], object], rounds: int = 1) -> float:
            return N_USERS / timed(work, rounds)

        def add_and_ask() -> None:
            for user in users:
                recommender.add_events(user, [7])
                recommender.recommend(user)

        rates = {
            "store": name,
            "rebuild_many_per_s": rate(lambda: recommender.recommend_many(users)),
            # In rounds: SQLite moves its write-ahead log into its file now and then, in one call of many.
            "add_events_per_s": rate(lambda: [recommender.add_events(user, [5]) for user in users], ROUNDS),
            "add_events_many_per_s": rate(lambda: recommender.add_events_many([(user, [6]) for user in users]), ROUNDS),
            "recommend_per_s": rate(lambda: [recommender.recommend(user) for user in users]),
            "add_events_and_recommend_per_s": rate(add_and_ask),
            "recommend_many_per_s": rate(lambda: recommender.recommend_many(users)),
        }
        for user in users:
            recommender.forget(user)
        return rates


@click.command()
@click.option("--redis", "address", help="Measure a Redis or Valkey server too, such as redis://localhost.")
@click.option("--before", help="The Python of an environment with an earlier recblr, to compare with.")
def main(address: str | None, before: str | None) -> None:
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
        lengths = [row for name, store in stores.items() for row in history_lengths(engine, name, store)]
        step = step_latency(load(Path(folder) / "bundle", threads=1))
        memory = [cache_memory(ids, Path(folder) / "bundle") for ids in ("string", "integer")]
    compared = event_and_request(before, {"sqlite": "", **({"redis": address} if address else {})}) if before else []
    result = {
        "machine": machine_info(("recblr", "numpy")),
        "history": HISTORY,
        "users": N_USERS,
        "throughput": rates,
        "step_us": step,
        "history_lengths": lengths,
        "state_cache": memory,
        "event_and_request": compared,
    }
    path = write_result("users", result)
    for row in rates:
        click.echo(", ".join(f"{key} {value:,.0f}" if key != "store" else str(value) for key, value in row.items()))
    for row in lengths:
        click.echo(
            f"{row['store']}, {row['events']:,} events: recommend {row['recommend_us']:.0f} us, "
            f"with one more event {row['add_events_and_recommend_us']:.0f} us; a step {step:.0f} us"
        )
    for row in compared:
        click.echo(
            f"{row['store']}, an event and a request: {row['us']:.0f} us, before {row['before_us']:.0f} us, "
            f"{row['ratio']:.1f} times" + (f"; the disk alone {row['disk_us']:.0f} us" if "disk_us" in row else "")
        )
    for row in memory:
        click.echo(f"{row['users']:,} cached states, {row['ids']} ids: {row['ratio']:.3f} times their raw bytes")
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
