"""TensorRT plans for a model repository of Triton Inference Server.

Triton's TensorRT backend opens plans of TensorRT, not of TensorRT-RTX. They are built alike, though.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx

from recblr.config import LARGEST_TENSOR
from recblr.errors import ConfigError
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.export.tensorrt.tensors import TensorSpec
from recblr.runtime.bundle.plan_section import Profile


@dataclass(frozen=True, kw_only=True)
class TritonPlan:
    """A TensorRT plan of a `triton_graph`, with the plugin library embedded.

    Attributes:
        plan: its bytes.
        tensors: its inputs and outputs.
        max_rows: the most rows of its optimization profile; the least must be 1, as for tokens and exclusions.
        max_tokens: the most entries of `items`, all rows together.
        max_exclusions: the most entries of `exclude_items`, all rows together.
        tensorrt_version: that it was built with.
    """

    plan: bytes
    tensors: tuple[TensorSpec, ...]
    max_rows: int
    max_tokens: int
    max_exclusions: int
    tensorrt_version: str


BuildTritonPlan: TypeAlias = Callable[[onnx.ModelProto, Path], TritonPlan]


def triton_profile(settings: PlanSettings) -> Profile:
    """The sizes that a plan for Triton takes: at least one token and one exclusion, as Triton sends them.

    Raises:
        ConfigError: fewer tokens or exclusions than rows, or too many for so many rows.
    """
    profile, rows = settings.profile, settings.max_rows
    for extent, option in ((profile.tokens, "max-tokens"), (profile.exclusions, "max-exclusions")):
        if extent.maximum < rows:
            raise ConfigError(
                f"{option} is {extent.maximum}: Triton sends at least one per row, and max-rows is {rows}; give at "
                "least that"
            )
        if extent.maximum * rows > LARGEST_TENSOR:
            raise ConfigError(
                f"max-rows is {rows} and {option} {extent.maximum}: the graph for Triton has a number for each "
                f"pair of them, and TensorRT's largest tensor {LARGEST_TENSOR}; give fewer of one"
            )
    return Profile(
        rows=profile.rows,
        tokens=dataclasses.replace(profile.tokens, minimum=1),
        exclusions=dataclasses.replace(profile.exclusions, minimum=1),
    )


def triton_plan_builder(builder: PlanBuilder) -> BuildTritonPlan:
    """A function that builds TensorRT plans, for `recblr.export.triton.repository.write_repository`.

    Args:
        builder: of the plans. They carry the plugin library, even if its settings do not say so, and take the sizes of
            `triton_profile`.

    Returns:
        A function from a `triton_graph` in fp32, and the ONNX file that it is of, to its plan; raises what
        `PlanBuilder.build` does.

    Raises:
        ConfigError: as `triton_profile`.
    """
    profile = triton_profile(builder.settings)

    def build(graph: onnx.ModelProto, model_path: Path) -> TritonPlan:
        built = builder.build(graph, model_path, profile, embed_plugin=True)
        return TritonPlan(
            plan=built.plan,
            tensors=built.tensors,
            max_rows=profile.rows.maximum,
            max_tokens=profile.tokens.maximum,
            max_exclusions=profile.exclusions.maximum,
            tensorrt_version=built.version,
        )

    return build
