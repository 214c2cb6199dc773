"""The options of `recblr.runtime.Batching`, for `recblr-bench`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from recblr.cli.parameters import SECONDS_IN_A_DAY, THREADS, Count, Number
from recblr.runtime.batching.settings import Batching

_DEFAULT = Batching()

BATCHING_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--workers", type=THREADS, help="Batches that run at once.  [default: CPUs / threads]"),
    click.option(
        "--max-batch-rows",
        type=Count(),
        default=_DEFAULT.max_batch_rows,
        show_default=True,
        help="Users in one batch; requests of many callers are merged.",
    ),
    click.option(
        "--max-batch-tokens",
        type=Count(),
        default=_DEFAULT.max_batch_tokens,
        show_default=True,
        help="Items in one batch; a longer history is fed in pieces.",
    ),
    click.option(
        "--max-delay-ms",
        type=Number(min=0, max=1e3 * SECONDS_IN_A_DAY),
        default=_DEFAULT.max_delay_ms,
        show_default=True,
        help="How long a batch that is not full waits for more requests.",
    ),
    click.option(
        "--max-queue",
        type=Count(),
        default=_DEFAULT.max_queue,
        show_default=True,
        help="Users that may wait; requests beyond are refused.",
    ),
    click.option(
        "--timeout",
        type=Number(min=0, max=SECONDS_IN_A_DAY, min_open=True),
        help="Seconds that a request may wait before it is refused.  [default: no bound]",
    ),
)
NAMES = tuple(field.name for field in dataclasses.fields(Batching))
