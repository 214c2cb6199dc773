"""The ranking of a row: item ids and scores."""

from __future__ import annotations

from dataclasses import dataclass

from recblr.array_types import ItemId, RankedScoresArray


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best items for one row.

    Attributes:
        items: the item ids, best first: k of them, fewer where exclusions and allow-list leave no more.
        scores: float32, one for each item, descending; equal ones in the order of the model's indices.
        unknown: how many of the row's item ids the model does not know; they were skipped.
        popular: nothing is known of the user, so these are the most popular items, and scores their counts.
    """

    items: list[ItemId]
    scores: RankedScoresArray
    unknown: int
    popular: bool
