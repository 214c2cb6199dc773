"""Writes a bundle: graph, vocabulary, initial state, manifest; checked before it takes its place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import torch

import recblr
from recblr.checkpoint import Checkpoint
from recblr.errors import ExportError
from recblr.export.functions import OPSET
from recblr.export.graph import build_graph
from recblr.export.parity import check_parity
from recblr.files import replacing_directory, write_json
from recblr.runtime.bundle import (
    INITIAL_STATE_FILE,
    ITEMS_FILE,
    MODEL_FILE,
    Manifest,
    file_entry,
    is_bundle,
    write_manifest,
)

DEFAULT_MAX_K = 100


def export_bundle(checkpoint: Checkpoint, path: Path, max_k: int = DEFAULT_MAX_K) -> Manifest:
    """Export a model to a bundle, and check that it computes what the model computes.

    Args:
        checkpoint: the model and its vocabulary.
        path: the folder to make; a bundle that is there is replaced, anything else refused.
        max_k: the most results per row; a smaller catalogue lowers it.

    Raises:
        ExportError: `max_k` below 1, or a graph that is not valid or not equal to the model. No bundle is left.
        OutputError: the folder cannot be written, or holds something else.
    """
    if max_k < 1:
        raise ExportError(f"max k is {max_k}: give at least 1")
    model = checkpoint.model.cpu().eval()
    config = model.config
    max_k = min(max_k, config.n_items)
    fingerprint = checkpoint.fingerprint()
    with replacing_directory(path, may_replace=is_bundle) as folder:
        graph = build_graph(model, max_k, {"recblr.fingerprint": fingerprint, "recblr.version": recblr.__version__})
        _save(graph, folder / MODEL_FILE)
        write_json(folder / ITEMS_FILE, checkpoint.vocabulary.to_json())
        np.save(folder / INITIAL_STATE_FILE, model.initial_state().detach().numpy())
        manifest = Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            fingerprint=fingerprint,
            model=config.to_dict(),
            precision="fp32",
            state_size=config.state_size,
            n_items=config.n_items,
            max_k=max_k,
            onnx={"opset": OPSET},
            versions={
                "recblr": recblr.__version__,
                "torch": str(torch.__version__),
                "onnx": onnx.__version__,
                "model": checkpoint.versions,
            },
            files={name: file_entry(folder / name) for name in (MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE)},
            parity=check_parity(model, folder / MODEL_FILE, max_k),
            metrics=checkpoint.metrics,
            data=checkpoint.data,
        )
        write_manifest(folder, manifest)
    return manifest


def _save(graph: onnx.ModelProto, path: Path) -> None:
    """Write the graph and check the file.

    Raises:
        ExportError: too large for one file, or not valid ONNX.
    """
    try:
        onnx.save(graph, path)
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exported graph is not valid ONNX ({str(error).splitlines()[0]}): report this"
        ) from error
    except ValueError as error:  # protobuf's limit
        raise ExportError(
            f"the model does not fit into one ONNX file of 2 GB ({error}): use a smaller --dim, or fewer items"
        ) from error
