"""What each option of the recipe "open" gives: the recipe with one of them changed at a time.

    python benchmarks/quality/options.py amazon-beauty.parquet --epochs 40 --seeds 0

The first entries put back what the recipe changed, the others try what it leaves out. The table is in
results/quality-options-<data>.json, with a plot beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from sweep import Entry, plot_dots, run_and_write, sweep_options

ENTRIES = (
    Entry("the recipe"),
    Entry("softmax over all items", objective={"loss": "softmax"}),
    Entry("no weight averaging", training={"weight_average": 0.0}),
    Entry("no weight decay", training={"weight_decay": 0.0}),
    Entry("batches of 2,048 items", training={"batch_tokens": 2048}),
    Entry("expansion 4", model={"expansion": 4.0}),
    Entry("negatives not corrected", objective={"correction": 0.0}),
    Entry("label smoothing 0.1", objective={"label_smoothing": 0.1}),
    Entry("item vectors of length 2.5", objective={"item_norm": 2.5}),
    Entry("learning rate falls as a cosine", training={"schedule": "cosine"}),
    Entry("dropout 0.2", model={"dropout": 0.2}),
    Entry("convolution of 4", model={"conv_width": 4}),
    Entry("windows of 20 items", training={"max_history": 20}),
)


def plot(name: str, rows: list[dict[str, Any]]) -> Path:
    """Validation and test NDCG@10."""
    return plot_dots(name, rows, (("validation", "ndcg@10"), ("test", "ndcg@10")), (9, 0.6 + 0.28 * len(rows)))


@click.command()
@sweep_options
@click.option("--first", type=click.IntRange(min=1), default=len(ENTRIES), help="Only so many entries; all by default.")
def main(data: Path, first: int, **options: Any) -> None:
    """Train on DATA and write benchmarks/results/quality-options-<data>.json."""
    run_and_write("options", data, ENTRIES[:first], plot, recipe_name="open", **options)


if __name__ == "__main__":
    main()
