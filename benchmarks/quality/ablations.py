"""What each part of RecBLR is worth (the paper's table 3): the whole model, and with one part left out.

    python benchmarks/quality/ablations.py amazon-beauty.parquet --seeds 0,1,2

Trains by the data set's recipe "paper". The table is in results/quality-ablations-<data>.json, with a plot beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sweep import Entry, plot_dots, run_and_write, sweep_options
from variants import WithoutConvolution, WithoutFeedForward, WithoutGates

ENTRIES = (
    Entry("full"),
    Entry("one layer", {"layers": 1}),
    Entry("no convolution", make_model=WithoutConvolution),
    Entry("no feed-forward", make_model=WithoutFeedForward),
    Entry("no gates", make_model=WithoutGates),
)


def plot(name: str, rows: list[dict[str, Any]]) -> Path:
    """Test HR@10 and NDCG@10."""
    return plot_dots(name, rows, (("test", "hr@10"), ("test", "ndcg@10")), (8, 2.6))


@click.command()
@sweep_options
def main(data: Path, **options: Any) -> None:
    """Train on DATA and write benchmarks/results/quality-ablations-<data>.json."""
    run_and_write("ablations", data, ENTRIES, plot, **options)


if __name__ == "__main__":
    main()
