"""Whole models on the native library's CPU kernels: items fed to users' states, and the catalogue ranked."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import abi
from ._library import is_available, load_library

__all__ = ["NativeModel", "is_available", "parameter_names"]

# The model's parameters by the names that they have in PyTorch; "{}" is the layer's number.
_MODEL = {"embedding": "embedding.weight", "norm_weight": "norm.weight", "norm_bias": "norm.bias"}
_LAYER = {
    "in_proj": "blocks.{}.recurrent.in_proj.weight",
    "conv_weight": "blocks.{}.recurrent.conv_weight",
    "conv_bias": "blocks.{}.recurrent.conv_bias",
    "gates": "blocks.{}.recurrent.gates.weight",
    "gates_bias": "blocks.{}.recurrent.gates.bias",
    "decay": "blocks.{}.recurrent.decay",
    "out_proj": "blocks.{}.recurrent.out_proj.weight",
    "recurrent_norm_weight": "blocks.{}.recurrent_norm.weight",
    "recurrent_norm_bias": "blocks.{}.recurrent_norm.bias",
    "up": "blocks.{}.feed_forward.up.weight",
    "up_bias": "blocks.{}.feed_forward.up.bias",
    "down": "blocks.{}.feed_forward.down.weight",
    "down_bias": "blocks.{}.feed_forward.down.bias",
    "feed_forward_norm_weight": "blocks.{}.feed_forward_norm.weight",
    "feed_forward_norm_bias": "blocks.{}.feed_forward_norm.bias",
}
_NO_PAIRS = np.empty((0, 2), np.int32)


class NativeModel:
    """A model's weights in the library's own order. Any number of threads may use it at once.

    Results do not depend on the number of threads, nor a row's on the other rows, bit for bit.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], n_layers: int, norm_epsilon: float, ranks: bool) -> None:
        """Copy the weights, but for the embedding, which is kept.

        Args:
            weights: float32, by the names that the model has for them in PyTorch, of D, H, K, F that fit together. A
                bias that is missing is zero.
            n_layers: L.
            norm_epsilon: of all layer norms.
            ranks: whether `run` may rank; it takes an index of the items, a copy, or both.

        Raises:
            ValueError: a weight is missing, or of another shape or type.
            PluginLibraryError: the library is missing, or cannot use this machine.
            MemoryError: no memory for the copies.
        """
        self._weights = _checked(weights, n_layers)
        self.n_items, self.dim = self._weights["embedding.weight"].shape
        self.n_items -= 1
        width, taps = self._weights["blocks.0.recurrent.conv_weight"].shape
        self.state_size = n_layers * taps * width + self.dim
        layers = (abi.LayerWeights * n_layers)()
        for layer, fields in enumerate(layers):
            for field, name in _LAYER.items():
                setattr(fields, field, self._weights[name.format(layer)].ctypes.data)
        arguments = abi.ModelWeights(
            n_items=self.n_items,
            dim=self.dim,
            width=width,
            feed_forward=len(self._weights["blocks.0.feed_forward.up.weight"]),
            taps=taps,
            n_layers=n_layers,
            ranks=ranks,
            norm_epsilon=norm_epsilon,
            layers=layers,
            **{field: self._weights[name].ctypes.data for field, name in _MODEL.items()},
        )
        library = load_library()
        self._library = library
        self._function = library.handle.recblr_model_run_cpu
        self._model = ctypes.c_void_p()
        self._check(library.handle.recblr_model_create(ctypes.byref(arguments), ctypes.byref(self._model)))
        destroy = library.handle.recblr_model_destroy
        destroy.restype = None
        weakref.finalize(self, destroy, self._model)

    def run(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        states: np.ndarray,
        exclude: np.ndarray = _NO_PAIRS,
        k: int = 0,
        threads: int = 1,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Feed each row's items to its state, and rank the catalogue for it.

        Args:
            items: int32 [N], from 1 to V, row after row.
            offsets: int32 [B + 1]; row b is `items[offsets[b]:offsets[b + 1]]`, possibly empty.
            states: float32 [B, S].
            exclude: int32 [M, 2] pairs of (row, item) that are not ranked, rows ascending.
            k: results per row; 0 ranks nothing.
            threads: at most so many.

        Returns:
            int32 [B, k] the items, best first, equal scores by the smaller item; float32 [B, k] their scores, -inf
            (and item 0) where there are no more; float32 [B, S] the new states. NaN ranks before all other scores.

        Raises:
            ValueError: arrays of another type or shape, or numbers out of range.
            MemoryError: no memory.
        """
        n_rows = len(offsets) - 1
        if states.shape != (n_rows, self.state_size) or exclude.shape != (len(exclude), 2) or offsets[-1] != len(items):
            raise ValueError(
                f"items {items.shape} of offsets up to {offsets[-1]}, states {states.shape}, exclude {exclude.shape}: "
                f"for {n_rows} rows they must be [N], N, [B, {self.state_size}] and [M, 2]"
            )
        new_states = np.empty((n_rows, self.state_size), _FLOAT32)
        top_items, top_scores = np.empty((n_rows, k), _INT32), np.empty((n_rows, k), _FLOAT32)
        items, offsets, exclude = _array(items, _INT32), _array(offsets, _INT32), _array(exclude, _INT32)
        states = _array(states, _FLOAT32)
        arguments = abi.ModelRun(
            n_rows,
            len(exclude),
            k,
            threads,
            _address(items),
            _address(offsets),
            _address(states),
            _address(new_states),
            _address(exclude),
            _address(top_items),
            _address(top_scores),
        )
        self._check(self._function(self._model, ctypes.byref(arguments)))
        return top_items, top_scores, new_states

    def _check(self, status: int) -> None:
        if status == abi.OK:
            return
        message = self._library.last_error
        raise MemoryError(message) if status == abi.OUT_OF_MEMORY else ValueError(message)


_INT32, _FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)


def _array(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    if array.dtype != dtype:
        raise ValueError(f"an array is of {array.dtype}: it must be of {dtype}")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _address(array: np.ndarray) -> int | None:
    if not array.size:
        return None
    try:
        return ctypes.addressof(ctypes.c_byte.from_buffer(array))  # type: ignore[arg-type]  # a third of the time that the other way takes
    except TypeError:  # read-only
        return array.ctypes.data


def parameter_names(n_layers: int) -> list[str]:
    """The names of the parameters that `NativeModel` needs for so many layers, as the model in PyTorch has them."""
    return [*_MODEL.values(), *(name.format(layer) for layer in range(n_layers) for name in _LAYER.values())]


def _checked(weights: Mapping[str, np.ndarray], n_layers: int) -> dict[str, np.ndarray]:
    """The weights needed, a missing bias as zeros, once all are contiguous float32 of shapes that fit together."""
    missing = [name for name in parameter_names(n_layers) if name not in weights and not name.endswith("bias")]
    if missing or n_layers < 1:
        raise ValueError(f"of {n_layers} layers, weights are missing: {', '.join(missing) or 'at least one is needed'}")
    first = "blocks.0."
    rows, dim = weights["embedding.weight"].shape
    width, taps = weights[first + "recurrent.conv_weight"].shape
    inner = len(weights[first + "feed_forward.up.weight"])
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (rows, dim),
        "in_proj": (2 * width, dim),
        "conv_weight": (width, taps),
        "gates": (2 * width, width),
        "gates_bias": (2 * width,),
        "out_proj": (dim, width),
        "up": (inner, dim),
        "up_bias": (inner,),
        "down": (dim, inner),
        "conv_bias": (width,),
        "decay": (width,),
    }
    checked = {}
    for fields, layers in ((_MODEL, [0]), (_LAYER, range(n_layers))):
        for field, pattern in fields.items():
            for name in (pattern.format(layer) for layer in layers):
                shape = shapes.get(field, (dim,))
                array = weights[name] if name in weights else np.zeros(shape, np.float32)
                if array.dtype != _FLOAT32 or array.shape != shape or not array.flags.c_contiguous:
                    raise ValueError(
                        f"{name} is {array.dtype} {array.shape}: it must be contiguous float32 of shape {shape}"
                    )
                checked[name] = array
    return checked
