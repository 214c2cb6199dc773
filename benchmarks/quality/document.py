"""Tables and numbers of the generated document."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence


def row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line, and an empty line after it."""
    yield row(header)
    yield row(["---"] * len(header))
    for cells in rows:
        yield row(cells)
    yield ""


def spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation of several."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"
