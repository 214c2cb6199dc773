"""The ranking of a row: item ids and scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recblr.array_types import ItemId, RankedScoresArray, TopItemsArray, TopScoresArray
from recblr.errors import RequestError
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.request import Request
from recblr.vocabulary import ItemVocabulary


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


def rank_found(bundle: Bundle, request: Request, row: int, items: TopItemsArray, scores: TopScoresArray) -> Ranking:
    """The ranking of a row from `items` and `scores`: k or more, filled up with scores of -inf where there are fewer.

    Raises:
        RequestError: the scores are not numbers.
    """
    items, scores = items[: request.k], scores[: request.k]
    # NaN ranks first, what is excluded last.
    if not (scores[0] == scores[0] and scores[-1] > -np.inf):
        if np.isnan(scores).any():
            raise RequestError(
                f"row {row}: the scores are not numbers; was its state made by model {bundle.manifest.fingerprint}?"
            )
        ranked = scores > -np.inf
        items, scores = items[ranked], scores[ranked]
    return Ranking(bundle.vocabulary.decode(items), scores, request.unknown[row], popular=False)


def rank_popular(vocabulary: ItemVocabulary, request: Request, row: int) -> Ranking:
    """The ranking of a row of which nothing is known: the most popular items that it may have."""
    excluded, allowed = request.exclusions[row], request.allowed_of(row)
    candidates = vocabulary.popular()
    if allowed is not None:
        candidates = candidates[np.isin(candidates, allowed)]
    candidates = candidates[: request.k + len(excluded)]
    items = candidates[~np.isin(candidates, excluded)][: request.k]
    scores = vocabulary.counts[items - 1].astype(np.float32)
    return Ranking(vocabulary.decode(items), scores, request.unknown[row], popular=True)
