"""The learning rate over a training run."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine")


def learning_rate_factor(schedule: str, epoch: float, epochs: int, warmup_epochs: float) -> float:
    """What the learning rate is multiplied by.

    It rises linearly over the warm-up; "cosine" then falls to 0 at the end along half a cosine, without restarts
    (Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5 with one period).

    Args:
        schedule: one of `SCHEDULES`.
        epoch: epochs done so far, with the fraction of the one under way.
        epochs: of the whole run.
        warmup_epochs: at most `epochs`.
    """
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    if schedule == "constant" or epochs <= warmup_epochs:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))
