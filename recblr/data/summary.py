"""What a data set is like, as figures and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from recblr.data.interactions import FilterReport, Interactions

_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


@dataclass(frozen=True)
class Summary:
    """Figures of a data set.

    Args:
        users: U.
        items: V.
        interactions: N.
        density: N / (U * V).
        mean_length: interactions per user.
        length_quantiles: history length of the user at each quantile, by name.
        first_timestamp: the earliest, in its unit.
        last_timestamp: the latest.
        immediate_repeats: interactions with the item of the one before them, of the same user.
        time_unit: as `Interactions` says.
        filtered: what the filter dropped, where it is known.
    """

    users: int
    items: int
    interactions: int
    density: float
    mean_length: float
    length_quantiles: dict[str, int]
    first_timestamp: int | float
    last_timestamp: int | float
    immediate_repeats: int
    time_unit: str | None = None
    filtered: FilterReport | None = None

    @classmethod
    def of(cls, interactions: Interactions, filtered: FilterReport | None = None) -> Summary:
        """Summarize interactions, and the report of the filter they went through."""
        quantiles = np.quantile(interactions.lengths, list(_QUANTILES.values()), method="inverted_cdf")
        return cls(
            users=interactions.n_users,
            items=interactions.n_items,
            interactions=interactions.n_interactions,
            density=interactions.n_interactions / (interactions.n_users * interactions.n_items),
            mean_length=interactions.n_interactions / interactions.n_users,
            length_quantiles={name: int(value) for name, value in zip(_QUANTILES, quantiles, strict=True)},
            first_timestamp=interactions.timestamps.min().item(),
            last_timestamp=interactions.timestamps.max().item(),
            immediate_repeats=_immediate_repeats(interactions),
            time_unit=interactions.time_unit,
            filtered=filtered,
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, for JSON."""
        return {**asdict(self), "filtered": self.filtered.to_dict() if self.filtered else None}


def _immediate_repeats(interactions: Interactions) -> int:
    repeated = np.zeros(interactions.n_interactions + 1, bool)
    repeated[1:-1] = interactions.items[1:] == interactions.items[:-1]
    repeated[interactions.offsets] = False
    return int(np.count_nonzero(repeated))


def summary_table(summary: Summary, title: str = "Interactions") -> Table:
    """A rich table of the figures, with a column of what the filter dropped where that is known."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    filtered = summary.filtered
    if filtered is not None:
        table.add_column("dropped", justify="right")
    for name in ("users", "items", "interactions"):
        cells = [f"{getattr(summary, name):,}"]
        if filtered is not None:
            cells.append(f"{getattr(filtered, f'{name}_dropped'):,}")
        table.add_row(name, *cells)
    if filtered is not None:
        table.add_row("exact repeats", f"{filtered.exact_repeats:,}", f"{filtered.repeats_dropped:,}")
    table.add_row("an item directly after itself", f"{summary.immediate_repeats:,}")
    table.add_section()
    table.add_row("mean length", f"{summary.mean_length:.1f}")
    for name, length in summary.length_quantiles.items():
        table.add_row(f"{name} length", f"{length:,}")
    table.add_section()
    table.add_row("density", f"{summary.density:.3%}")
    if filtered is not None:
        table.caption = _what_was_dropped(filtered)
        table.caption_justify = "left"
    return table


def _what_was_dropped(filtered: FilterReport) -> str:
    reasons = {
        "of null values": filtered.null_rows,
        "exact repeats": filtered.repeats_dropped,
        f"of users with fewer than {filtered.min_user_interactions} interactions": filtered.rare_user_interactions,
        f"of items with fewer than {filtered.min_item_interactions} interactions": filtered.rare_item_interactions,
    }
    dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in reasons.items() if rows) or "none"
    return f"{filtered.rows_read:,} rows read; dropped: {dropped}"
