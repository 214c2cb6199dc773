"""The backend of the native library: it feeds the rows and ranks the catalogue on the CPU, without the ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
from recblr.runtime.bundle.onnx_file import map_weights
from recblr.runtime.bundle.opening import Bundle

_NORM_EPSILON = 1e-12  # of the graph's layer norms


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
        ValueError: the library is not there or older, or the bundle's weights cannot be had.
    """
    names = bundle.manifest.onnx.get("weights")
    if not isinstance(names, Mapping):
        raise ValueError("the bundle does not say where its weights are: export it again")
    return read_model(bundle.model_path, names, bundle.manifest.model["layers"], ranks)


def read_model(onnx_path: Path, names: Mapping[str, str | None], n_layers: int, ranks: bool) -> native.NativeModel:
    """A graph's model for the native library.

    Args:
        onnx_path: the bundle's ONNX file.
        names: which initializer holds each parameter, None for zeros; see `recblr.export.onnx.graph.initializer_names`.
        n_layers: L.
        ranks: whether it may rank; it then takes an index of the items, a copy, or both.

    Raises:
        ValueError: the library is not there or older, or a parameter has no initializer.
    """
    if not native.is_available():
        raise ValueError("the native library is not there, or older")
    needed = native.parameter_names(n_layers)
    missing = [name for name in needed if name not in names]
    if missing:
        raise ValueError(f"the graph has other weights for {', '.join(missing)}")
    held = {name: str(names[name]) for name in needed if names[name] is not None}
    weights = map_weights(onnx_path, set(held.values()))
    return native.NativeModel(
        {name: weights[initializer] for name, initializer in held.items()}, n_layers, _NORM_EPSILON, ranks
    )
