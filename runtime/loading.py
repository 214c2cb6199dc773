"""From a path to an engine that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recblr.errors import MissingExtraError
from recblr.runtime.bundle import open_bundle
from recblr.runtime.engine import Engine

if TYPE_CHECKING:
    from recblr.runtime.onnxruntime_backend import Device


def load(
    path: str | Path, threads: int | None = None, device: Device = "cpu", native_ops: bool | None = None
) -> Engine:
    """Verify a bundle and load it into ONNX Runtime.

    Args:
        path: the bundle's folder, or a file in it, such as its model.onnx.
        threads: for one request; None for one per CPU this process may use.
        device: "cpu", or "cuda" for the current GPU.
        native_ops: whether the native library computes the operations along the sequence, not the file's ONNX
            functions; None where it can. `Engine.description` tells.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, or `native_ops` is True and they are not there.
        MissingExtraError: ONNX Runtime is not installed.
    """
    bundle = open_bundle(path)
    try:
        from recblr.runtime.onnxruntime_backend import (
            OnnxRuntimeBackend,
        )  # takes a second: only where it is used
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    return Engine(bundle, OnnxRuntimeBackend(bundle.model_path, threads, device, native_ops))
