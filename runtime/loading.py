"""Loads a bundle into an engine."""

from __future__ import annotations

import logging
from os import PathLike
from typing import TYPE_CHECKING

from recblr.errors import BundleError, ConfigError, MissingExtraError, RecblrError, shown
from recblr.runtime.arguments import check_flag
from recblr.runtime.backends.base import BACKENDS, BackendName
from recblr.runtime.backends.threads import check_threads
from recblr.runtime.batching.settings import Batching
from recblr.runtime.bundle.external_data import verify_external_data
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.engine import Engine
from recblr.runtime.gpu.cuda import current_gpu

if TYPE_CHECKING:
    from recblr.runtime.backends.onnxruntime import Device, OnnxRuntimeBackend
    from recblr.runtime.gpu.backend import TensorRTBackend

_log = logging.getLogger(__name__)

# From so many items on, the graph's own ranking is not used: of 256 rows, its scores alone would take 100 MB.
LARGE_CATALOGUE = 100_000

# Up to this width the library's kernels are at least as fast as ONNX Runtime with the same threads, but for a single
# long row with several, whose products only ONNX Runtime shares among them; beyond, ONNX Runtime is.
WIDEST_NATIVE_DIM = 128

_TENSORRT_WORKERS = 2  # one prepares its batch while the other's runs


def load(
    path: str | PathLike[str],
    threads: int | None = None,
    device: Device = "cpu",
    native_ops: bool | None = None,
    batching: Batching | None = None,
    backend: BackendName = "auto",
) -> Engine:
    """Verify a bundle and load it into what computes it fastest here.

    Args:
        path: the bundle's folder, or a file in it, such as its model.onnx.
        threads: for one run; None for one per CPU this process may use. Where the engine batches on the CPU, None is
            one: several batches at once use the CPUs better than several threads for one.
        device: "cpu", or "cuda" for the current GPU.
        native_ops: of ONNX Runtime, whether the native library computes the operations along the sequence, and not
            the file's ONNX functions; None where it can.
        batching: merge the requests of concurrent threads and tasks so; None to run each by itself. End it with
            `Engine.close`, or use the engine as a context manager.
        backend: what computes: "tensorrt" for the bundle's TensorRT plan, to which threads, device and native_ops do
            not apply; "native" for the library's own kernels, on the CPU; "onnxruntime" for the ONNX file. "auto"
            for the first of these that there is and that runs here, with a word in the log, or for ONNX Runtime where
            device or native_ops ask for it, or the model is wide. `Engine.description` says which it is.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, the library's kernels are asked for and cannot be
            used, or `batching` or `backend` has a value that it cannot have.
        MissingExtraError: ONNX Runtime, or the TensorRT asked for, is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {shown(backend)}: give one of {', '.join(BACKENDS)}")
    if native_ops is not None:
        check_flag(native_ops, "native_ops", ConfigError)
    bundle = open_bundle(path)
    tensorrt = _tensorrt_backend(bundle, backend)
    if tensorrt is not None:
        return Engine(bundle, tensorrt, batching=batching, workers=_TENSORRT_WORKERS, full_batches=True)
    if threads is not None:
        check_threads(threads)
    native = _native_engine(bundle, threads, device, native_ops, batching, backend)
    if native is not None:
        return native
    large = bundle.n_items >= LARGE_CATALOGUE and device == "cpu"
    run_threads = 1 if threads is None and batching is not None and device == "cpu" else threads
    runs = _onnxruntime_backend(bundle, run_threads, device, native_ops, not large)
    workers, full_batches = (0, large) if device == "cpu" else (1, True)
    return Engine(bundle, runs, threads=threads, batching=batching, workers=workers, full_batches=full_batches)


def _tensorrt_backend(bundle: Bundle, asked: BackendName) -> TensorRTBackend | None:
    """TensorRT on the bundle's plan, if it is asked for, or if it runs here and nothing else is asked for."""
    if asked in ("native", "onnxruntime") or (asked == "auto" and (bundle.plan is None or current_gpu() is None)):
        return None
    from recblr.runtime.gpu.backend import TensorRTBackend

    try:
        backend = TensorRTBackend(bundle)
    except RecblrError as error:
        if asked == "tensorrt":
            raise
        _log.warning("the bundle's TensorRT plan is not used: %s", error)
        return None
    _log.info("the bundle's TensorRT plan is used: %s", backend.description)
    return backend


def _native_engine(
    bundle: Bundle,
    threads: int | None,
    device: Device,
    native_ops: bool | None,
    batching: Batching | None,
    asked: BackendName,
) -> Engine | None:
    """An engine on the library's kernels, if they are asked for, or if nothing else is and they can compute it."""
    if asked == "onnxruntime" or (asked == "auto" and (device != "cpu" or native_ops is not None)):
        return None
    if device != "cpu" or native_ops is not None:
        reason = "it has no device and no native_ops to choose"
    elif asked == "auto" and bundle.manifest.dim > WIDEST_NATIVE_DIM:
        reason = f"the model is {bundle.manifest.dim} wide, for which it is faster"
    else:
        try:
            return Engine(bundle, threads=threads, batching=batching)
        except BundleError as error:
            reason = str(error)
    if asked == "native":
        raise ConfigError(f"backend is 'native', but {reason}")
    _log.info("ONNX Runtime computes: %s", reason)
    return None


def _onnxruntime_backend(
    bundle: Bundle, threads: int | None, device: Device, native_ops: bool | None, ranking: bool
) -> OnnxRuntimeBackend:
    try:
        # Takes a second: only where it is used.
        from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    verify_external_data(bundle.model_path, bundle.manifest.files.keys())
    return OnnxRuntimeBackend(bundle.model_path, threads, device, native_ops, ranking)
