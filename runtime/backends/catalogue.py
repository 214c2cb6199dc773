"""A bundle's catalogue: ranks any number of items, or an allow-list of them, for users' query vectors.

Where the catalogue is large, `CatalogueBackend` ranks with it in place of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recblr.array_types import (
    EmbeddingArray,
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    QueriesArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import RequestError
from recblr.plugins import top_items as native
from recblr.plugins.item_index import ItemIndex
from recblr.runtime.backends.base import Backend, advance
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.bundle.weights import EMBEDDING

# Of fewer items an index gains nothing.
FEWEST_INDEXED = native.FEWEST_INDEXED

_BLOCK_SCORES = 2**20  # scores that the NumPy ranking holds at once


class Catalogue:
    """The items' embedding, and exact rankings by it. Any number of threads may use it at once.

    Attributes:
        embedding: float32 [V + 1, D]; row 0 is no item.
    """

    def __init__(self, embedding: EmbeddingArray, threads: int | None = None, indexed: bool = False) -> None:
        """Rank by an embedding.

        Args:
            embedding: float32 [V + 1, D], contiguous; row 0 is no item.
            threads: for one ranking; None for one per CPU this process may use.
            indexed: hold an index, a quarter of the embedding's size, with which rankings of all items are several
                times faster on a machine that can use one; see `recblr.plugins.item_index`.
        """
        self.embedding = embedding
        self._threads = threads
        self._is_native = native.is_available()
        self._index = ItemIndex(embedding, threads) if indexed and self._is_native else None

    @classmethod
    def of_bundle(cls, bundle: Bundle, threads: int | None = None, indexed: bool = False) -> Catalogue:
        """The catalogue of a verified bundle; the embedding stays in its file, and processes share its memory.

        Args:
            bundle: verified.
            threads, indexed: as for `Catalogue`.

        Raises:
            BundleError: the embedding's file cannot be read any more.
        """
        return cls(bundle.weight(EMBEDDING), threads, indexed)

    @property
    def n_items(self) -> int:
        """V, how many items it has."""
        return len(self.embedding) - 1

    @property
    def dim(self) -> int:
        """D, the width of the embedding."""
        return int(self.embedding.shape[1])

    def top_items(
        self,
        queries: QueriesArray,
        k: int,
        exclude: ExcludeArray | None = None,
        only: ItemsArray | Sequence[ItemsArray] | None = None,
    ) -> tuple[TopItemsArray, TopScoresArray]:
        """The k best items for every row, exactly, without all items' scores in memory.

        With the native library, a row's result does not depend on the other rows, bit for bit; without it, to the
        rounding of NumPy's matrix product.

        Args:
            queries: float32 [B, D], as the last D entries of states are.
            k: results per row; may exceed V. A row with fewer items to rank is filled up with item 0 and -inf.
            exclude: int32 [M, 2] pairs of (row, item) that are not ranked, in any order.
            only: the items that may be ranked: int32 [n] for all rows, or a list or tuple of B such arrays, one per
                row. None for all items.

        Returns:
            int32 [B, k] the items, best first, equal scores by the smaller item; float32 [B, k] their scores. NaN
            ranks before all other scores, -inf is not ranked.

        Raises:
            RequestError: arrays of another type or shape, or numbers out of range.
        """
        try:
            request = native.check_request(queries, self.embedding, k, exclude, only, self._threads, self._index)
        except ValueError as error:
            raise RequestError(str(error)) from error
        return native.run(request) if self._is_native else _rank_with_numpy(request)


class CatalogueBackend:
    """A `recblr.runtime.Backend` for large catalogues: another computes the states, and the catalogue ranks.

    The ranking in a graph holds B x V scores at once; this one needs memory for B x k.

    Attributes:
        backend: computes the states.
        catalogue: ranks.
    """

    def __init__(self, backend: Backend, catalogue: Catalogue, max_k: int) -> None:
        """Join a backend and a catalogue of the same bundle.

        Args:
            backend: computes the states.
            catalogue: ranks.
            max_k: the most results per row.
        """
        self.backend = backend
        self.catalogue = catalogue
        self._max_k = max_k

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        return f"{self.backend.description}, ranking in bounded memory"

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Compute the states, and rank the catalogue for `max_k` results per row."""
        return self.run_best(items, offsets, state_in, exclude, self._max_k)

    def run_best(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Compute the states, and rank the catalogue for k results per row, at most `max_k`."""
        states = self.advance(items, offsets, state_in)
        queries = states[:, -self.catalogue.dim :]
        top_items, top_scores = self.catalogue.top_items(queries, min(k, self._max_k), exclude)
        return top_items, top_scores, states

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """Compute the states alone."""
        return advance(self.backend, items, offsets, state_in)


def _rank_with_numpy(request: native.TopItemsRequest) -> tuple[TopItemsArray, TopScoresArray]:
    """Rank with NumPy, as `recblr.plugins.top_items.run` does, where there is no native library."""
    n_rows = len(request.queries)
    items = np.zeros((n_rows, request.k), np.int32)
    scores = np.full((n_rows, request.k), -np.inf, np.float32)
    groups = [slice(row, row + 1) for row in range(n_rows)] if request.only_offsets is not None else [slice(0, n_rows)]
    for rows in groups:
        if rows.start == rows.stop:
            continue
        allowed = request.allowed(rows.start)
        candidates = np.arange(1, request.n_items + 1, dtype=np.int32) if allowed is None else np.unique(allowed)
        candidates = candidates[candidates > 0]
        size = max(1, _BLOCK_SCORES // (rows.stop - rows.start))
        for start in range(0, len(candidates), size):
            _merge_block(request, rows, candidates[start : start + size], items, scores)
    return items, scores


def _merge_block(
    request: native.TopItemsRequest, rows: slice, block: ItemsArray, items: TopItemsArray, scores: TopScoresArray
) -> None:
    """Merge the best of some more items, which are sorted, into the rows' results so far."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = request.queries[rows] @ request.embedding[block].T
    for b, row in enumerate(range(rows.start, rows.stop)):
        excluded = request.exclude[request.exclude[:, 0] == row, 1]
        kept = ~np.isin(block, excluded) & ~(found[b] <= scores[row, -1])
        # Descending, NaN first; a stable sort keeps equal scores in the order of the items.
        merged_items = np.concatenate([items[row], block[kept]])
        merged_scores = np.concatenate([scores[row], found[b][kept]])
        order = np.lexsort((-merged_scores, ~np.isnan(merged_scores)))[: request.k]
        items[row], scores[row] = merged_items[order], merged_scores[order]
