"""What each part of RecBLR is worth (the paper's table 3): the whole model, and with one part left out.

    python benchmarks/quality/ablations.py amazon-beauty.parquet --seeds 0,1,2

Trains by the data set's recipe "paper". The table is in results/quality-ablations-<data>.json, with a plot beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from plots import new_figure, write_plot
from sweep import Entry, run_and_write, sweep_options
from variants import WithoutConvolution, WithoutFeedForward, WithoutGates

ENTRIES = (
    Entry("full"),
    Entry("one layer", {"layers": 1}),
    Entry("no convolution", make_model=WithoutConvolution),
    Entry("no feed-forward", make_model=WithoutFeedForward),
    Entry("no gates", make_model=WithoutGates),
)


def plot(name: str, rows: list[dict[str, Any]]) -> Path:
    """Test HR@10 and NDCG@10 with their standard deviations."""
    figure = new_figure(8, 2.6)
    labels = [row["label"] for row in rows]
    panels = figure.subplots(1, 2, sharey=True)
    panels[0].invert_yaxis()  # the first on top
    for axes, metric in zip(panels, ("hr@10", "ndcg@10"), strict=True):
        means = [row["test"][metric]["mean"] for row in rows]
        axes.errorbar(means, labels, xerr=[row["test"][metric]["sd"] for row in rows], fmt="o", capsize=3)
        axes.axvline(means[0], color="tab:gray", linewidth=0.8)
        axes.set_xlabel(f"test {metric.upper()}")
        axes.grid(alpha=0.3)
    return write_plot(name, figure)


@click.command()
@sweep_options
def main(data: Path, **options: Any) -> None:
    """Train on DATA and write benchmarks/results/quality-ablations-<data>.json."""
    run_and_write("ablations", data, ENTRIES, plot, **options)


if __name__ == "__main__":
    main()
