"""From a path to an engine that answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from recblr.errors import ConfigError, MissingExtraError, RecblrError
from recblr.runtime.backend import Backend, Limits
from recblr.runtime.batcher import BATCH_LIMITS, Batcher
from recblr.runtime.bundle import Bundle, open_bundle
from recblr.runtime.catalogue import Catalogue
from recblr.runtime.catalogue_backend import CatalogueBackend
from recblr.runtime.engine import Engine
from recblr.runtime.gpu import current_gpu
from recblr.runtime.native_backend import NativeBackend, native_model

if TYPE_CHECKING:
    from recblr.plugins.model import NativeModel
    from recblr.runtime.onnxruntime_backend import Device
    from recblr.runtime.tensorrt_backend import TensorRTBackend

EngineName: TypeAlias = Literal["auto", "onnxruntime", "tensorrt"]

_log = logging.getLogger(__name__)

# From so many items on, the graph's own ranking is not used: of 256 rows, its scores alone would take 100 MB.
LARGE_CATALOGUE = 100_000

_MAX_WORKERS = 8  # beyond, Python is what they wait for
_TENSORRT_WORKERS = 2  # one prepares its batch while the other's runs


@dataclass(frozen=True)
class Batching:
    """How an engine merges the requests of concurrent callers; see `recblr.runtime.Batcher`.

    Attributes:
        max_batch_rows: of one run.
        max_batch_tokens: items of one run; a longer row is fed in pieces.
        max_delay_ms: milliseconds that a batch that is not full waits for more; a lone request waits as long.
        max_queue: rows that may wait; a request beyond is refused.
        timeout: seconds that a request may wait for its run; None for no bound.
        workers: batches that run at once; None for as many as there are CPUs for their threads, at most 8.
    """

    max_batch_rows: int = BATCH_LIMITS.rows
    max_batch_tokens: int = BATCH_LIMITS.tokens
    max_delay_ms: float = 0.0
    max_queue: int = 4096
    timeout: float | None = None
    workers: int | None = None


def load(
    path: str | Path,
    threads: int | None = None,
    device: Device = "cpu",
    native_ops: bool | None = None,
    batching: Batching | None = None,
    engine: EngineName = "auto",
) -> Engine:
    """Verify a bundle and load it into ONNX Runtime, or, where it holds an engine for this GPU, into TensorRT.

    Args:
        path: the bundle's folder, or a file in it, such as its model.onnx.
        threads: for one run; None for one per CPU this process may use. Where the engine batches on the CPU, None is
            one: several batches at once use the CPUs better than several threads for one.
        device: "cpu", or "cuda" for the current GPU.
        native_ops: whether the native library computes the operations along the sequence, not the file's ONNX
            functions, and rows of few items and rankings by itself; None where it can. `Engine.description` tells.
        batching: merge the requests of concurrent threads and tasks so; None to run each by itself. End it with
            `Engine.close`, or use the engine as a context manager.
        engine: "tensorrt" for the bundle's TensorRT engine, to which the three above do not apply; "onnxruntime" for
            its ONNX file; "auto" for the engine if there is one and it runs here, with a word in the log.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, `native_ops` is True and they are not there, or
            `batching` or `engine` has a value that it cannot have.
        MissingExtraError: ONNX Runtime, or the TensorRT asked for, is not installed.
    """
    bundle = open_bundle(path)
    tensorrt = _tensorrt_backend(bundle, engine)
    if tensorrt is not None:
        backend: Backend = tensorrt if batching is None else _batched(tensorrt, batching, _TENSORRT_WORKERS)
        return Engine(bundle, backend, tensorrt.limits)
    try:
        # Takes a second: only where it is used.
        from recblr.runtime.onnxruntime_backend import OnnxRuntimeBackend, usable_cpus
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    manifest = bundle.manifest
    run_threads = 1 if threads is None and batching is not None and device == "cpu" else threads
    large = manifest.n_items >= LARGE_CATALOGUE and device == "cpu"
    model = _native_model(bundle, not large) if device == "cpu" and native_ops is not False else None
    ranking = not large and model is None
    graph = OnnxRuntimeBackend(bundle.model_path, run_threads, device, native_ops, ranking)
    max_k = min(manifest.max_k, manifest.n_items)
    backend = graph if model is None else NativeBackend(graph, model, max_k, graph.threads)
    if large:
        catalogue = Catalogue.of_bundle(bundle, threads)
        backend = CatalogueBackend(backend, catalogue, max_k)
    if batching is not None:
        workers = min(_MAX_WORKERS, max(1, usable_cpus() // (run_threads or 1))) if device == "cpu" else 1
        backend = _batched(backend, batching, workers)
    return Engine(bundle, backend)


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


def _native_model(bundle: Bundle, ranks: bool) -> NativeModel | None:
    """The model for the native library; None, with a reason in the log, where that cannot be."""
    try:
        return native_model(bundle, ranks)
    except ValueError as error:
        _log.info("steps are computed by the graph: %s", error)
        return None


def _batched(backend: Backend, batching: Batching, workers: int) -> Batcher:
    # Exclusions are limited as without batching: whole histories may be left out of a few dozen rows.
    limits = Limits(batching.max_batch_rows, batching.max_batch_tokens)
    return Batcher(
        backend,
        limits,
        max_delay=batching.max_delay_ms / 1e3,
        max_queued_rows=batching.max_queue,
        timeout=batching.timeout,
        workers=workers if batching.workers is None else batching.workers,
    )
