"""Loading, filtering and splitting millions of interactions: time of each phase and peak memory.

    python benchmarks/data.py [--interactions 10000000]

Once with integer and once with string ids. Each file is generated in one process and measured in another, so
that neither memory counts for the other. This process imports nothing large: on Linux a child's peak memory
starts from that of the process that started it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine_info, write_result

_MEAN_LENGTH = 50
_MEAN_COUNT = 10  # interactions per item
_LIMIT_SECONDS = 60
_LIMIT_GIB = 4


def generate(path: Path, interactions: int, string_ids: bool) -> dict[str, Any]:
    """Write the synthetic file, rows in order of time."""
    from recblr.data import synthetic_interactions, write_interactions

    start = time.perf_counter()
    # Short histories and rare items, so that the filter has work to do; 1% more, since lengths are random.
    data = synthetic_interactions(
        interactions * 101 // (100 * _MEAN_LENGTH),
        interactions // _MEAN_COUNT,
        _MEAN_LENGTH,
        seed=1,
        min_length=1,
        string_ids=string_ids,
    )
    seconds = time.perf_counter() - start
    write_interactions(data, path)
    return {
        "interactions": data.n_interactions,
        "users": data.n_users,
        "items": data.n_items,
        "seconds": seconds,
    }


def measure(path: Path) -> dict[str, Any]:
    """Load, filter and split a file."""
    from recblr.data import interactions as module
    from recblr.data import leave_one_out

    phases: dict[str, float] = {}

    def timed(name: str) -> None:
        """Make a function that loading calls note the time it takes."""
        function = getattr(module, name)

        def wrapper(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            phases[name] = phases.get(name, 0.0) + time.perf_counter() - start
            return result

        setattr(module, name, wrapper)

    for name in ("read_interactions", "encode_ids", "read_times", "k_core"):
        timed(name)
    start = time.perf_counter()
    data, report = module.load_interactions(path)
    loaded = time.perf_counter()
    split = leave_one_out(data)
    end = time.perf_counter()
    phases["sort"] = loaded - start - sum(phases.values())
    phases["split"] = end - loaded
    return {
        "seconds": {
            "read": phases["read_interactions"],
            "encode": phases["encode_ids"] + phases["read_times"],
            "filter": phases["k_core"],
            "sort": phases["sort"],
            "split": phases["split"],
            "total": end - start,
        },
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "filter": report.to_dict(),
        "test_targets": len(split.test),
    }


def in_subprocess(*arguments: str) -> dict[str, Any]:
    """This script's answer to other arguments."""
    command = [sys.executable, __file__, *arguments]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def generate_and_measure(interactions: int, *arguments: str) -> dict[str, Any]:
    """Figures of one temporary file."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "interactions.parquet")
        generated = in_subprocess("--generate", path, "--interactions", str(interactions), *arguments)
        return {"generated": generated, **in_subprocess("--measure", path)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, default=10_000_000, help="expected size (default: %(default)s)")
    parser.add_argument("--string-ids", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        print(json.dumps(generate(options.generate, options.interactions, options.string_ids)))
        return
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    figures = {
        "integer_ids": generate_and_measure(options.interactions),
        "string_ids": generate_and_measure(options.interactions, "--string-ids"),
    }
    result = {
        "what": "load a Parquet file, filter it to its 5-core, sort it, and split it by leave-one-out",
        "machine": machine_info(["recblr", "numpy", "pyarrow"]),
        **figures,
        "limits": {"seconds": _LIMIT_SECONDS, "peak_rss_gib": _LIMIT_GIB},
    }
    print(json.dumps(result, indent=2))
    print(f"written to {write_result('data', result)}", file=sys.stderr)
    for figure in figures.values():
        if figure["seconds"]["total"] > _LIMIT_SECONDS or figure["peak_rss_gib"] > _LIMIT_GIB:
            sys.exit("beyond the limits")


if __name__ == "__main__":
    main()
