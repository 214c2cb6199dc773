"""The backend of ONNX Runtime. Importing this module imports onnxruntime, so `recblr.runtime.load` does it late."""

from __future__ import annotations

import contextlib
import io
import logging
import mmap
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import onnxruntime

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BackendError, BundleError, ConfigError, short_reason
from recblr.plugins import PluginLibraryError, load_library
from recblr.runtime.backends.threads import check_threads, on_cpu
from recblr.runtime.bundle.external_data import external_files
from recblr.runtime.bundle.onnx_file import without_functions, without_ranking
from recblr.runtime.limits import Limits

Device: TypeAlias = Literal["cpu", "cuda"]
Ops: TypeAlias = Literal["native", "functions"]

_INPUTS = {
    "items": "tensor(int32)",
    "offsets": "tensor(int32)",
    "state_in": "tensor(float)",
    "exclude": "tensor(int32)",
}
_OUTPUTS = {"top_items": "tensor(int32)", "top_scores": "tensor(float)", "state_out": "tensor(float)"}
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_PROVIDERS: dict[str, list[str]] = {"cpu": [_CPU], "cuda": [_CUDA, _CPU]}
# The GPU build warns of missing GPUs, which are no concern of a CPU session; one that needs a GPU has an error of ours.
_ERRORS_ONLY, _FATAL_ONLY = 3, 4

_NO_CUDA = (
    "ONNX Runtime {version} cannot use a GPU here: it needs an NVIDIA GPU with its driver, and CUDA and cuDNN of the "
    "versions that onnxruntime-gpu was built for; install them, or choose the device 'cpu'"
)

_log = logging.getLogger(__name__)


class NativeOpsError(Exception):
    """The native library's operators cannot be used; the message says why."""


