"""Engines for a model repository of Triton Inference Server.

Triton's TensorRT backend opens engines of TensorRT, not of TensorRT-RTX. They are built alike, though.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import onnx

from recblr.errors import ConfigError
from recblr.export.engine_settings import EngineSettings
from recblr.export.engine_writer import require_tensorrt
from recblr.export.profile_shapes import LARGEST_TENSOR
from recblr.export.triton_repository import BuildEngine, Engine
from recblr.runtime.engine_section import Extent, Profile

if TYPE_CHECKING:
    from recblr.export.tensorrt_builder import Progress


def engine_builder(settings: EngineSettings, progress: Progress | None = None) -> BuildEngine:
    """What `recblr.export.triton_repository.write_repository` takes as `build_engine`.

    Args:
        settings: of the engines. They carry the plugin library, whatever `embed_plugin` says, and take at least one
            token and one exclusion, as Triton sends them.
        progress: told how far TensorRT is.

    Returns:
        A function from a `triton_graph` in fp32 to its engine; raises what
        `recblr.export.tensorrt_builder.build_engine` does.

    Raises:
        ConfigError: as `triton_profile` and `require_tensorrt`.
        MissingExtraError, ExportError, BundleError: as `require_tensorrt`.
    """
    profile = triton_profile(settings)
    settings = dataclasses.replace(settings, embed_plugin=True)
    library = require_tensorrt(settings)
    from recblr.export.tensorrt_builder import build_engine

    def build(graph: onnx.ModelProto) -> Engine:
        built = build_engine(graph, settings, library, progress, profile)
        return Engine(
            plan=built.plan,
            tensors=built.tensors,
            max_rows=profile.rows.maximum,
            max_tokens=profile.tokens.maximum,
            max_exclusions=profile.exclusions.maximum,
            tensorrt_version=built.version,
        )

    return build


def triton_profile(settings: EngineSettings) -> Profile:
    """The sizes that an engine for Triton takes: those of a bundle's, but at least one token and one exclusion.

    Raises:
        ConfigError: fewer tokens or exclusions than rows, or too many for so many rows.
    """
    profile = settings.profile
    for extent, option in ((profile.tokens, "max-tokens"), (profile.exclusions, "max-exclusions")):
        if extent.maximum < profile.rows.maximum:
            raise ConfigError(
                f"{option} is {extent.maximum}: Triton sends at least one per row, and max-rows is "
                f"{profile.rows.maximum}; give at least that"
            )
        if extent.maximum * profile.rows.maximum > LARGEST_TENSOR:
            raise ConfigError(
                f"max-rows is {profile.rows.maximum} and {option} {extent.maximum}: the graph for Triton has a number "
                f"for each pair of them, and TensorRT's largest tensor {LARGEST_TENSOR}; give fewer of one"
            )
    return Profile(
        rows=profile.rows, tokens=_at_least_one(profile.tokens), exclusions=_at_least_one(profile.exclusions)
    )


def _at_least_one(extent: Extent) -> Extent:
    return dataclasses.replace(extent, minimum=1)
