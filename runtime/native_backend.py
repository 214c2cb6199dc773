"""The CPU's short way: rows with few items computed and ranked by the native library, the others by the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.plugins import model as native
from recblr.runtime.backend import Backend, advance
from recblr.runtime.bundle import Bundle
from recblr.runtime.onnx_weights import map_weights

# A row of so many items costs the native library about as much as the graph, which multiplies all its tokens at once.
SHORT_ROW = 8
_NORM_EPSILON = 1e-12  # of the graph's layer norms


class NativeBackend:
    """A `recblr.runtime.Backend` that computes short rows by itself, and has another compute the states of long ones.

    It ranks all rows. What computes a row depends on its own length only, so a row's result does not depend on what
    else is in the batch.
    """

    def __init__(self, backend: Backend, model: native.NativeModel, max_k: int, threads: int) -> None:
        """Join what computes long rows and what computes short ones.

        Args:
            backend: of the same bundle.
            model: the bundle's, see `native_model`.
            max_k: results per row.
            threads: for one run.
        """
        self._backend = backend
        self._model = model
        self._max_k = max_k
        self._threads = threads

    @property
    def description(self) -> str:
        """What runs it, for people."""
        return f"{self._backend.description}, steps by recblr's own kernels"

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.Backend.run`."""
        if len(exclude) and np.any(np.diff(exclude[:, 0]) < 0):
            exclude = exclude[np.argsort(exclude[:, 0], kind="stable")]
        # One row, or few items, needs no look at the lengths: each of NumPy's calls takes microseconds.
        if len(items) > SHORT_ROW and (len(offsets) == 2 or np.diff(offsets).max() > SHORT_ROW):
            state_in = self.advance(items, offsets, state_in)
            items, offsets = items[:0], np.zeros(len(offsets), np.int32)
        return self._model.run(items, offsets, state_in, exclude, self._max_k, self._threads)

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """See `recblr.runtime.backend.StatesBackend.advance`."""
        if len(offsets) == 2 and len(items) > SHORT_ROW:
            return advance(self._backend, items, offsets, state_in)
        is_long = np.diff(offsets) > SHORT_ROW
        if is_long.all():
            return advance(self._backend, items, offsets, state_in)
        if not is_long.any():
            return self._model.run(items, offsets, state_in, threads=self._threads)[2]
        states = np.empty_like(state_in)
        states[is_long] = advance(self._backend, *_rows(items, offsets, is_long), state_in[is_long])
        short = _rows(items, offsets, ~is_long)
        states[~is_long] = self._model.run(*short, state_in[~is_long], threads=self._threads)[2]
        return states


def native_model(bundle: Bundle, ranks: bool) -> native.NativeModel:
    """The bundle's model for the native library.

    Raises:
        ValueError: the library is not there or older, or the bundle's weights cannot be had.
    """
    if not native.is_available():
        raise ValueError("the native library is not there, or older")
    config: Mapping[str, Any] = bundle.manifest.model
    names = bundle.manifest.onnx.get("weights")
    if not isinstance(names, Mapping):
        raise ValueError("the bundle does not tell where its weights are: export it again")
    needed = native.parameter_names(config["layers"])
    missing = [name for name in needed if name not in names]
    if missing:
        raise ValueError(f"the bundle's graph has other weights for {', '.join(missing)}")
    held = {name: str(names[name]) for name in needed if names[name] is not None}
    weights = map_weights(bundle.model_path, set(held.values()))
    return native.NativeModel(
        {name: weights[initializer] for name, initializer in held.items()}, config["layers"], _NORM_EPSILON, ranks
    )


def _rows(items: ItemsArray, offsets: OffsetsArray, chosen: np.ndarray) -> tuple[ItemsArray, OffsetsArray]:
    """The chosen rows' items and offsets."""
    lengths = np.diff(offsets)
    new_offsets = np.zeros(int(chosen.sum()) + 1, np.int32)
    np.cumsum(lengths[chosen], out=new_offsets[1:])
    return items[np.repeat(chosen, lengths)], new_offsets
