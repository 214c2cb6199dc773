"""The backend of the native library: it feeds the rows and ranks the catalogue on the CPU, without the ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
from recblr.runtime.backends.threads import check_threads, on_cpu
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.bundle.weights import read_weight


class NativeBackend:
    """A `recblr.runtime.Backend` of a bundle's weights on the native library's CPU kernels.

    A row's result is the same bit for bit whatever else is in the batch, however many threads there are, and whether
    its items come at once or one by one through its state.
    """

    def __init__(self, model: native.NativeModel, max_k: int, threads: int | None = None) -> None:
        """Run a model.

        Args:
            model: as `native_model` gives it.
            max_k: the most results per row.
            threads: for one run, which shares its rows among them; None for one per CPU this process may use.

        Raises:
            ConfigError: `threads` below 1.
        """
        self.threads = check_threads(threads)
        self._model = model
        self._max_k = max_k

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        return f"recblr's own kernels on {on_cpu(self.threads)}"

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Feed the rows and rank the catalogue for `max_k` results per row."""
        return self.run_best(items, offsets, state_in, exclude, self._max_k)

    def run_best(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Feed the rows and rank the catalogue for k results per row, at most `max_k`."""
        if len(exclude) and len(offsets) > 2 and np.any(np.diff(exclude[:, 0]) < 0):
            exclude = exclude[np.argsort(exclude[:, 0], kind="stable")]
        return self._model.run(items, offsets, state_in, exclude, min(k, self._max_k), self.threads)

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """Feed the rows and leave out the ranking."""
        return self._model.run(items, offsets, state_in, threads=self.threads)[2]


def native_model(bundle: Bundle, ranks: bool) -> native.NativeModel:
    """The bundle's model for the native library.

    Raises:
        ValueError: the library is not there or older, or the bundle's weights are those of another model.
    """
    manifest = bundle.manifest
    n_layers = manifest.model.get("layers")
    if not isinstance(n_layers, int):
        raise ValueError("the bundle does not say how many layers the model has")
    return read_model(bundle.path, manifest.weights, n_layers, manifest.norm_epsilon, ranks)


def read_model(
    folder: Path, places: Mapping[str, Mapping[str, Any]], n_layers: int, norm_epsilon: float, ranks: bool
) -> native.NativeModel:
    """A model's weights for the native library.

    Args:
        folder: the bundle's.
        places: of the model's parameters, as in the manifest; see `recblr.runtime.bundle.weights`.
        n_layers: L.
        norm_epsilon: of all layer norms.
        ranks: whether it may rank; it then takes an index of the items, a copy, or both.

    Raises:
        ValueError: the library is not there or older, or a parameter is missing or cannot be read.
    """
    if not native.is_available():
        raise ValueError("the native library is not there, or older")
    needed = native.parameter_names(n_layers)
    missing = [name for name in needed if name not in places]
    if missing:
        raise ValueError(f"the bundle has no weights {', '.join(missing)}")
    try:
        weights = {name: read_weight(folder, places[name]) for name in needed}
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    return native.NativeModel(weights, n_layers, norm_epsilon, ranks)
