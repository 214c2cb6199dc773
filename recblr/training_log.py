"""The record of a training run: JSON lines and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recblr.files import replacing, write_text
from recblr.plotting import new_figure
from recblr.trainer import SELECTION_METRIC, EpochRecord


def write_log(path: Path, records: Sequence[EpochRecord]) -> None:
    """One JSON object per epoch and line."""
    write_text(path, "".join(json.dumps(record.to_dict(), allow_nan=False) + "\n" for record in records))


def plot_training(path: Path, records: Sequence[EpochRecord]) -> None:
    """Loss and validation NDCG@10 over epochs, as PNG."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7, 4)
    epochs = [record.epoch for record in records]
    loss = figure.add_subplot()
    loss.plot(epochs, [record.loss for record in records], color="tab:gray", label="training loss")
    loss.set_xlabel("epoch")
    loss.set_ylabel("training loss per item (nats)")
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    metric = loss.twinx()
    metric.plot(epochs, [r.validation[SELECTION_METRIC] for r in records], color="tab:blue", label="validation")
    best = [record for record in records if record.best][-1]
    metric.plot(best.epoch, best.validation[SELECTION_METRIC], "o", color="tab:blue")
    metric.set_ylabel("validation NDCG@10", color="tab:blue")
    metric.set_ylim(bottom=0)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
