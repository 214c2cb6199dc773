"""From a path to an engine that answers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from recblr.errors import ConfigError, MissingExtraError, RecblrError
from recblr.runtime.bundle import Bundle, open_bundle
from recblr.runtime.engine import Engine
from recblr.runtime.gpu import current_gpu

if TYPE_CHECKING:
    from recblr.runtime.onnxruntime_backend import Device
    from recblr.runtime.tensorrt_backend import TensorRTBackend

EngineName: TypeAlias = Literal["auto", "onnxruntime", "tensorrt"]

_log = logging.getLogger(__name__)


def load(
    path: str | Path,
    threads: int | None = None,
    device: Device = "cpu",
    native_ops: bool | None = None,
    engine: EngineName = "auto",
) -> Engine:
    """Verify a bundle and load it into ONNX Runtime, or, where it holds an engine for this GPU, into TensorRT.

    Args:
        path: the bundle's folder, or a file in it, such as its model.onnx.
        threads: for one request; None for one per CPU this process may use.
        device: "cpu", or "cuda" for the current GPU.
        native_ops: whether the native library computes the operations along the sequence, not the file's ONNX
            functions; None where it can. `Engine.description` tells.
        engine: "tensorrt" for the bundle's TensorRT engine, to which the three above do not apply; "onnxruntime" for
            its ONNX file; "auto" for the engine if there is one and it runs here, with a word in the log.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, `native_ops` is True and they are not there, or
            another `engine`.
        MissingExtraError: ONNX Runtime, or the TensorRT asked for, is not installed.
    """
    bundle = open_bundle(path)
    tensorrt = _tensorrt_backend(bundle, engine)
    if tensorrt is not None:
        return Engine(bundle, tensorrt, tensorrt.limits)
    try:
        from recblr.runtime.onnxruntime_backend import (
            OnnxRuntimeBackend,
        )  # takes a second: only where it is used
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    return Engine(bundle, OnnxRuntimeBackend(bundle.model_path, threads, device, native_ops))


def _tensorrt_backend(bundle: Bundle, engine: EngineName) -> TensorRTBackend | None:
    """The bundle's engine, if it is asked for, or if it runs here and nothing else is asked for."""
    if engine not in ("auto", "onnxruntime", "tensorrt"):
        raise ConfigError(f"engine is {engine!r}: give 'auto', 'onnxruntime' or 'tensorrt'")
    if engine == "onnxruntime" or (engine == "auto" and (bundle.engine is None or current_gpu() is None)):
        return None
    from recblr.runtime.tensorrt_backend import TensorRTBackend

    try:
        backend = TensorRTBackend(bundle)
    except RecblrError as error:
        if engine == "tensorrt":
            raise
        _log.warning("the bundle's TensorRT engine is not used, ONNX Runtime is: %s", error)
        return None
    _log.info("the bundle's engine is used: %s", backend.description)
    return backend
