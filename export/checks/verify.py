"""Checks of a TensorRT plan: against PyTorch at export, against the bundle's ONNX file on the machine that serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime

from recblr.array_types import ScoresArray, StatesArray
from recblr.errors import BundleError, ConfigError, ExportError, short_reason
from recblr.export.checks.comparison import TOLERANCE, Batch, Reference, compare
from recblr.export.checks.kernels import NativeKernels
from recblr.export.onnx.graph_file import has_external_data, read_graph
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend, use_external_data
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.bundle.plan_section import PlanSection
from recblr.runtime.gpu.cuda import current_gpu
from recblr.runtime.gpu.trt_module import title

if TYPE_CHECKING:
    from recblr.runtime.gpu.backend import TensorRTBackend

# The largest difference allowed of a plan's results, as a share of the largest value of its kind. A GPU adds in another
# order than a CPU; fp16 has 11 significant bits, bf16 8, and each of several layers rounds a few times.
PLAN_TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}


class OnnxReference:
    """A bundle's model.onnx in ONNX Runtime on the CPU, as a `recblr.export.checks.comparison.Reference`."""

    name = "model.onnx in ONNX Runtime"

    def __init__(self, model: onnx.ModelProto, n_items: int, initial_state: np.ndarray, folder: Path) -> None:
        """Add the scores of all items to the graph's outputs.

        Args:
            model: the graph of a bundle; left as it is.
            folder: of the bundle, with the embedding's file if the graph does not hold the embedding.

        Raises:
            ExportError: ONNX Runtime cannot load it.
        """
        self.n_items = n_items
        self.initial_state = initial_state
        graph = onnx.ModelProto()
        graph.CopyFrom(model)
        (top_k,) = (node for node in graph.graph.node if node.op_type == "TopK")
        self._outputs = [top_k.input[0], "state_out"]
        shape: list[str | int | None] = ["rows", n_items + 1]
        graph.graph.output.append(onnx.helper.make_tensor_value_info(top_k.input[0], onnx.TensorProto.FLOAT, shape))
        options = onnxruntime.SessionOptions()
        try:
            if has_external_data(graph):
                use_external_data(options, folder)
            self._session = onnxruntime.InferenceSession(
                graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base
            raise ExportError(f"ONNX Runtime cannot load the graph ({short_reason(error)})") from error

    def answer(self, batch: Batch) -> tuple[ScoresArray, StatesArray]:
        """Every item's score float32 [B, V+1], -inf for item 0 and what is excluded; the new states float32 [B, S]."""
        scores, states = self._session.run(self._outputs, batch._asdict())
        return scores, states


def bundle_reference(bundle: Bundle) -> OnnxReference:
    """A bundle's own ONNX file, as the reference of a comparison."""
    graph = read_graph(bundle.model_path)
    return OnnxReference(graph, bundle.manifest.n_items, bundle.initial_state, bundle.path)


def open_plan(bundle: Bundle) -> TensorRTBackend:
    """The bundle's plan on the current GPU.

    Raises:
        BundleError: TensorRT refuses the plan.
        ConfigError: no plan, no GPU, or not enough of its memory.
        MissingExtraError: TensorRT or cuda-bindings is not installed.
    """
    _section(bundle)
    from recblr.runtime.gpu.backend import TensorRTBackend

    return TensorRTBackend(bundle)


def compare_plan(bundle: Bundle, backend: TensorRTBackend, reference: Reference) -> dict[str, Any]:
    """Compare the bundle's plan, which `backend` runs on a GPU, with a reference.

    Returns:
        JSON-ready: what `recblr.export.checks.comparison.compare` returns, "reference", "gpu", and "memory_bytes" for
        the activations at the largest sizes.

    Raises:
        ExportError: it differs beyond the tolerance of its precision.
    """
    section = _section(bundle)
    tolerance = PLAN_TOLERANCES[section.precision]
    report = compare(backend, reference, title(section.target), tolerance, section.profile.limits)
    gpu = current_gpu()
    return {
        "reference": reference.name,
        "gpu": gpu and gpu.name,
        "memory_bytes": backend.memory_bytes,
        **report,
    }


def verify_bundle(path: Path) -> tuple[str, dict[str, Any]]:
    """Repeat a bundle's check on this machine, without PyTorch's model.

    The plan is compared with the bundle's own model.onnx in ONNX Runtime, or, in a bundle without one, the native
    library's kernels are. Where those cannot compute it, ONNX Runtime is compared with itself: histories in pieces,
    resumed from states, against whole ones.

    Returns:
        What was compared with what, and the report.

    Raises:
        BundleError, ConfigError, ExportError, MissingExtraError: as `open_bundle`, `open_plan`, `compare_plan`.
    """
    bundle = open_bundle(path)
    reference = bundle_reference(bundle)
    if bundle.plan is None:
        try:
            kernels = NativeKernels(bundle)
        except BundleError:
            report = compare(OnnxRuntimeBackend(bundle.model_path), reference, "ONNX Runtime", TOLERANCE)
            return "ONNX Runtime, histories in pieces against whole ones (the bundle holds no plan)", report
        report = compare(kernels, reference, kernels.description, TOLERANCE)
        return f"{kernels.description}, against {reference.name} (the bundle holds no plan)", report
    report = compare_plan(bundle, open_plan(bundle), reference)
    return f"{title(bundle.plan.target)} on {report['gpu']} against {reference.name}", report


def _section(bundle: Bundle) -> PlanSection:
    section = bundle.plan
    if section is None:
        raise ConfigError(f"{bundle.path} holds no TensorRT plan: export it with --target tensorrt or tensorrt-rtx")
    return section
