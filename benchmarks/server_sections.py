"""The sections of docs/performance.md on recblr-serve; see performance_sections."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from performance_sections import heading, paragraph, read

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from document import table


def _rates(rows: list[tuple[list[str], dict[str, Any]]], first: list[str]) -> Iterator[str]:
    """A row for each side of each comparison; the last column is how many times as fast the first side is."""
    yield from table(
        [*first, "server", "requests/s", "median, ms", "99th percentile, ms", "recblr-serve is faster by"],
        [
            [
                *labels,
                name,
                f"{side['per_s']:,.0f}",
                f"{side['p50_us'] / 1e3:.2f}",
                f"{side['p99_us'] / 1e3:.2f}",
                f"{measured['ratios'][name]:.1f}x" if name in measured["ratios"] else "",
            ]
            for labels, measured in rows
            for name, side in measured["sides"].items()
        ],
    )


def server() -> Iterator[str]:
    """recblr-serve beside other servers, its protocols, users, and connections."""
    result = read("server")
    yield from heading(
        "recblr-serve",
        "server",
        result,
        f"Load of {result['connections_of_a_load']} connections from another process on the same machine, one user in "
        f"a request, the best {result['k']}. The other servers but the earlier recblr-serve have the same "
        "`recblr.runtime` behind them. They take turns, and stand still in between.",
    )
    yield from _rates(
        [([f"{row['catalogue']:,}", str(row["items"])], row) for row in result["recommend"]],
        ["catalogue", "items of a history"],
    )
    yield from paragraph(
        "The Open Inference Protocol with binary tensors; Triton has recblr's own backend, or its Python backend with "
        "`recblr.runtime` in two processes:"
    )
    yield from _rates(
        [([row["protocol"], str(row["items"])], row) for row in result["protocols"]], ["protocol", "items of a history"]
    )
    users, connections, cpu = result["users"]["sides"], result["connections"]["sides"], result["cpu_us"]
    yield from paragraph(
        "Recommendations for a stored user whose state is cached: "
        f"{users['a cached user']['per_s']:,.0f} requests/s, beside {users['/v1/recommend']['per_s']:,.0f}/s of "
        "`/v1/recommend` with one item. By connections, with one item: "
        + ", ".join(f"{name}: {side['per_s']:,.0f}/s" for name, side in connections.items())
        + f". A request takes {cpu['total']:.0f} us of CPU in all, of which {cpu['outside']:.0f} us are outside the "
        f"engine's runs; the kernels alone take {cpu['one_step']:.0f} us for one step."
    )


def reloads() -> Iterator[str]:
    """Another model under load."""
    result = read("reloads")
    yield from heading(
        "Reloads under load",
        "reloads",
        result,
        f"`POST /v1/model/reload` in turn with another model, {result['seconds_between']:g} s between, while "
        f"{result['callers']} callers ask for recommendations and add events for {result['users']} users. Where "
        "callers rest, the server has CPU to spare; where not, it has none.",
    )
    yield from table(
        [
            "callers' rest, ms",
            "reloads",
            "requests",
            "failed",
            "99th percentile without, ms",
            "beside, ms",
            "ratio",
            "memory early, MiB",
            "late, MiB",
        ],
        [
            [
                f"{load['rest_ms']:g}",
                f"{load['reloads']:,}",
                f"{load['requests']:,}",
                str(load["failed"]),
                f"{load['ms']['alone']['p99']:.2f}",
                f"{load['ms']['beside_reloads']['p99']:.2f}",
                f"{load['p99_ratio']:.1f}x",
                f"{load['memory_mib']['early']:.0f}",
                f"{load['memory_mib']['late']:.0f}",
            ]
            for load in (result["with_rests"], result["without_rests"])
        ],
    )
