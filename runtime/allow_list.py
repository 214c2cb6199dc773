"""A list of items that may be recommended, looked up once for many requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recblr.array_types import ItemId
from recblr.runtime import _core


class AllowList(_core.AllowList):
    """Item ids to choose from, such as what is in stock, looked up once for each model and not for each request.

    Goes wherever an engine or a Recommender takes a list of item ids as `only`; a million ids then cost no time of
    their own. What it holds does not change: make another when the stock does. Threads may share it.
    """

    def __init__(self, ids: Sequence[ItemId] | np.ndarray) -> None:
        """Keep item ids, those that a model does not know, too.

        Args:
            ids: in any order, in any form that `Engine.recommend` takes, but for iterators.

        Raises:
            RequestError: no sequence of ids.
        """
        super().__init__(ids)
