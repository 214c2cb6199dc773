"""The native library's exact ranking of a whole catalogue, on NumPy arrays."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import abi
from ._library import PluginLibraryError, is_available, load_library
from .cpus import usable_cpus
from .item_index import LARGEST, ItemIndex, check_embedding

__all__ = ["FEWEST_INDEXED", "TopItemsRequest", "check_request", "is_available", "run", "top_items"]

# Of fewer items an index gains nothing: `kFewestRankedByIndex` of the library's `cpu/crossovers.h`.
FEWEST_INDEXED = 8_192


@dataclass(frozen=True)
class TopItemsRequest:
    """Checked arguments of `top_items`.

    Attributes:
        queries: float32 [B, D], contiguous.
        embedding: float32 [V + 1, D], contiguous, at any address.
        k: results per row.
        exclude: int32 [M, 2] of (row, item).
        only: int32 [n] items, all rows' lists one after another, or one list; None for all items.
        only_offsets: int64 [B + 1] row b may have `only[only_offsets[b]:only_offsets[b + 1]]`; None for one list.
        threads: at most so many.
        index: of the embedding; None for none.
    """

    queries: np.ndarray
    embedding: np.ndarray
    k: int
    exclude: np.ndarray
    only: np.ndarray | None
    only_offsets: np.ndarray | None
    threads: int
    index: ItemIndex | None

    @property
    def n_items(self) -> int:
        """The number of items, V: without row 0 of the embedding."""
        return len(self.embedding) - 1

    def allowed(self, row: int) -> np.ndarray | None:
        """The items a row may have; None for all."""
        if self.only is None or self.only_offsets is None:
            return self.only
        return self.only[self.only_offsets[row] : self.only_offsets[row + 1]]


def top_items(
    queries: np.ndarray,
    embedding: np.ndarray,
    k: int,
    exclude: np.ndarray | None = None,
    only: np.ndarray | Sequence[np.ndarray] | None = None,
    threads: int | None = None,
    index: ItemIndex | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of a catalogue for every row, exactly.

    An item's score is the dot product of the row's query and the item's embedding. Memory is O(B k threads), however
    large the catalogue. Results do not depend on the number of threads, nor a row's on the other rows, bit for bit.

    Args:
        queries: float32 [B, D].
        embedding: float32 [V + 1, D], contiguous; row 0 is no item.
        k: results per row; may exceed V.
        exclude: int32 [M, 2] pairs of (row, item) that are not ranked, in any order.
        only: the items that may be ranked: int32 [n] for all rows, or a list or tuple of B such arrays, one per row.
            None for all items.
        threads: at most so many; None for one per CPU this process may use.
        index: of `embedding`, unchanged since; makes it faster where all items may be ranked, and changes no bit.

    Returns:
        int32 [B, k] the items, best first, equal scores by the smaller item; float32 [B, k] their scores. NaN ranks
        before all other scores, -inf is not ranked. A row with fewer items is filled up with item 0 and -inf.

    Raises:
        ValueError: arrays of another type or shape, or numbers out of range.
        PluginLibraryError: the library is missing, of another ABI version, or its environment variable
            `RECBLR_CPU_ISA` names no instruction set.
        MemoryError: no memory for the candidates.
    """
    return run(check_request(queries, embedding, k, exclude, only, threads, index))


