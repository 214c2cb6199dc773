"""A list of items that may be recommended, looked up once for many requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recblr.array_types import ItemId, ItemsArray
from recblr.errors import RequestError, shown
from recblr.item_ids import as_list, is_sequence
from recblr.vocabulary import ItemVocabulary


class AllowList:
    """Item ids to choose from, such as what is in stock, looked up once for each model and not for each request.

    Goes wherever an engine or a Recommender takes a list of item ids as `only`; a million ids then cost no time of
    their own. What it holds does not change: make another when the stock does. Threads may share it.
    """

    def __init__(self, ids: Sequence[ItemId] | np.ndarray) -> None:
        """Keep item ids, those that a model does not know, too.

        Args:
            ids: in any order, in any form that `ItemVocabulary.encode` takes, but for iterators.

        Raises:
            RequestError: no sequence of ids.
        """
        if not is_sequence(ids) or getattr(ids, "ndim", 1) != 1:
            raise RequestError(f"ids is {shown(ids)}: give a sequence of item ids")
        self._ids = ids.copy() if isinstance(ids, np.ndarray) else tuple(as_list(ids))
        self._latest: tuple[ItemVocabulary, ItemsArray] | None = None

    def __len__(self) -> int:
        """How many ids were given."""
        return len(self._ids)

    def items(self, vocabulary: ItemVocabulary) -> ItemsArray:
        """The indices of the ids that the model knows, ascending: int32, read-only.

        Raises:
            RequestError: the model knows none, and one is of a type that it cannot know; see `ItemVocabulary.encode`.
        """
        latest = self._latest
        if latest is None or latest[0] is not vocabulary:
            try:
                found, _ = vocabulary.encode(self._ids)
            except RequestError as error:
                raise RequestError(f"the AllowList: {error}") from error
            items = np.unique(found)
            items.flags.writeable = False
            self._latest = latest = (vocabulary, items)
        return latest[1]
