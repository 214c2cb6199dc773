"""What several tools print of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from recblr.evaluation import Evaluation

# Of the rows evaluated: from here on, repeats of the last item say more about the data than about the model.
_MANY_REPEATS = 0.01


def metrics_table(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Metrics as rows, one column per part ("validation", "test")."""
    table = Table()
    table.add_column("metric")
    for part in parts:
        table.add_column(part, justify="right")
    names = [name for name in next(iter(parts.values())) if "@" in name]
    for name in names:
        table.add_row(name.upper(), *(f"{metrics[name]:.4f}" for metrics in parts.values()))
    return table


def repeats_warning(result: Evaluation) -> str | None:
    """One line where users so often take the item that they took last that this inflates the metrics, else None."""
    if result.last_item_targets < _MANY_REPEATS * result.rows:
        return None
    return (
        f"warning: {result.last_item_targets / result.rows:.1%} of the users' next items repeat the one right before, "
        "which inflates metrics without masking: --drop-duplicates drops exact repeats, recblr-evaluate --mask-seen "
        "measures what serving shows"
    )
