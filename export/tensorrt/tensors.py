"""The inputs and outputs of graphs and plans, and the sizes that tensors take under a plan's profile.

Dimensions that vary have names in the graph: "rows", "tokens" and "exclusions", and multiples and sums of them such as
"rows + 1" and "2 * rows". What a profile says of the three gives the shapes of all inputs, whatever their names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from recblr.config import LARGEST_TENSOR
from recblr.errors import ConfigError, ExportError
from recblr.runtime.bundle.plan_section import Extent, Profile

Shape: TypeAlias = tuple[int, ...]

_DIMENSION = re.compile(r"(?:(\d+) \* )?(rows|tokens|exclusions)(?: \+ (\d+))?")
_DTYPES = {onnx.TensorProto.INT32: "int32", onnx.TensorProto.FLOAT: "float32"}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph or a plan.

    Attributes:
        name: of the tensor.
        dtype: NumPy's name of its type.
        shape: -1 where it varies.
        is_input: or else an output.
    """

    name: str
    dtype: str
    shape: Shape
    is_input: bool


def graph_tensors(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """A graph's inputs and outputs, in its order.

    Raises:
        ExportError: one of another type than int32 and float32.
    """
    specs = []
    for values, is_input in ((model.graph.input, True), (model.graph.output, False)):
        for value in values:
            tensor = value.type.tensor_type
            if tensor.elem_type not in _DTYPES:
                kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
                raise ExportError(f"{value.name} has type {kind}, not int32 or float32: export the bundle again")
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
            specs.append(TensorSpec(value.name, _DTYPES[tensor.elem_type], shape, is_input))
    return tuple(specs)


def check_tensors(expected: Iterable[TensorSpec], found: Iterable[TensorSpec]) -> None:
    """Check that a plan has the graph's inputs and outputs, in whatever order.

    Raises:
        ExportError: a name, type or shape differs.
    """
    by_name = {spec.name: spec for spec in found}
    for spec in expected:
        other = by_name.pop(spec.name, None)
        if other != spec:
            raise ExportError(f"the plan has {other} where the graph has {spec}: build it from that graph")
    if by_name:
        raise ExportError(f"the plan has {', '.join(by_name)}, the graph has not: build it from that graph")


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
    """Check that TensorRT can hold each tensor at the profile's largest sizes: it counts a tensor's numbers in int32.

    TensorRT itself gives no error where they are too many.

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
    """The sizes of a dimension; None where its name is not made of rows, tokens or exclusions."""
    if dim.HasField("dim_value"):
        return Extent(dim.dim_value, dim.dim_value, dim.dim_value)
    match = _DIMENSION.fullmatch(dim.dim_param)
    if match is None:
        return None
    factor, more = int(match[1] or 1), int(match[3] or 0)
    extent: Extent = getattr(profile, match[2])
    return Extent(factor * extent.minimum + more, factor * extent.optimum + more, factor * extent.maximum + more)
