"""Comparison of a bundle's ONNX file, run in all ways that the runtime has on a CPU, with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recblr.array_types import ScoresArray, StatesArray
from recblr.errors import BundleError, ConfigError, ExportError
from recblr.export.checks.comparison import TOLERANCE, Batch, compare
from recblr.export.checks.kernels import NativeKernels
from recblr.export.onnx.graph import InferenceModel
from recblr.model import RecBLR
from recblr.runtime.backends.base import Backend
from recblr.runtime.backends.onnxruntime import NativeOpsError, OnnxRuntimeBackend, library_with_ops
from recblr.runtime.bundle.opening import open_bundle

_WAYS = ("functions", "native", "kernels")


class PyTorchReference:
    """A model as the `recblr.export.checks.comparison.Reference` of what was exported from it."""

    name = "PyTorch"

    def __init__(self, model: RecBLR, max_k: int) -> None:
        """Take a model on the CPU; it is put into evaluation mode.

        Args:
            max_k: as it is exported.
        """
        self.n_items = model.config.n_items
        k = min(max_k, self.n_items)
        self.initial_state = model.initial_state().detach().numpy()
        self._inference = InferenceModel(model, k)

    @torch.inference_mode()
    def answer(self, batch: Batch) -> tuple[ScoresArray, StatesArray]:
        """Every item's score float32 [B, V+1], -inf for item 0 and what is excluded; the new states float32 [B, S]."""
        items, offsets, state_in, exclude = map(torch.from_numpy, batch)
        queries, states = self._inference.model.query(items, offsets, state_in)
        return self._inference.rankable(queries, exclude).numpy(), states.numpy()


def check_parity(model: RecBLR, onnx_path: Path, max_k: int, bundle: Path | None = None) -> dict[str, Any]:
    """Compare each way to run a bundle on a CPU with PyTorch, on random histories.

    ONNX Runtime is checked with the file's local functions and, where the native library has operators for it, with
    those; the core's own kernels in a whole bundle.

    Args:
        model: on the CPU; it is put into evaluation mode.
        onnx_path: its exported graph.
        max_k: as it was exported.
        bundle: its folder, complete with a manifest; None to leave the kernels out.

    Returns:
        What `recblr.export.checks.comparison.compare` returns, the worst of all ways, with the cases of each: "ops":
        {"functions", "native", or "kernels": {case: ...}}.

    Raises:
        ExportError: beyond the tolerance, or ONNX Runtime cannot run the graph.
    """
    reference = PyTorchReference(model, max_k)
    reports: dict[str, dict[str, Any]] = {}
    try:
        for way in _WAYS:  # one after the other, as each takes memory
            backend = _open(way, onnx_path, bundle)
            if backend is not None:
                reports[way] = compare(backend, reference, backend.description, TOLERANCE)
            del backend
    except ExportError as error:
        raise ExportError(
            f"{error}; no bundle was written: check that the weights are finite, or try other versions of torch and "
            "onnxruntime"
        ) from error
    return {
        "tolerance": TOLERANCE,
        "max_score_difference": max(report["max_score_difference"] for report in reports.values()),
        "max_state_difference": max(report["max_state_difference"] for report in reports.values()),
        "top_k_agreement": min(report["top_k_agreement"] for report in reports.values()),
        "ops": {ops: report["cases"] for ops, report in reports.items()},
    }


def _open(way: str, onnx_path: Path, bundle: Path | None) -> Backend | None:
    """The backend that runs the bundle in this way; None if this installation has none, or nobody asks for it."""
    try:
        if way == "kernels":
            return None if bundle is None else NativeKernels(open_bundle(bundle))
        if way == "native":
            library_with_ops("cpu")
        return OnnxRuntimeBackend(onnx_path, native_ops=way == "native")
    except NativeOpsError:
        return None
    except (BundleError, ConfigError) as error:
        raise ExportError(f"the exported graph cannot be loaded: {error}") from error
