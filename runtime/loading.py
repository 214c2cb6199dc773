"""From a path to an engine that answers."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recblr.errors import ConfigError, MissingExtraError, RecblrError
from recblr.plugins.cpus import usable_cpu_numbers, usable_cpus
from recblr.runtime.backends.base import ENGINES, Backend, EngineName, Limits
from recblr.runtime.backends.catalogue import Catalogue
from recblr.runtime.backends.catalogue_backend import CatalogueBackend
from recblr.runtime.backends.native import NativeBackend, native_model
from recblr.runtime.batching.batcher import BATCH_LIMITS, CPU_CALLERS_PER_WORKER, CPU_PREFERRED, Batcher
from recblr.runtime.bundle.opening import Bundle, open_bundle
from recblr.runtime.engine import Engine
from recblr.runtime.gpu.device import current_gpu

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


@dataclass(frozen=True)
class Batching:
    """How an engine merges the requests of concurrent callers; see `recblr.runtime.Batcher`.

    Attributes:
        max_batch_rows: of one run.
        max_batch_tokens: items of one run; a longer row is fed in pieces.
        max_delay_ms: milliseconds that a batch waits for more, if they would make it cheaper per user: on the CPU a
            history of a hundred items is as cheap alone, and waits for none; a lone step waits as long.
        max_queue: rows that may wait; a request beyond is refused.
        timeout: seconds that a request may wait for its run; None for no bound.
        workers: batches that run at once; None for as many as there are CPUs for their threads, at most 8. On the CPU,
            8 callers' threads per worker may besides compute what they ask for themselves, see `Batcher`.
        pin_workers: keep each worker on a CPU of its own, which needs runs that take one thread of the CPU. Otherwise
            Linux may wake one behind another, and have it wait there, with the next CPU idle. None does so where there
            is a worker for every CPU that this process may use.
    """

    max_batch_rows: int = BATCH_LIMITS.rows
    max_batch_tokens: int = BATCH_LIMITS.tokens
    max_delay_ms: float = 0.0
    max_queue: int = 4096
    timeout: float | None = None
    workers: int | None = None
    pin_workers: bool | None = None


def load(
    path: str | Path,
    threads: int | None = None,
    device: Device = "cpu",
    native_ops: bool | None = None,
    batching: Batching | None = None,
    engine: EngineName = "auto",
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
        engine: "tensorrt" for the bundle's TensorRT engine, to which threads, device and native_ops do not apply;
            "native" for the native library's kernels, on the CPU; "onnxruntime" for the ONNX file. "auto" for the
            first of these that there is and that runs here, with a word in the log, or for ONNX Runtime where device
            or native_ops ask for it, or the model is wide. `Engine.description` tells.

    Raises:
        BundleError: no bundle, or an incomplete or altered one, or one that ONNX Runtime cannot load.
        ConfigError: `threads` below 1, no GPU that can be used, the native library is asked for and cannot be used, or
            `batching` or `engine` has a value that it cannot have.
        MissingExtraError: ONNX Runtime, or the TensorRT asked for, is not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}: give one of {', '.join(ENGINES)}")
    bundle = open_bundle(path)
    tensorrt = _tensorrt_backend(bundle, engine)
    if tensorrt is not None:
        backend: Backend = tensorrt if batching is None else _batched(tensorrt, batching, _TENSORRT_WORKERS)
        return Engine(bundle, backend, tensorrt.limits)
    run_threads = 1 if threads is None and batching is not None and device == "cpu" else threads
    large = bundle.manifest.n_items >= LARGE_CATALOGUE and device == "cpu"
    native = _native_backend(bundle, run_threads, device, native_ops, engine, ranks=not large)
    backend = _onnxruntime_backend(bundle, run_threads, device, native_ops, not large) if native is None else native
    if large:
        backend = CatalogueBackend(backend, Catalogue.of_bundle(bundle, threads, indexed=True), _max_k(bundle))
    if batching is not None:
        workers = min(_MAX_WORKERS, max(1, usable_cpus() // (run_threads or 1))) if device == "cpu" else 1
        if device == "cpu" and not large:
            pinnable = run_threads == 1
            backend = _batched(backend, batching, workers, CPU_PREFERRED, CPU_CALLERS_PER_WORKER, pinnable=pinnable)
        else:
            backend = _batched(backend, batching, workers)
    return Engine(bundle, backend)


def _tensorrt_backend(bundle: Bundle, engine: EngineName) -> TensorRTBackend | None:
    """The bundle's engine, if it is asked for, or if it runs here and nothing else is asked for."""
    if engine in ("native", "onnxruntime") or (engine == "auto" and (bundle.engine is None or current_gpu() is None)):
        return None
    from recblr.runtime.gpu.backend import TensorRTBackend

    try:
        backend = TensorRTBackend(bundle)
    except RecblrError as error:
        if engine == "tensorrt":
            raise
        _log.warning("the bundle's TensorRT engine is not used: %s", error)
        return None
    _log.info("the bundle's engine is used: %s", backend.description)
    return backend


def _native_backend(
    bundle: Bundle, threads: int | None, device: Device, native_ops: bool | None, engine: EngineName, ranks: bool
) -> NativeBackend | None:
    """The native library, if it is asked for, or if nothing else is and it can compute this bundle."""
    if engine == "onnxruntime" or (engine == "auto" and (device != "cpu" or native_ops is not None)):
        return None
    try:
        if device != "cpu" or native_ops is not None:
            raise ValueError("it has no device and no native_ops to choose")
        if engine == "auto" and bundle.manifest.dim > WIDEST_NATIVE_DIM:
            raise ValueError(f"the model is {bundle.manifest.dim} wide, for which it is faster")
        return NativeBackend(native_model(bundle, ranks), _max_k(bundle), threads)
    except ValueError as error:
        if engine == "native":
            raise ConfigError(f"engine is 'native', but {error}") from error
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
