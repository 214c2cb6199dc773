"""How wide the recurrence should be (the paper's figure 5): expansion factors H / D from 1 to 4.

    python benchmarks/quality/expansion.py amazon-beauty.parquet --seeds 0,1,2

Trains by the data set's recipe "paper". The result is results/quality-expansion-<data>.json, with a plot beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from plots import new_figure, write_plot
from sweep import Entry, run_and_write, sweep_options


def plot(name: str, rows: list[dict[str, Any]]) -> Path:
    """Test HR@10 and NDCG@10 with their standard deviations, and the time of an epoch, over expansion."""
    figure = new_figure(10)
    expansions = [row["model"]["expansion"] for row in rows]
    quality = figure.subplots(1, 3)
    for axes, metric in zip(quality, ("hr@10", "ndcg@10"), strict=False):
        of_rows = [row["test"][metric] for row in rows]
        axes.errorbar(
            expansions, [of["mean"] for of in of_rows], yerr=[of["sd"] for of in of_rows], marker="o", capsize=3
        )
        axes.set_ylabel(f"test {metric.upper()}")
    quality[2].plot(expansions, [row["seconds_per_epoch"] for row in rows], marker="o", color="tab:gray")
    quality[2].set(ylabel="training, seconds per epoch", ylim=(0, None))
    for axes in quality:
        axes.set(xlabel="expansion", xticks=expansions)
        axes.grid(alpha=0.3)
    return write_plot(name, figure)


@click.command()
@sweep_options
@click.option("--expansions", default="1,2,3,4", show_default=True, help="Comma-separated.")
def main(data: Path, expansions: str, **options: Any) -> None:
    """Train on DATA and write benchmarks/results/quality-expansion-<data>.json."""
    entries = [Entry(f"expansion {factor}", {"expansion": float(factor)}) for factor in expansions.split(",")]
    run_and_write("expansion", data, entries, plot, **options)


if __name__ == "__main__":
    main()
