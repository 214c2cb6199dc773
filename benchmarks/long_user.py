"""Memory of training and evaluation where one user has 1,000,000 events beside 200 ordinary users.

Each command runs as a process of its own, whose peak of resident memory the system reports: all of Python and PyTorch
included. For comparison the same without the long user.

    python benchmarks/long_user.py [--events 1000000]    # writes benchmarks/results/long-user.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine_info, write_result

N_USERS, LENGTH, N_ITEMS = 200, 50, 1000


def write_data(path: Path, events: int) -> None:
    """Ordinary users, and before them one with so many events, if any."""
    rng = np.random.default_rng(0)
    lengths = np.array([events, *[LENGTH] * N_USERS])
    users = np.repeat(np.arange(len(lengths)), lengths)
    table = {"user_id": users, "item_id": rng.integers(N_ITEMS, size=len(users)), "timestamp": np.arange(len(users))}
    pq.write_table(pa.table(table), path)


def measure(name: str, *arguments: str | Path) -> dict[str, Any]:
    """Run one of recblr's commands; its seconds and its peak of memory."""
    command = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    started = time.perf_counter()
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"seconds": round(time.perf_counter() - started, 1), "peak_gib": round(usage.ru_maxrss / 2**20, 3)}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="of the long user")
    options = parser.parse_args()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "data.parquet", Path(folder) / "model.pt"
        for name, events in (("without", 0), ("with", options.events)):
            write_data(data, events)
            runs[name] = {
                "train": measure("recblr-train", data, "-o", model, "--epochs", "1"),
                "evaluate": measure("recblr-evaluate", model, data),
                "evaluate_masked": measure("recblr-evaluate", model, data, "--mask-seen"),
            }
    shape = {
        "events_of_the_long_user": options.events,
        "other_users": N_USERS,
        "events_of_each": LENGTH,
        "items": N_ITEMS,
    }
    result = {"machine": machine_info(("recblr", "torch", "pyarrow")), **shape, "runs": runs}
    print(json.dumps(runs, indent=2))
    print(write_result("long-user", result))


if __name__ == "__main__":
    main()
