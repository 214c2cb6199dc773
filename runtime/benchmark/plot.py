"""A plot of results: latency against load, and latency against the length of histories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recblr.files import replacing
from recblr.plotting import new_figure
from recblr.runtime.benchmark.plan import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_results(path: Path, results: Sequence[Result], title: str) -> None:
    """Write a PNG.

    On the left p50 (solid) and p99 (dashed) of every traffic over the requests/s it was sent with, lines for the
    open loop and points for the closed one; on the right those of the fewest callers over the mean length.

    Raises:
        OutputError: it cannot be written.
    """
    figure = new_figure(12, 5)
    figure.suptitle(title, fontsize=10)
    against_load, against_length = figure.subplots(1, 2)
    _plot_load(against_load, results)
    _plot_length(against_length, results)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _plot_load(axes: Axes, results: Sequence[Result]) -> None:
    for number, name in enumerate(dict.fromkeys(map(_name, results))):
        color = _color(number)
        chosen = [result for result in results if _name(result) == name and result.measured.latency.p50 is not None]
        closed = [result for result in chosen if result.load.rate is None]
        opened = sorted((result for result in chosen if result.load.rate is not None), key=_rate)
        axes.plot([], [], color=color, label=name)
        for percentile, style in (("p50", "-"), ("p99", "--")):
            axes.plot(
                [_rate(result) for result in opened],
                _times(opened, percentile),
                style,
                marker=".",
                color=color,
            )
        axes.plot([_rate(result) for result in closed], _times(closed, "p50"), "x", color=color)
    axes.set(xlabel="requests/s", ylabel="latency (ms)", xscale="log", yscale="log")
    axes.set_title("p50 (solid) and p99 (dashed) in open loops; p50 in closed loops (x)", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _plot_length(axes: Axes, results: Sequence[Result]) -> None:
    closed = [result for result in results if result.load.callers is not None]
    fewest = min((result.load.callers or 0 for result in closed), default=0)
    chosen = [result for result in closed if result.load.callers == fewest and result.measured.latency.p50 is not None]
    groups = dict.fromkeys((result.traffic, result.rows) for result in chosen)
    for number, (traffic, rows) in enumerate(groups):
        group = sorted(
            (result for result in chosen if (result.traffic, result.rows) == (traffic, rows)),
            key=lambda result: result.lengths.mean,
        )
        lengths = [result.lengths.mean for result in group]
        for percentile, style in (("p50", "-"), ("p99", "--")):
            label = f"{traffic}, rows: {rows}" if percentile == "p50" else None
            axes.plot(lengths, _times(group, percentile), style, marker=".", color=_color(number), label=label)
    axes.set(xlabel="mean length of histories", ylabel="latency (ms)", xscale="log", yscale="log")
    axes.set_title(f"p50 (solid) and p99 (dashed) in closed loops, callers: {fewest}", fontsize=9)
    axes.grid(alpha=0.3)
    if chosen:
        axes.legend(fontsize=7)


def _name(result: Result) -> str:
    return f"{result.traffic}, {result.rows} x {result.lengths.name}"


def _rate(result: Result) -> float:
    """Requests per second: those sent in an open loop, those answered in a closed one."""
    return result.load.rate or result.measured.requests_per_s


def _times(results: Sequence[Result], percentile: str) -> list[float]:
    """Milliseconds of latency."""
    return [getattr(result.measured.latency, percentile) for result in results]


def _color(number: int) -> str:
    """The colour of a line; of twenty colours, every second one comes first, as those differ most."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["tab20"](number * 2 % 20 + number // 10 % 2))
