"""The engine of a bundle: built, written beside the graph, and run where there is a GPU."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recblr.data import Targets
from recblr.export.checks.comparison import Reference
from recblr.export.checks.precision_loss import emulated_loss, precision_loss
from recblr.export.checks.verify import compare_engine, open_engine
from recblr.export.onnx.graph_file import read_graph
from recblr.export.tensorrt.requirements import require_tensorrt
from recblr.export.tensorrt.settings import EngineSettings
from recblr.plugins import LIBRARY_NAME
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.manifest import MODEL_FILE
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.bundle.plan_section import NOT_RUN, PLAN_FILE, VERIFIED, PlanSection
from recblr.runtime.gpu.cuda import current_gpu

if TYPE_CHECKING:
    from recblr.export.tensorrt.builder import Progress


@dataclass(frozen=True)
class EngineRequest:
    """An engine that an export is to build.

    Attributes:
        settings: what it is built for.
        progress: told how far TensorRT is.
        evaluation: users on whom a reduced precision is compared with fp32, in the model's indices; None for none.
    """

    settings: EngineSettings
    progress: Progress | None = None
    evaluation: Targets | None = None


def write_engine(folder: Path, max_k: int, request: EngineRequest) -> PlanSection:
    """Build the engine of a bundle's graph, and write it and the plugin library to the bundle's folder.

    Args:
        folder: of the bundle, with its graph.
        max_k: of the graph.

    Returns:
        What the manifest says of it; it was not run yet.

    Raises:
        ConfigError, ExportError, BundleError, OutputError: as `recblr.export.tensorrt.builder.build_engine`.
    """
    settings = request.settings
    library = require_tensorrt(settings)
    from recblr.export.tensorrt.builder import build_engine

    path = folder / MODEL_FILE
    built = build_engine(read_graph(path), settings, library, request.progress, model_path=path)
    (folder / PLAN_FILE).write_bytes(built.plan)
    shutil.copyfile(library, folder / LIBRARY_NAME)
    gpu = current_gpu()
    return PlanSection(
        file=PLAN_FILE,
        target=settings.target,
        version=built.version,
        precision=settings.precision,
        profile=settings.profile,
        max_k=max_k,
        compute_capabilities=_built_for(settings),
        gpu=gpu and gpu.name,
        build_seconds=built.seconds,
        memory_bytes=built.memory_bytes,
        weight_bytes=built.weight_bytes,
        plugin_library=LIBRARY_NAME,
        plugin_embedded=settings.embed_plugin,
        proof={"network": built.proof, "inspector": None},
        status=NOT_RUN,
        verification={},
        evaluation={},
    )


def run_engine(folder: Path, section: PlanSection, reference: Reference, request: EngineRequest) -> PlanSection:
    """Compare the written engine with the reference, where there is a GPU, and measure what its precision costs.

    Args:
        folder: of the bundle, complete with its manifest.
        section: what the manifest says so far.
        reference: is right.

    Raises:
        ExportError: the engine differs from the reference.
        BundleError, ConfigError, MissingExtraError: it cannot be opened.
    """
    if current_gpu() is None:
        evaluation: dict[str, Any] = {}
        if request.evaluation is not None and section.precision != "fp32":
            evaluation = emulated_loss(open_bundle(folder), request.settings.precision, request.evaluation)
        return dataclasses.replace(section, evaluation=evaluation)
    return _run_on_gpu(open_bundle(folder), section, reference, request)


def _run_on_gpu(bundle: Bundle, section: PlanSection, reference: Reference, request: EngineRequest) -> PlanSection:
    backend = open_engine(bundle)
    report = compare_engine(bundle, backend, reference)
    evaluation: dict[str, Any] = {}
    if request.evaluation is not None and section.precision != "fp32":
        full = OnnxRuntimeBackend(bundle.model_path)
        loss = precision_loss(backend, full, request.evaluation, bundle.initial_state, section.profile.limits)
        evaluation = {"measured": f"the engine on {report['gpu']}, against fp32 in ONNX Runtime", **loss}
    return dataclasses.replace(
        section,
        proof={**section.proof, "inspector": backend.inspect()},
        status=VERIFIED,
        verification=report,
        evaluation=evaluation,
    )


def _built_for(settings: EngineSettings) -> list[str]:
    gpu = current_gpu()
    if settings.target == "tensorrt" and gpu is not None:
        return [gpu.compute_capability]
    return list(settings.compute_capabilities)
