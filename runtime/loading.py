"""From a path to an engine that answers."""

from __future__ import annotations

from pathlib import Path

from recblr.errors import MissingExtraError
from recblr.runtime.bundle import open_bundle
from recblr.runtime.engine import Engine


def load(path: str | Path, threads: int | None = None) -> Engine:
    """Verify a bundle and load it into ONNX Runtime, on the CPU.

    Args:
        path: the bundle's folder, or a file in it, such as its model.onnx.
        threads: for one request; None for one per CPU this process may use.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1.
        MissingExtraError: ONNX Runtime is not installed.
    """
    bundle = open_bundle(path)
    try:
        from recblr.runtime.onnxruntime_backend import (
            OnnxRuntimeBackend,
        )  # takes a second: only where it is used
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    return Engine(bundle, OnnxRuntimeBackend(bundle.model_path, threads))