def check_request(
    queries: np.ndarray,
    embedding: np.ndarray,
    k: int,
    exclude: np.ndarray | None,
    only: np.ndarray | Sequence[np.ndarray] | None,
    threads: int | None,
    index: ItemIndex | None,
) -> TopItemsRequest:
    """The arguments of `top_items`, checked.

    Raises:
        ValueError: as `top_items` says.
    """
    queries = np.ascontiguousarray(_array(queries, "queries", np.float32, 2))
    check_embedding(embedding)
    if queries.shape[1] != embedding.shape[1]:
        raise ValueError(f"queries has shape {queries.shape}, embedding {embedding.shape}: both need the same D")
    if index is not None and index.shape != embedding.shape:
        raise ValueError(f"index is of an embedding {index.shape}, not {embedding.shape}: make one of this embedding")
    n_rows, n_items = len(queries), len(embedding) - 1
    exclude = np.empty((0, 2), np.int32) if exclude is None else _array(exclude, "exclude", np.int32, 2)
    if exclude.shape[1] != 2:
        raise ValueError(f"exclude has shape {exclude.shape}: give pairs [M, 2] of (row, item)")
    _check_range(exclude[:, 0], "a row of exclude", n_rows - 1)
    _check_range(exclude[:, 1], "an item of exclude", n_items)
    only_offsets = None
    if isinstance(only, list | tuple):
        if len(only) != n_rows:
            raise ValueError(f"only has {len(only)} lists for {n_rows} rows: give one per row, or one array for all")
        lists = [_array(row, f"only[{b}]", np.int32, 1) for b, row in enumerate(only)]
        only_offsets = np.zeros(n_rows + 1, np.int64)
        np.cumsum([len(row) for row in lists], out=only_offsets[1:])
        only = np.concatenate([np.empty(0, np.int32), *lists])
    elif only is not None:
        only = np.ascontiguousarray(_array(only, "only", np.int32, 1))
    if only is not None:
        _check_range(only, "an item of only", n_items)
    return TopItemsRequest(
        queries=queries,
        embedding=embedding,
        k=_check_count(k, "k"),
        exclude=np.ascontiguousarray(exclude),
        only=only,
        only_offsets=only_offsets,
        threads=usable_cpus() if threads is None else _check_count(threads, "threads"),
        index=index,
    )


def run(request: TopItemsRequest) -> tuple[np.ndarray, np.ndarray]:
    """What `top_items` returns, for checked arguments.

    Raises:
        PluginLibraryError: the library is missing, of another ABI version, or its environment variable
            `RECBLR_CPU_ISA` names no instruction set.
        MemoryError: no memory for the candidates.
    """
    library = load_library()
    items = np.empty((len(request.queries), request.k), np.int32)
    scores = np.empty(items.shape, np.float32)
    arguments = abi.TopItems(
        n_rows=len(request.queries),
        n_items=request.n_items,
        dim=request.queries.shape[1],
        k=request.k,
        n_exclude=len(request.exclude),
        n_only=0 if request.only is None else len(request.only),
        n_threads=request.threads,
        queries=request.queries.ctypes.data,
        embedding=request.embedding.ctypes.data,
        index=None if request.index is None else request.index.handle,
        exclude=request.exclude.ctypes.data,
        only=_address(request.only),
        only_offsets=_address(request.only_offsets),
        top_items=items.ctypes.data,
        top_scores=scores.ctypes.data,
    )
    status = int(library.handle.recblr_top_items_cpu(ctypes.byref(arguments)))
    if status != abi.OK:
        message = f"recblr_top_items_cpu: {library.last_error}"
        raise MemoryError(message) if status == abi.OUT_OF_MEMORY else PluginLibraryError(message)
    return items, scores


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _array(value: Any, name: str, dtype: type[np.generic], n_dims: int) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != n_dims:
        what = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name} is {what}: give a NumPy array of {dtype.__name__} with {n_dims} dimension(s)")
    return value


def _check_range(values: np.ndarray, name: str, largest: int) -> None:
    if len(values) and not 0 <= values.min() <= values.max() <= largest:
        wrong = values[(values < 0) | (values > largest)][0]
        raise ValueError(f"{name} is {wrong}: it must be from 0 to {largest}")


def _check_count(value: int, name: str) -> int:
    try:
        count = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = -1
    if not 1 <= count <= LARGEST:
        raise ValueError(f"{name} is {value!r}: give a whole number from 1 to {LARGEST}")
    return count
