"""Reports of results: a table for the terminal, with rich where it is installed, and JSON."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import click

from recblr.runtime.benchmark.machine import machine_info
from recblr.runtime.benchmark.plan import Plan, Result
from recblr.runtime.engine import Engine

FORMAT = "recblr-bench"
FORMAT_VERSION = 1
_PACKAGES = ("recblr", "numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13-libs")
_TEXT_COLUMNS = 4
_HEADER = (
    *("traffic", "rows", "length", "load", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"),
    *("requests/s", "rows/s", "tokens/s", "late", "unanswered"),
)


def json_report(engine: Engine, plan: Plan, results: Sequence[Result], interrupted: bool) -> dict[str, Any]:
    """All results with what they were measured on, ready for JSON."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "interrupted": interrupted,
        "machine": machine_info(_PACKAGES),
        "engine": {
            "description": engine.description,
            "model": engine.fingerprint,
            "n_items": engine.n_items,
            "state_size": engine.state_size,
            "bundle_versions": engine.bundle.manifest.versions,
        },
        "settings": {
            "k": plan.k,
            "seconds": plan.seconds,
            "warm_up_seconds": plan.warm_up,
            "step_share": plan.step_share,
            "in_flight": plan.in_flight,
            "seed": plan.seed,
        },
        "results": [result.to_dict() for result in results],
    }


def print_table(results: Sequence[Result]) -> None:
    """The results on standard output, and below them what else must be known of them."""
    rows = [_cells(result) for result in results]
    if importlib.util.find_spec("rich") is None or not _print_rich(rows):
        _print_plain(rows)
    for result in results:
        for remark in remarks(result):
            click.echo(f"{result.traffic}, {result.rows} x {result.lengths.name}, {result.load}: {remark}")


def remarks(result: Result) -> list[str]:
    """What a reader must know of the figures: unanswered or failed requests, none at all, an early end."""
    measured, found = result.measured, []
    if measured.unanswered:
        found.append(
            f"{measured.unanswered:,} requests not answered by the end: the load is beyond the engine, and the "
            "percentiles are lower than the truth"
        )
    found += [f"{count:,} requests failed with {name}" for name, count in sorted(measured.errors.items())]
    if not measured.requests:
        found.append("no request was answered")
    if measured.interrupted:
        found.append(f"interrupted after {measured.seconds:.1f} s")
    return found


def _cells(result: Result) -> tuple[str, ...]:
    measured = result.measured
    latency, total = measured.latency, measured.requests + measured.unanswered + sum(measured.errors.values())
    late = f"{measured.late / total:.0%}, {measured.max_late_ms:,.0f} ms" if measured.late else "-"
    times = (latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)
    rates = (measured.requests_per_s, measured.rows_per_s, measured.tokens_per_s)
    return (
        *(result.traffic, str(result.rows), result.lengths.name, str(result.load)),
        *("-" if time is None else f"{time:,.2f}" for time in times),
        *(f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}" for rate in rates),
        *(late, f"{measured.unanswered:,}" if measured.unanswered else "-"),
    )


def _print_plain(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for row in (_HEADER, *rows):
        cells = [
            cell.ljust(width) if column < _TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _print_rich(rows: Sequence[tuple[str, ...]]) -> bool:
    """Print the table with rich; False, and nothing printed, where the terminal is too narrow."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column, title in enumerate(_HEADER):
        table.add_column(title, justify="left" if column < _TEXT_COLUMNS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = Console(width=1000).measure(table).maximum
    console = Console()
    if console.is_terminal and console.width < width:
        return False
    Console(width=width).print(table)  # a file has room for every column
    return True
