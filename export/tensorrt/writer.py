"""The TensorRT plan of a bundle: built, written to the bundle, and run where there is a GPU."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from recblr.data import Targets
from recblr.export.checks.comparison import Reference
from recblr.export.checks.precision_loss import emulated_loss, precision_loss
from recblr.export.checks.verify import compare_plan, open_plan
from recblr.export.onnx.graph_file import read_graph
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.plugins import LIBRARY_NAME
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.manifest import MODEL_FILE
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.bundle.plan_section import NOT_RUN, PLAN_FILE, VERIFIED, PlanSection
from recblr.runtime.gpu.cuda import current_gpu


def write_plan(folder: Path, max_k: int, builder: PlanBuilder) -> PlanSection:
    """Build the plan of a bundle's graph, and write it and the plugin library to the bundle's folder.

    Args:
        folder: of the bundle, with its graph.
        max_k: of the graph.
        builder: for the plan's settings.

    Returns:
        What the manifest says of the plan; it was not run yet.

    Raises:
        ConfigError, ExportError, OutputError: as `PlanBuilder.build`.
    """
    settings = builder.settings
    path = folder / MODEL_FILE
    built = builder.build(read_graph(path), path)
    (folder / PLAN_FILE).write_bytes(built.plan)
    shutil.copyfile(builder.library, folder / LIBRARY_NAME)
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


def run_plan(folder: Path, section: PlanSection, reference: Reference, targets: Targets | None) -> PlanSection:
    """Compare the written plan with the reference, where there is a GPU, and measure what its precision costs.

    Args:
        folder: of the bundle, complete with its manifest.
        section: the plan's entry in the manifest so far.
        reference: gives the right scores and states.
        targets: users on whom a reduced precision is compared with fp32, in the model's indices; None for none.

    Returns:
        The entry with what was found.

    Raises:
        ExportError: the plan's results differ from the reference's.
        BundleError, ConfigError, MissingExtraError: it cannot be opened.
    """
    if section.precision == "fp32":
        targets = None
    if current_gpu() is None:
        evaluation = {} if targets is None else emulated_loss(open_bundle(folder), section.precision, targets)
        return dataclasses.replace(section, evaluation=evaluation)
    return _run_on_gpu(open_bundle(folder), section, reference, targets)


def _run_on_gpu(bundle: Bundle, section: PlanSection, reference: Reference, targets: Targets | None) -> PlanSection:
    backend = open_plan(bundle)
    report = compare_plan(bundle, backend, reference)
    evaluation: dict[str, Any] = {}
    if targets is not None:
        full = OnnxRuntimeBackend(bundle.model_path)
        loss = precision_loss(backend, full, targets, bundle.initial_state, section.profile.limits)
        evaluation = {"measured": f"the plan on {report['gpu']}, against fp32 in ONNX Runtime", **loss}
    return dataclasses.replace(
        section,
        proof={**section.proof, "inspector": backend.inspect()},
        status=VERIFIED,
        verification=report,
        evaluation=evaluation,
    )


def _built_for(settings: PlanSettings) -> list[str]:
    gpu = current_gpu()
    if settings.target == "tensorrt" and gpu is not None:
        return [gpu.compute_capability]
    return list(settings.compute_capabilities)