class OnnxRuntimeBackend:
    """A `recblr.runtime.Backend` of a bundle's ONNX file in ONNX Runtime.

    Attributes:
        ops: what computes the nodes `recblr::CausalConv1d` and `recblr::GatedScan`: "native" for the kernels of
            librecblr_plugins.so, "functions" for the local functions that the file has for them.
        device: "cpu" or "cuda".
        threads: how many one run takes.
        max_k, limits: see `recblr.runtime.Backend`.
    """

    ops: Ops
    device: Device
    threads: int
    max_k: int
    limits: Limits

    def __init__(
        self,
        model_path: Path,
        threads: int | None = None,
        device: Device = "cpu",
        native_ops: bool | None = None,
        ranking: bool = True,
    ) -> None:
        """Load a graph.

        Args:
            model_path: the bundle's ONNX file.
            threads: for one run; None for one per CPU this process may use.
            device: "cuda" for the current GPU.
            native_ops: False for the file's local functions; True for the native library's operators; None for
                the operators where they can be used, with a reason in the log where they cannot.
            ranking: False to leave out what ranks: `max_k` is 0, and neither memory nor time goes to it.

        Raises:
            ConfigError: `threads` below 1, another device, no GPU that ONNX Runtime can use, or `native_ops` is True
                and they cannot be used.
            BundleError: ONNX Runtime cannot load the file, or its inputs and outputs are others.
        """
        # Left to itself, ONNX Runtime counts and pins the machine's cores, not those this process may use.
        self.threads = check_threads(threads)
        if device not in _PROVIDERS:
            raise ConfigError(f"device is {device!r}: give 'cpu' or 'cuda'")
        self.device = device
        if device == "cuda":
            _check_cuda()
        self._ranks = ranking
        self._outputs = _OUTPUTS if ranking else {"state_out": _OUTPUTS["state_out"]}
        session = None if native_ops is False else self._native_session(model_path, required=native_ops is True)
        self.ops = "functions" if session is None else "native"
        self._session = self._session_of_functions(model_path) if session is None else session
        for expected, actual in (
            (_INPUTS, self._session.get_inputs()),
            (self._outputs, self._session.get_outputs()),
        ):
            found = {node.name: node.type for node in actual}
            if found != expected:
                raise BundleError(f"{model_path} has {found} where {expected} is needed: export the bundle again")
        if device == "cuda" and _CUDA not in self._session.get_providers():
            raise ConfigError(_NO_CUDA.format(version=onnxruntime.__version__))
        self.max_k = int(self._session.get_outputs()[0].shape[1]) if ranking else 0
        self.limits = Limits()

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        ops = "native ops" if self.ops == "native" else "the ops as ONNX functions"
        place = on_cpu(self.threads) if self.device == "cpu" else "CUDA"
        return f"ONNX Runtime {onnxruntime.__version__} on {place}, {ops}"

    def run(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        state_in: StatesArray,
        exclude: ExcludeArray,
        k: int | None = None,
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Run the graph; arguments and results are those of `recblr.runtime.Backend.run`. `k` None is `max_k`.

        Raises:
            BackendError: ONNX Runtime failed.
        """
        inputs = {"items": items, "offsets": offsets, "state_in": state_in, "exclude": exclude}
        try:
            *top, state_out = self._session.run(list(self._outputs), inputs)
        except Exception as error:  # ONNX Runtime's have no common base
            raise BackendError(f"ONNX Runtime failed ({short_reason(error)}): check memory and environment") from error
        top_items, top_scores = top or (
            np.empty((len(state_out), 0), np.int32),
            np.empty((len(state_out), 0), np.float32),
        )
        return top_items[:, :k], top_scores[:, :k], state_out

    def _native_session(self, model_path: Path, *, required: bool) -> onnxruntime.InferenceSession | None:
        """A session with the native library's operators; None, with a reason in the log, if they cannot be used."""
        try:
            library = library_with_ops(self.device)
        except NativeOpsError as error:
            if required:
                raise ConfigError(f"native_ops is True, but {error}") from error
            _log.info("ONNX Runtime runs the file's functions: %s", error)
            return None
        try:
            options = self._options(model_path)
            options.register_custom_ops_library(str(library))
            # Without the functions, nothing but the library's operators can serve the nodes.
            model = self._read(model_path, functions=False)
            return onnxruntime.InferenceSession(model, sess_options=options, providers=_PROVIDERS[self.device])
        except Exception as error:  # ONNX Runtime's have no common base
            reason = f"ONNX Runtime {onnxruntime.__version__} cannot use {library}: {short_reason(error)}"
            if required:
                raise ConfigError(f"native_ops is True, but {reason}") from error
            _log.warning("ONNX Runtime runs the file's functions: %s", reason)
            return None

    def _session_of_functions(self, model_path: Path) -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(
                str(model_path) if self._ranks else self._read(model_path, functions=True),
                sess_options=self._options(model_path),
                providers=_PROVIDERS[self.device],
            )
        except Exception as error:  # its exceptions have no common base
            reason = str(error).strip().splitlines()[0]
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {model_path} ({reason}): "
                "upgrade onnxruntime, or export the bundle again"
            ) from error

    def _read(self, model_path: Path, *, functions: bool) -> bytes:
        """The encoded model, without its ranking and its functions where they are not needed."""
        with model_path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            model = content[:] if self._ranks else without_ranking(content)
        return model if functions else without_functions(model)

    def _options(self, model_path: Path) -> onnxruntime.SessionOptions:
        severity = _ERRORS_ONLY if self.device == "cpu" else _FATAL_ONLY
        onnxruntime.set_default_logger_severity(severity)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = severity
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1  # the graph is a chain
        if external_files(model_path):
            use_external_data(options, model_path.parent, ranking=self._ranks)
        return options


def use_external_data(options: onnxruntime.SessionOptions, folder: Path, ranking: bool = True) -> None:
    """Let a session map weights that lie next to its model, without copies of them.

    Args:
        options: the session's options.
        folder: where the weights are, for a model that is given as bytes; ONNX Runtime 1.21 is the first to know it.
        ranking: whether the graph ranks; if not, the items' embedding is in no product, and products may be arranged.
    """
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
    if ranking:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False  # it would keep the memory of several rows of all items' scores


def _check_cuda() -> None:
    if _CUDA not in onnxruntime.get_available_providers():
        raise ConfigError(
            f"ONNX Runtime {onnxruntime.__version__} is a build for CPUs: pip install onnxruntime-gpu, or choose the "
            "device 'cpu'"
        )
    if hasattr(onnxruntime, "preload_dlls"):  # 1.21: CUDA's libraries from their Python packages
        with contextlib.redirect_stdout(io.StringIO()):  # where it prints what it did not find
            onnxruntime.preload_dlls()


def library_with_ops(device: Device) -> Path:
    """The path of the native library, which has operators for the device.

    Raises:
        NativeOpsError: the library is not there, or has no operators for the device.
    """
    try:
        library = load_library()
    except PluginLibraryError as error:
        raise NativeOpsError(str(error)) from error
    if not library.has_onnxruntime_ops:
        raise NativeOpsError(
            f"{library.path} was built without ONNX Runtime's headers: give their folder as ONNXRUNTIME_ROOT and "
            "reinstall recblr"
        )
    if device == "cuda" and not library.cuda_architectures:
        raise NativeOpsError(f"{library.path} was built without CUDA: install nvcc and reinstall recblr")
    return library.path
