"""Tables that several tools print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


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
