"""Loads a bundle into an engine."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from recblr.errors import ConfigError, MissingExtraError, RecblrError
from recblr.plugins.cpus import usable_cpu_numbers, usable_cpus
from recblr.runtime.backends.base import BACKENDS, Backend, BackendName
from recblr.runtime.backends.catalogue import Catalogue, CatalogueBackend
from recblr.runtime.backends.native import NativeBackend, native_model
from recblr.runtime.batching.batcher import Batcher
from recblr.runtime.batching.settings import CPU_CALLERS_PER_WORKER, CPU_PREFERRED, Batching
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.engine import Engine
from recblr.runtime.gpu.cuda import current_gpu
from recblr.runtime.limits import Limits

if TYPE_CHECKING:
    from recblr.runtime.backends.onnxruntime import Device, OnnxRuntimeBackend
    from recblr.runtime.gpu.backend import TensorRTBackend

_log = logging.getLogger(__name__)

# From so many items on, the graph's own ranking is not used: of 256 rows, its scores alone would take 100 MB.
LARGE_CATALOGUE = 100_000

# Up to this width the native library's kernels are at least as fast as ONNX Runtime with the same threads, but for a
# single long row with several, whose products only ONNX Runtime shares among them; beyond, ONNX Runtime is.
WIDEST_NATIVE_DIM = 128

_MAX_WORKERS = 8  # beyond, Python is what they wait for
_TENSORRT_WORKERS = 2  # one prepares its batch while the other's runs


def load(
    path: str | Path,
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
            not apply; "native" for the native library's kernels, on the CPU; "onnxruntime" for the ONNX file. "auto"
            for the first of these that there is and that runs here, with a word in the log, or for ONNX Runtime where
            device or native_ops ask for it, or the model is wide. `Engine.description` says which it is.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, the native library is asked for and cannot be used, or
            `batching` or `backend` has a value that it cannot have.
        MissingExtraError: ONNX Runtime, or the TensorRT asked for, is not installed.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend is {backend!r}: give one of {', '.join(BACKENDS)}")
    bundle = open_bundle(path)
    tensorrt = _tensorrt_backend(bundle, backend)
    if tensorrt is not None:
        return Engine(
            bundle, tensorrt if batching is None else _batched(tensorrt, batching, _TENSORRT_WORKERS), tensorrt.limits
        )
    run_threads = 1 if threads is None and batching is not None and device == "cpu" else threads
    large = bundle.manifest.n_items >= LARGE_CATALOGUE and device == "cpu"
    runs: Backend = _native_backend(
        bundle, run_threads, device, native_ops, backend, ranks=not large
    ) or _onnxruntime_backend(bundle, run_threads, device, native_ops, not large)
    if large:
        runs = CatalogueBackend(runs, Catalogue.of_bundle(bundle, threads, indexed=True), _max_k(bundle))
    if batching is not None:
        workers = min(_MAX_WORKERS, max(1, usable_cpus() // (run_threads or 1))) if device == "cpu" else 1
        if device == "cpu" and not large:
            pinnable = run_threads == 1
            runs = _batched(runs, batching, workers, CPU_PREFERRED, CPU_CALLERS_PER_WORKER, pinnable=pinnable)
        else:
            runs = _batched(runs, batching, workers)
    return Engine(bundle, runs)


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


def _native_backend(
    bundle: Bundle, threads: int | None, device: Device, native_ops: bool | None, asked: BackendName, ranks: bool
) -> NativeBackend | None:
    """The native library, if it is asked for, or if nothing else is and it can compute this bundle."""
    if asked == "onnxruntime" or (asked == "auto" and (device != "cpu" or native_ops is not None)):
        return None
    try:
        if device != "cpu" or native_ops is not None:
            raise ValueError("it has no device and no native_ops to choose")
        if asked == "auto" and bundle.manifest.dim > WIDEST_NATIVE_DIM:
            raise ValueError(f"the model is {bundle.manifest.dim} wide, for which it is faster")
        return NativeBackend(native_model(bundle, ranks), _max_k(bundle), threads)
    except ValueError as error:
        if asked == "native":
            raise ConfigError(f"backend is 'native', but {error}") from error
        _log.info("ONNX Runtime computes: %s", error)
        return None


def _onnxruntime_backend(
    bundle: Bundle, threads: int | None, device: Device, native_ops: bool | None, ranking: bool
) -> OnnxRuntimeBackend:
    try:
        # Takes a second: only where it is used.
        from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
    except ImportError as error:
        raise MissingExtraError(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from error
    return OnnxRuntimeBackend(bundle.model_path, threads, device, native_ops, ranking)


def _max_k(bundle: Bundle) -> int:
    return min(bundle.manifest.max_k, bundle.manifest.n_items)


def _batched(
    backend: Backend,
    batching: Batching,
    default_workers: int,
    preferred: Limits | None = None,
    callers_per_worker: int = 0,
    pinnable: bool = False,
) -> Batcher:
    workers = default_workers if batching.workers is None else batching.workers
    pinned = batching.pin_workers
    if pinned is None:
        pinned = pinnable and hasattr(os, "sched_setaffinity") and workers == usable_cpus()
    cpus = _pinned_cpus(workers, pinnable) if pinned else None
    # Exclusions are limited as without batching: whole histories may be left out of a few dozen rows.
    limits = Limits(batching.max_batch_rows, batching.max_batch_tokens)
    return Batcher(
        backend,
        limits,
        max_delay=batching.max_delay_ms / 1e3,
        preferred=preferred,
        max_queued_rows=batching.max_queue,
        timeout=batching.timeout,
        workers=workers,
        callers=callers_per_worker * workers,
        cpus=cpus,
    )


def _pinned_cpus(workers: int, pinnable: bool) -> list[int]:
    """A CPU for each worker.

    Raises:
        ConfigError: runs take more than a thread of the CPU, or there are more workers than CPUs.
    """
    if not pinnable:
        raise ConfigError(
            "workers can be pinned only where each run takes one thread of the CPU: give threads=1, or no pin_workers; "
            "large catalogues are ranked by several"
        )
    cpus = usable_cpu_numbers()
    if workers > len(cpus):
        raise ConfigError(f"{workers} workers to pin on {len(cpus)} CPUs: give at most {len(cpus)}, or no pin_workers")
    return cpus[:workers]
