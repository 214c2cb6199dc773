"""From a bundle's graph to a plan, with TensorRT or TensorRT-RTX.

Importing this module needs TensorRT to be loaded, as a `PlanBuilder` does. Flags are named, never numbered: their
numbers differ between versions.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from recblr.errors import ConfigError, ExportError, short_reason
from recblr.export.onnx.precision import tensorrt_graph
from recblr.export.tensorrt.network_proof import prove_precision
from recblr.export.tensorrt.settings import PlanSettings, compute_capability_kinds
from recblr.export.tensorrt.tensors import TensorSpec, check_tensor_sizes, input_shapes
from recblr.files import check_writable, replacing
from recblr.runtime.bundle.plan_section import Profile
from recblr.runtime.gpu.trt_module import tensorrt_in_use, title
from recblr.runtime.gpu.trt_plugins import MessageLog

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()

# Called with a phase of the build, the phase that it is part of or "", the number of its steps, and how many of them
# are done; all of them when it ends.
Progress = Callable[[str, str, int, int], None]

_NUMPY_TYPES = {"INT32": "int32", "FLOAT": "float32"}  # `prove_precision` allows no others at a network's ends

_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")
_WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")
_UNKNOWN_OPERATION = "Plugin not found"
_NOT_FOR_GPU = re.compile(r"Cannot compile .*?(?=\. In |$)", re.MULTILINE)
_NO_DRIVER = re.compile(r"cudaError(?:_t)? (?:35|100)\b|CUDA driver version is insufficient|no CUDA-capable device")


@dataclass(frozen=True)
class BuiltPlan:
    """A plan, and what TensorRT reports about it.

    Attributes:
        plan: its bytes.
        version: of TensorRT.
        seconds: that the build took.
        memory_bytes: of the GPU, for activations of the largest profile, by the builder's account, if it gave one.
        weight_bytes: the same for weights.
        proof: layers and tensors by type, as `prove_precision` counts them.
        tensors: the network's inputs and outputs, which are the plan's.
    """

    plan: bytes
    version: str
    seconds: float
    memory_bytes: int | None
    weight_bytes: int | None
    proof: dict[str, Any]
    tensors: tuple[TensorSpec, ...]


def build_plan(
    model: onnx.ModelProto,
    settings: PlanSettings,
    library: Path,
    progress: Progress | None = None,
    profile: Profile | None = None,
    model_path: Path | None = None,
) -> BuiltPlan:
    """Parse the graph in the precision asked for, prove its types, and build.

    Args:
        model: the fp32 graph of a bundle, or its variant for Triton.
        settings: of the target that was loaded.
        library: the plugin library, which is registered already.
        progress: called while the plan is built, from any thread.
        profile: sizes that the plan takes; None for those of `settings`.
        model_path: the bundle's ONNX file, if `model` names another file of its folder for its embedding.

    Raises:
        ExportError: TensorRT cannot parse or build; the message gives TensorRT's reason, if it gave one.
        ConfigError: a setting that this version of TensorRT does not have, or a timing cache that cannot be read or
            is another's.
        OutputError: the timing cache cannot be written.
    """
    if settings.timing_cache is not None:
        check_writable(settings.timing_cache)
    if profile is None:
        profile = settings.profile
    check_tensor_sizes(model, profile)
    log = MessageLog()
    started = time.perf_counter()
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed())
    parser = _parse(tensorrt_graph(model, settings.precision), model_path, network, log)
    proof = prove_precision(network, settings.precision, [v.name for v in (*model.graph.input, *model.graph.output)])
    tensors = _tensors(network)
    config = builder.create_builder_config()
    monitor = _ProgressMonitor(progress)
    config.progress_monitor = monitor
    _configure(config, settings, library)
    _add_profile(builder, config, input_shapes(model, profile))
    log.clear()
    plan = builder.build_serialized_network(network, config)
    del parser  # holds weights that the network reads until it is built
    monitor.raise_interruption()
    if plan is None:
        raise ExportError(_why_not_built(log, settings))
    if settings.timing_cache is not None:
        _write_timing_cache(config, settings.timing_cache)
    return BuiltPlan(
        plan=bytes(plan),
        version=str(trt.__version__),
        seconds=time.perf_counter() - started,
        memory_bytes=_logged(_ACTIVATIONS, log),
        weight_bytes=_logged(_WEIGHTS, log),
        proof=proof,
        tensors=tensors,
    )


def _strongly_typed() -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)  # where the flag is gone, there are no other networks


def _parse(
    graph: onnx.ModelProto, model_path: Path | None, network: trt.INetworkDefinition, log: MessageLog
) -> trt.OnnxParser:
    parser = trt.OnnxParser(network, log)
    where = {} if model_path is None else {"path": str(model_path)}
    parsed: bool = parser.parse(graph.SerializeToString(), **where)
    if not parsed:
        raise ExportError(f"TensorRT {trt.__version__} cannot parse the graph{_why_not_parsed(parser, log)}")
    return parser


def _why_not_parsed(parser: trt.OnnxParser, log: MessageLog) -> str:
    if not parser.num_errors:
        return f" ({log.reason()}): try another version"
    error = parser.get_error(0)
    operation = error.node_operator()
    if _UNKNOWN_OPERATION in error.desc():
        return f", it has no operation {operation} (node {error.node_name()}) and no plugin of that name: upgrade it"
    reason = short_reason(RuntimeError(error.desc()))
    return f" in {operation} {error.node_name()} ({reason}): try another version"


def _configure(config: trt.IBuilderConfig, settings: PlanSettings, library: Path) -> None:
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the engine inspector shows no types
    if settings.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace * 2**20)
    if settings.embed_plugin:
        config.plugins_to_serialize = [str(library)]
    if settings.compute_capabilities:
        _set_compute_capabilities(config, settings.compute_capabilities)
    if settings.timing_cache is not None:
        cache = config.create_timing_cache(_read_timing_cache(settings.timing_cache))
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            raise ConfigError(
                f"{settings.timing_cache} is no timing cache of TensorRT {trt.__version__} for this GPU: "
                "remove it or name another file"
            )


def _read_timing_cache(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(f"timing-cache {path} cannot be read: {error.strerror}; name another file") from error


def _set_compute_capabilities(config: Any, capabilities: tuple[str, ...]) -> None:
    # Any: only TensorRT-RTX has this, which has no stubs.
    config.num_compute_capabilities = len(capabilities)
    for index, kind in enumerate(compute_capability_kinds(trt, capabilities)):
        if not config.set_compute_capability(kind, index):
            raise ConfigError(
                f"TensorRT-RTX refuses compute-capability {capabilities[index]} together with the others: leave it out"
            )


def _add_profile(builder: trt.Builder, config: trt.IBuilderConfig, shapes: dict[str, tuple[Any, Any, Any]]) -> None:
    # Any: tuples, which the stubs do not know to become Dims.
    optimization_profile = builder.create_optimization_profile()
    for name, (smallest, optimal, largest) in shapes.items():
        optimization_profile.set_shape(name, smallest, optimal, largest)
    if config.add_optimization_profile(optimization_profile) < 0:
        raise ExportError(f"TensorRT {trt.__version__} does not take the sizes {shapes}: give smaller maxima")


def _tensors(network: trt.INetworkDefinition) -> tuple[TensorSpec, ...]:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return (*(_tensor(tensor, True) for tensor in inputs), *(_tensor(tensor, False) for tensor in outputs))


def _tensor(tensor: trt.ITensor, is_input: bool) -> TensorSpec:
    shape: Any = tensor.shape  # of Dims the stubs do not know that it can be iterated
    return TensorSpec(tensor.name, _NUMPY_TYPES[tensor.dtype.name], tuple(shape), is_input)


def _why_not_built(log: MessageLog, settings: PlanSettings) -> str:
    said = " ".join(log.problems)
    head = f"{title(settings.target)} {trt.__version__} did not build the plan"
    if _NO_DRIVER.search(said):
        return f"{head}, it found no GPU with a CUDA driver: build where the GPU is, or use --target tensorrt-rtx"
    if "workspace" in said and settings.workspace is not None:
        return f"{head} within {settings.workspace} MiB of workspace: give a larger --workspace, or none"
    if settings.compute_capabilities and (lacking := _NOT_FOR_GPU.search(said)):
        gpus = ", ".join(settings.compute_capabilities)
        return f"{head} for compute-capability {gpus} ({lacking.group()}): leave that GPU out"
    if log.out_of_memory:
        return f"{head}, memory ran out ({log.reason()}): give smaller --max-rows, --max-tokens or --max-exclusions"
    return f"{head} ({log.reason()})"


def _write_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))


def _logged(pattern: re.Pattern[str], log: MessageLog) -> int | None:
    matches = [match for message in log.infos if (match := pattern.search(message))]
    return int(matches[-1].group(1)) if matches else None


class _ProgressMonitor(trt.IProgressMonitor):
    """Reports the build's phases. An exception must not pass through TensorRT: it is kept, and the build is ended."""

    def __init__(self, progress: Progress | None) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._phases: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._interruption: BaseException | None = None

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT when a phase begins."""
        with self._lock:
            self._phases[phase_name] = (parent_phase or "", num_steps)
        self._report(phase_name, 0)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT after each step of a phase; the answer False ends the build."""
        self._report(phase_name, step + 1)
        return self._interruption is None

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT when a phase ends."""
        with self._lock:
            _, steps = self._phases.get(phase_name, ("", 0))
        self._report(phase_name, steps)

    def _report(self, phase: str, done: int) -> None:
        try:
            with self._lock:
                parent, steps = self._phases.get(phase, ("", 0))
            if self._progress is not None and self._interruption is None:
                self._progress(phase, parent, steps, done)
        except BaseException as error:  # Ctrl-C, too
            self._interruption = error

    def raise_interruption(self) -> None:
        """Raise the exception that ended the build, if one did."""
        if self._interruption is not None:
            raise self._interruption
