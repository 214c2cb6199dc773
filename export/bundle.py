"""From a checkpoint to a bundle, whole and checked, or nothing."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import recblr
from recblr.checkpoint import Checkpoint
from recblr.data import Targets
from recblr.errors import ConfigError, ExportError
from recblr.export.checks.parity import PyTorchReference, check_parity
from recblr.export.checks.precision_loss import CUTOFF
from recblr.export.onnx.functions import OPSET
from recblr.export.onnx.graph import build_graph
from recblr.export.onnx.graph_file import write_graph
from recblr.export.onnx.weights import weight_places
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.writer import run_plan, write_plan
from recblr.files import replacing_directory, write_text
from recblr.model import LAYER_NORM_EPSILON
from recblr.runtime.bundle.manifest import (
    INITIAL_STATE_FILE,
    ITEMS_FILE,
    MODEL_FILE,
    Manifest,
    file_entry,
    write_manifest,
)
from recblr.runtime.bundle.opening import is_bundle

DEFAULT_MAX_K = 100


def export_bundle(
    checkpoint: Checkpoint,
    path: str | Path,
    max_k: int = DEFAULT_MAX_K,
    plan_builder: PlanBuilder | None = None,
    targets: Targets | None = None,
) -> dict[str, Any]:
    """Write a bundle: the graph, checked and compared with PyTorch, the item vocabulary, the manifest, and a plan.

    Args:
        checkpoint: its model is put into evaluation mode.
        path: the folder to make; an existing bundle is replaced, and anything else that is there is left alone. On a
            failure it stays as it was.
        max_k: the most results per row; in a smaller catalogue, as many as it has items.
        plan_builder: builds the bundle's TensorRT plan; None for a bundle without one.
        targets: users on whom a plan's fp16 or bf16 is compared with fp32, in the model's indices; None for none.

    Returns:
        The manifest's fields, as in `recblr.runtime.Manifest`.

    Raises:
        ConfigError: `max_k` out of range, or too small for evaluation data.
        ExportError: the graph is not valid, or it or the plan differs from PyTorch beyond tolerance, or TensorRT
            cannot build the plan.
        MissingExtraError: a package that opening the plan on a GPU needs is not installed.
        BundleError: TensorRT refuses its own plan.
        OutputError: `path` holds something else, or cannot be written.
    """
    if targets is not None and max_k < CUTOFF:
        raise ConfigError(f"max-k is {max_k}: with evaluation data {CUTOFF} items are ranked, give at least {CUTOFF}")
    if plan_builder is not None and (obstacle := checkpoint.model.config.engine_obstacle):
        raise ExportError(obstacle)
    path = Path(path).resolve()  # of a link, the folder it points to is replaced
    model, vocabulary = checkpoint.model.eval(), checkpoint.vocabulary
    fingerprint = checkpoint.fingerprint()
    with replacing_directory(path, is_bundle) as folder:
        graph = build_graph(model, max_k, fingerprint)
        names = write_graph(folder, graph, model)
        del graph  # where it holds large weights, what follows needs the memory
        _check(folder / MODEL_FILE)
        weights = weight_places(folder, model)
        write_text(folder / ITEMS_FILE, json.dumps(vocabulary.to_json(), ensure_ascii=False))
        np.save(folder / INITIAL_STATE_FILE, model.initial_state().detach().numpy().astype(np.float32))
        max_k = min(max_k, model.config.n_items)
        names += [ITEMS_FILE, INITIAL_STATE_FILE]
        manifest = Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            fingerprint=fingerprint,
            model={**model.config.to_dict(), "norm_epsilon": LAYER_NORM_EPSILON},
            precision="fp32",
            state_size=model.config.state_size,
            n_items=model.config.n_items,
            max_k=max_k,
            weights=weights,
            onnx={"opset": OPSET},
            versions={
                "recblr": recblr.__version__,
                "torch": torch.__version__,
                "onnx": onnx.__version__,
                "onnxscript": version("onnxscript"),
                "onnxruntime": onnxruntime.__version__,
            },
            files={name: file_entry(folder / name) for name in names},
            parity={},
            metrics=checkpoint.metrics,
            data=checkpoint.data,
        )
        write_manifest(folder, manifest)  # for the checks, which open the bundle
        manifest = dataclasses.replace(manifest, parity=check_parity(model, folder / MODEL_FILE, max_k, folder))
        write_manifest(folder, manifest)
        if plan_builder is not None:
            section = write_plan(folder, max_k, plan_builder)
            files = {name: file_entry(folder / name) for name in (section.file, section.plugin_library)}
            manifest = dataclasses.replace(manifest, files={**manifest.files, **files}, plan=section.to_dict())
            write_manifest(folder, manifest)
            section = run_plan(folder, section, PyTorchReference(model, max_k), targets)
            manifest = dataclasses.replace(manifest, plan=section.to_dict())
            write_manifest(folder, manifest)
    return dict(vars(manifest))


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"the exported graph is not valid ONNX ({reason}): try another version of torch") from error
