"""Engines for a model repository of Triton Inference Server.

Triton's TensorRT backend opens engines of TensorRT, not of TensorRT-RTX. They are built alike, though.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from recblr.export.tensorrt.requirements import require_tensorrt
from recblr.export.tensorrt.settings import EngineSettings
from recblr.export.triton.repository import BuildEngine, Engine

if TYPE_CHECKING:
    from recblr.export.tensorrt.builder import Progress


def engine_builder(settings: EngineSettings, progress: Progress | None = None) -> BuildEngine:
    """What `recblr.export.triton.repository.write_repository` takes as `build_engine`.

    Args:
        settings: of the engines. They carry the plugin library, whatever `embed_plugin` says, and take at least one
            token and one exclusion, as Triton sends them.
        progress: told how far TensorRT is.

    Returns:
        A function from a `triton_graph` in fp32, and the ONNX file that it is of, to its engine; raises what
        `recblr.export.tensorrt.builder.build_engine` does.

    Raises:
        ConfigError: as `EngineSettings.triton_profile` and `require_tensorrt`.
        MissingExtraError, ExportError, BundleError: as `require_tensorrt`.
    """
    profile = settings.triton_profile()
    settings = dataclasses.replace(settings, embed_plugin=True)
    library = require_tensorrt(settings)
    from recblr.export.tensorrt.builder import build_engine

    def build(graph: onnx.ModelProto, model_path: Path) -> Engine:
        built = build_engine(graph, settings, library, progress, profile, model_path)
        return Engine(
            plan=built.plan,
            tensors=built.tensors,
            max_rows=profile.rows.maximum,
            max_tokens=profile.tokens.maximum,
            max_exclusions=profile.exclusions.maximum,
            tensorrt_version=built.version,
        )

    return build
