"""A backend for large catalogues: the graph computes states, and the catalogue's own ranking does the rest."""

from __future__ import annotations

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.runtime.backends.base import Backend, advance
from recblr.runtime.backends.catalogue import Catalogue


class CatalogueBackend:
    """A `recblr.runtime.Backend` in front of another, whose graph it does not let rank.

    The graph's own ranking holds B x V scores at once; this one needs memory for B x k.

    Attributes:
        catalogue: what ranks.
    """

    def __init__(self, backend: Backend, catalogue: Catalogue, max_k: int) -> None:
        """Join what computes states and what ranks.

        Args:
            backend: runs the bundle's graph.
            catalogue: of the same bundle.
            max_k: results per row.
        """
        self._backend = backend
        self.catalogue = catalogue
        self._max_k = max_k

    @property
    def description(self) -> str:
        """What runs the graph, for people."""
        return f"{self._backend.description}, ranking in bounded memory"

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.Backend.run`."""
        return self.run_best(items, offsets, state_in, exclude, self._max_k)

    def run_best(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.backends.base.BestBackend.run_best`."""
        states = self.advance(items, offsets, state_in)
        queries = states[:, -self.catalogue.dim :]
        top_items, top_scores = self.catalogue.top_items(queries, min(k, self._max_k), exclude)
        return top_items, top_scores, states

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """See `recblr.runtime.backends.base.StatesBackend.advance`."""
        return advance(self._backend, items, offsets, state_in)
