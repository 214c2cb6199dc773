"""A bundle's TensorRT engine on the current GPU, one request at a time.

Importing this module needs `recblr.runtime.tensorrt_library.load_tensorrt` to have been called, and cuda-bindings.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from cuda.bindings import runtime as cuda

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BundleError, ConfigError, RequestError
from recblr.runtime.bundle import Bundle
from recblr.runtime.engine_section import EngineSection
from recblr.runtime.tensorrt_common import MessageLog, register_plugins
from recblr.runtime.tensorrt_library import tensorrt_in_use, title

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()


class TensorRTBackend:
    """A `recblr.runtime.Backend`: one execution context, and buffers for the largest request of the profile."""

    def __init__(self, bundle: Bundle) -> None:
        """Open the bundle's engine.

        Args:
            bundle: with an engine, of the TensorRT that was loaded.

        Raises:
            BundleError: no engine, one of another version or for another GPU, or TensorRT refuses it.
            ConfigError: no GPU, or not enough of its memory.
        """
        section = bundle.engine
        if section is None:
            raise BundleError(f"{bundle.path} holds no TensorRT engine: export it with --target tensorrt")
        check_version(section, str(trt.__version__))
        self.limits = section.profile.limits
        self._log = MessageLog()
        register_plugins(bundle.path / section.plugin_library, self._log)
        self._stream = _check(cuda.cudaStreamCreate())
        runtime = trt.Runtime(self._log)
        runtime.engine_host_code_allowed = section.plugin_embedded
        engine = runtime.deserialize_cuda_engine((bundle.path / section.file).read_bytes())
        if engine is None:
            raise self._refused(section)
        context = engine.create_execution_context()
        if context is None:
            raise ConfigError(
                f"the GPU's memory is too small for the engine ({self._log.reason()}): free some, or export with "
                "smaller --max-rows, --max-tokens or --max-exclusions"
            )
        self._runtime, self._engine, self._context = runtime, engine, context
        self._lock = threading.Lock()
        rows, size = self.limits.rows, bundle.manifest.state_size
        self._buffers = {
            name: _Buffer(name, np.dtype(dtype), n, context)
            for name, dtype, n in (
                ("items", np.int32, self.limits.tokens),
                ("offsets", np.int32, rows + 1),
                ("state_in", np.float32, rows * size),
                ("exclude", np.int32, 2 * self.limits.exclusions),
                ("top_items", np.int32, rows * section.max_k),
                ("top_scores", np.float32, rows * section.max_k),
                ("state_out", np.float32, rows * size),
            )
        }
        self._max_k = section.max_k

    @property
    def memory_bytes(self) -> int:
        """Of the GPU, for the activations of the largest profile."""
        return int(self._engine.device_memory_size_v2)

    def inspect(self) -> dict[str, Any]:
        """What TensorRT's engine inspector says: the number of layers, and the types that their tensors have."""
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        layers = json.loads(text).get("Layers", [])
        types: set[str] = set()
        for layer in layers:
            if isinstance(layer, dict):  # else a name, of an engine that was built without details
                for tensor in (*layer.get("Inputs", []), *layer.get("Outputs", [])):
                    types.add(str(tensor.get("Format/Datatype", "unknown")))
        return {"layers": len(layers), "types": sorted(types)}

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.Backend.run`.

        Raises:
            RequestError: more than the engine's profile allows.
            ConfigError: the GPU failed.
        """
        check_sizes(self.limits.rows, len(state_in), "rows", "--max-rows")
        check_sizes(self.limits.tokens, len(items), "tokens", "--max-tokens")
        check_sizes(self.limits.exclusions, len(exclude), "exclusions", "--max-exclusions")
        inputs = {"items": items, "offsets": offsets, "state_in": state_in, "exclude": exclude}
        outputs = {
            "top_items": np.empty((len(state_in), self._max_k), np.int32),
            "top_scores": np.empty((len(state_in), self._max_k), np.float32),
            "state_out": np.empty_like(state_in),
        }
        with self._lock:
            for name, values in inputs.items():
                self._context.set_input_shape(name, values.shape)
                self._buffers[name].upload(np.ascontiguousarray(values), self._stream)
            if not self._context.execute_async_v3(int(self._stream)):
                raise ConfigError(f"TensorRT could not run the engine ({self._log.reason()})")
            for name, values in outputs.items():
                self._buffers[name].download(values, self._stream)
            _check(cuda.cudaStreamSynchronize(self._stream))
        return outputs["top_items"], outputs["top_scores"], outputs["state_out"]

    def _refused(self, section: EngineSection) -> BundleError:
        built_for = ", ".join(section.compute_capabilities) or section.gpu or "no GPU in particular"
        return BundleError(
            f"{title(section.target)} cannot open the engine here ({self._log.reason()}); it was built for "
            f"{built_for}: export it again on this machine"
        )


class _Buffer:
    """Memory of the GPU for one of the engine's tensors; freed with the process."""

    def __init__(self, name: str, dtype: np.dtype[Any], n: int, context: trt.IExecutionContext) -> None:
        # TensorRT wants an address even where there is nothing.
        error, self._address = cuda.cudaMalloc(max(n, 1) * dtype.itemsize)
        if error == cuda.cudaError_t.cudaErrorMemoryAllocation:
            raise ConfigError(
                f"the GPU's memory is too small for {n:,} numbers of {name}: free some, or export with smaller maxima"
            )
        _check((error,))
        context.set_tensor_address(name, int(self._address))

    def upload(self, values: np.ndarray, stream: Any) -> None:
        kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        _check(cuda.cudaMemcpyAsync(self._address, values.ctypes.data, values.nbytes, kind, stream))

    def download(self, values: np.ndarray, stream: Any) -> None:
        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _check(cuda.cudaMemcpyAsync(values.ctypes.data, self._address, values.nbytes, kind, stream))


def check_version(section: EngineSection, installed: str) -> None:
    """Engines are opened by the version that built them.

    Raises:
        BundleError: another is installed.
    """
    if section.version != installed:
        raise BundleError(
            f"the engine was built by {title(section.target)} {section.version}, and {installed} is installed: "
            "install that version, or export the bundle again"
        )


def check_sizes(limit: int, size: int, what: str, option: str) -> None:
    """A request must fit the profile.

    Raises:
        RequestError: it does not.
    """
    if size > limit:
        raise RequestError(
            f"the request has {size:,} {what}, the engine takes {limit:,}: send fewer at once, or export with "
            f"{option} {size}"
        )


def _check(result: tuple[Any, ...]) -> Any:
    """The value of a call to CUDA.

    Raises:
        ConfigError: it failed.
    """
    error, *values = result
    if error != cuda.cudaError_t.cudaSuccess:
        raise ConfigError(f"CUDA fails with {error.name}: check the GPU and its driver with nvidia-smi")
    return values[0] if values else None
