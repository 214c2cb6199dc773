"""The library's own kernels on a bundle, as a backend that can be compared with others."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray, TopItemsArray, TopScoresArray
from recblr.runtime import Bundle, Engine, Limits


class NativeKernels:
    """A `recblr.runtime.Backend` that asks an engine on these kernels, in item ids."""

    def __init__(self, bundle: Bundle) -> None:
        """Load a bundle.

        Raises:
            BundleError: it does not hold what the kernels need.
        """
        self._bundle = bundle
        self._engine = Engine(bundle)
        self._ids = np.array([None, *bundle.item_ids()], object)
        self.max_k = min(bundle.manifest.max_k, bundle.n_items)
        self.limits = Limits()

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        return self._engine.description

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Feed the rows and rank; see `recblr.runtime.Backend.run`."""
        rows = [self._ids[items[start:stop]].tolist() for start, stop in pairwise(offsets.tolist())]
        excluded = [self._ids[exclude[exclude[:, 0] == b, 1]].tolist() for b in range(len(rows))]
        rankings, states = self._engine.step(state_in, rows, max(k, 1), excluded)
        top_items = np.zeros((len(rows), k), np.int32)
        top_scores = np.full((len(rows), k), -np.inf, np.float32)
        for b, ranking in enumerate(rankings):
            best = ranking.items[:k]
            top_items[b, : len(best)] = self._bundle.indices(best)
            # All scores of a user of whom nothing is known are zero; an engine gives the popular items.
            top_scores[b, : len(best)] = 0 if ranking.popular else ranking.scores[:k]
        return top_items, top_scores, states
