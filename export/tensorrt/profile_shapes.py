"""The sizes that a graph's tensors take under an engine's profile.

Dimensions that vary have names in the graph: "rows", "tokens" and "exclusions", and multiples and sums of them such as
"rows + 1" and "2 * rows". What a profile says of the three gives the shapes of all inputs, whatever their names.
"""

from __future__ import annotations

import math
import re
from typing import TypeAlias

import onnx

from recblr.config import LARGEST_TENSOR
from recblr.errors import ConfigError, ExportError
from recblr.runtime.bundle.plan_section import Extent, Profile

Shape: TypeAlias = tuple[int, ...]

_DIMENSION = re.compile(r"(?:(\d+) \* )?(rows|tokens|exclusions)(?: \+ (\d+))?")


def input_shapes(model: onnx.ModelProto, profile: Profile) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Each input's smallest shape, the one to optimise for, and its largest.

    Raises:
        ExportError: an input has a dimension of another kind.
    """
    shapes = {}
    for value in model.graph.input:
        extents = [_extent(dim, profile) for dim in value.type.tensor_type.shape.dim]
        known = [extent for extent in extents if extent is not None]
        if len(known) < len(extents):
            raise ExportError(
                f"the graph's input {value.name} has dimensions that are neither numbers nor made of rows, tokens or "
                "exclusions: export the bundle again"
            )
        shapes[value.name] = (
            tuple(extent.minimum for extent in known),
            tuple(extent.optimum for extent in known),
            tuple(extent.maximum for extent in known),
        )
    return shapes


def check_tensor_sizes(model: onnx.ModelProto, profile: Profile) -> None:
    """TensorRT counts the numbers of a tensor in int32, and does not say that they are too many.

    Raises:
        ConfigError: a tensor of this model would be larger.
    """
    numbers_each: dict[str, int] = {}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        extents = [_extent(dim, profile) for dim in dims]
        match = _DIMENSION.fullmatch(dims[0].dim_param) if dims else None
        if match is None:
            continue
        others = math.prod(extent.maximum for extent in extents[1:] if extent is not None)
        numbers_each[match[2]] = max(numbers_each.get(match[2], 0), int(match[1] or 1) * others)
    for dimension, widest in numbers_each.items():
        maximum = getattr(profile, dimension).maximum
        most = LARGEST_TENSOR // widest
        if maximum > most:
            raise ConfigError(
                f"max-{dimension} is {maximum}: with {widest} numbers for each of the {dimension} that is more than "
                f"the {LARGEST_TENSOR} numbers of TensorRT's largest tensor; give at most {most}"
            )


def _extent(dim: onnx.TensorShapeProto.Dimension, profile: Profile) -> Extent | None:
    """The sizes of a dimension; None where they cannot be told."""
    if dim.HasField("dim_value"):
        return Extent(dim.dim_value, dim.dim_value, dim.dim_value)
    match = _DIMENSION.fullmatch(dim.dim_param)
    if match is None:
        return None
    factor, more = int(match[1] or 1), int(match[3] or 0)
    extent: Extent = getattr(profile, match[2])
    return Extent(factor * extent.minimum + more, factor * extent.optimum + more, factor * extent.maximum + more)
