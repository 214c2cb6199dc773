"""The inputs and outputs of a graph, a network or an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph or an engine.

    Attributes:
        name: of the tensor.
        dtype: NumPy's name of its type.
        shape: -1 where it varies.
        is_input: or else an output.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_input: bool
