"""Engines: TensorRT-RTX parses and builds them without a GPU; opening and running them needs one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from recblr.errors import ConfigError, ExportError, OutputError
from recblr.export.tensorrt.precision import emulated_graph, engine_graph
from recblr.export.tensorrt.settings import EngineSettings
from recblr.plugins import find_library
from recblr.runtime.bundle.plan_section import PRECISIONS, PlanSection, Precision, tensorrt_type
from recblr.runtime.gpu.trt_module import load_tensorrt

# Looked for, not imported: imported before recblr, it lacks the name of its library.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX is not installed"
)


@pytest.fixture(scope="module")
def library() -> Path:
    found = find_library()
    if found is None:
        pytest.skip("librecblr_plugins.so was not built")
    return found


def _settings(**settings: object) -> EngineSettings:
    return EngineSettings(**{"target": "tensorrt-rtx", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "conv_width", "n_plugins"), [*((precision, 4, 4) for precision in PRECISIONS), ("fp16", 1, 2)]
)
def test_engines_are_built_in_the_precision_asked_for(
    bundle_of: Callable[[int], Path], library: Path, precision: Precision, conv_width: int, n_plugins: int
) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    phases: list[str] = []
    built = build_engine(
        onnx.load(bundle_of(conv_width) / "model.onnx"),
        _settings(precision=precision),
        library,
        lambda phase, *_: phases.append(phase),
    )
    assert len(built.plan) > 10_000
    assert built.proof["plugins"] == {tensorrt_type(precision): n_plugins}
    assert built.proof["layer_norms"] == {"FLOAT": 5}
    assert built.proof["products"]["FLOAT"] == (1 if precision != "fp32" else 12)
    assert built.proof["inputs"] | built.proof["outputs"] == {
        "items": "INT32",
        "offsets": "INT32",
        "exclude": "INT32",
        "top_items": "INT32",
        "state_in": "FLOAT",
        "state_out": "FLOAT",
        "top_scores": "FLOAT",
    }
    assert built.memory_bytes is not None
    assert "Building engine" in phases


def test_a_network_in_another_precision_is_refused(
    bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt import builder as tensorrt_builder

    monkeypatch.setattr(tensorrt_builder, "engine_graph", lambda model, _: engine_graph(model, "fp32"))
    with pytest.raises(ExportError, match="not in fp16: .* is FLOAT, not HALF"):
        tensorrt_builder.build_engine(onnx.load(bundle / "model.onnx"), _settings(precision="fp16"), library)


def test_ctrl_c_ends_the_build(bundle: Path, library: Path) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(), library, interrupt)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_capabilities": ("9.0",)}, "compute-capability is 9.0, .* builds for 7.5"),
        ({"max_tokens": 2**31 - 2}, "max-tokens is 2147483646: .* give at most"),
        ({"max_rows": 2**31 - 2}, "max-rows is 2147483646: .* give at most"),
        ({"max_exclusions": 2**31 - 2}, "max-exclusions is 2147483646: .* give at most 1073741823"),
    ],
)
def test_what_tensorrt_cannot_build(bundle: Path, library: Path, settings: dict[str, object], message: str) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    with pytest.raises(ConfigError, match=message):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(**settings), library)


def test_too_little_workspace(bundle: Path, library: Path) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    with pytest.raises(ExportError, match="within 1 MiB of workspace: give a larger --workspace"):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(workspace=1), library)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_that_cannot_run_it(bundle: Path, library: Path, precision: Precision) -> None:
    """TensorRT-RTX has no fp32 products for Turing, and the scores are such a product in every precision."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    settings = _settings(precision=precision, compute_capabilities=("7.5",))
    message = r"for compute-capability 7\.5 \(Cannot compile .*\(?(SM|sm)75.*\): leave that GPU out$"
    with pytest.raises(ExportError, match=message) as caught:
        build_engine(onnx.load(bundle / "model.onnx"), settings, library)
    assert "\n" not in str(caught.value)


def _with_engine_graph(monkeypatch: pytest.MonkeyPatch, change: Callable[[onnx.ModelProto], None]) -> None:
    """Let TensorRT parse a changed graph."""
    from recblr.export.tensorrt import builder as tensorrt_builder

    def changed(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
        graph = engine_graph(model, precision)
        change(graph)
        return graph

    monkeypatch.setattr(tensorrt_builder, "engine_graph", changed)


@pytest.mark.parametrize("operation", ["GatedScan", "Gather"])
def test_an_operation_that_tensorrt_does_not_know(
    bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Of recblr's domain, as a later version of the plugins could have, or of ONNX's."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    def rename(graph: onnx.ModelProto) -> None:
        next(node for node in graph.graph.node if node.op_type == operation).op_type = f"{operation}V9"

    _with_engine_graph(monkeypatch, rename)
    message = rf"it has no operation {operation}V9 \(node \w+\) and no plugin of that name: upgrade it"
    with pytest.raises(ExportError, match=message) as caught:
        build_engine(onnx.load(bundle / "model.onnx"), _settings(), library)
    assert "\n" not in str(caught.value)


def test_local_functions_are_never_taken_for_plugins(
    bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT prefers them; left in the graph, they are an error in one line, and no engine with loops."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt import builder as tensorrt_builder

    monkeypatch.setattr(tensorrt_builder, "engine_graph", lambda model, _: model)
    with pytest.raises(ExportError, match=r"cannot parse the graph in .* \(.*\): try another version") as caught:
        tensorrt_builder.build_engine(onnx.load(bundle / "model.onnx"), _settings(), library)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "found no GPU with a CUDA"),
        ("Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)", r"memory ran out \(.*8589934592 bytes.\)"),
        ("IBuilder::buildSerializedNetwork:\nError Code 10: Could not find any implementation", r"\(IBuilder.*any imp"),
        (None, r"\(TensorRT gave no reason\)"),
    ],
)
def test_why_an_engine_is_not_built(
    bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, reason: str
) -> None:
    """What TensorRT would say is made up here: a machine without a GPU meets neither."""
    trt = load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    def fail(builder: Any, *_: object) -> None:
        if said is not None:
            builder.logger.log(trt.ILogger.Severity.ERROR, said)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", fail)
    with pytest.raises(ExportError, match=rf"TensorRT-RTX .* did not build the engine.*{reason}") as caught:
        build_engine(onnx.load(bundle / "model.onnx"), _settings(), library)
    assert "\n" not in str(caught.value)


class TestProof:
    """Networks that are not what was asked for, layer by layer."""

    @staticmethod
    def network() -> Any:
        trt = load_tensorrt("tensorrt-rtx")
        from recblr.runtime.gpu.trt_plugins import MessageLog

        builder = trt.Builder(MessageLog())
        return trt, builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def refused(self, network: Any, message: str) -> None:
        from recblr.export.tensorrt.network_proof import prove_precision

        with pytest.raises(ExportError, match=f"the network is not in fp32: {message}.*: report this"):
            prove_precision(network, "fp32")

    def test_nothing(self) -> None:
        _, network = self.network()
        self.refused(network, "items is missing")

    def test_a_loop(self) -> None:
        trt, network = self.network()
        times = network.add_input("times", trt.int32, ())
        network.add_loop().add_trip_limit(times, trt.TripLimit.COUNT)
        self.refused(network, ".* is a loop, where a plugin should be")

    def test_items_turned_into_floats(self) -> None:
        trt, network = self.network()
        items = network.add_input("items", trt.int32, (-1,))
        network.mark_output(network.add_cast(items, trt.float32).get_output(0))
        self.refused(network, ".* turns the integer items into FLOAT")

    def test_states_in_fp16(self) -> None:
        trt, network = self.network()
        network.add_input("state_in", trt.float16, (-1, 8))
        self.refused(network, "state_in is HALF, not FLOAT")

    def test_scores_ranked_in_fp16(self) -> None:
        trt, network = self.network()
        scores = network.add_input("scores", trt.float16, (-1, 8))
        network.add_topk(scores, trt.TopKOperation.MAX, 3, 2)
        self.refused(network, "the input of top-k is HALF, not FLOAT")


class TestTimingCache:
    """TensorRT's, which can't run here: TensorRT-RTX takes one in its place, and does nothing with it."""

    @staticmethod
    def build(bundle: Path, library: Path, path: Path) -> None:
        load_tensorrt("tensorrt-rtx")
        from recblr.export.tensorrt.builder import build_engine

        settings = EngineSettings(target="tensorrt", timing_cache=path)
        build_engine(onnx.load(bundle / "model.onnx"), settings, library)

    @pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
    def test_it_is_written_and_read(self, bundle: Path, library: Path, tmp_path: Path) -> None:
        self.build(bundle, library, tmp_path / "cache")
        first = (tmp_path / "cache").read_bytes()
        self.build(bundle, library, tmp_path / "cache")
        assert (tmp_path / "cache").read_bytes() == first
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    def test_where_nothing_can_be_written(self, bundle: Path, library: Path, tmp_path: Path) -> None:
        """Said before the build."""
        with pytest.raises(OutputError, match=r"cannot write .*no/cache: .*; create its folder first"):
            self.build(bundle, library, tmp_path / "no" / "cache")
        with pytest.raises(OutputError, match=r"the path is a folder: name a file"):
            self.build(bundle, library, tmp_path)

    @pytest.mark.usefixtures("bound_by_permissions")
    def test_it_cannot_be_read(self, bundle: Path, library: Path, tmp_path: Path) -> None:
        path = tmp_path / "cache"
        path.touch(mode=0o200)
        with pytest.raises(ConfigError, match=f"timing-cache {path} cannot be read: Permission denied; name another"):
            self.build(bundle, library, path)


def test_no_plugin_library(bundle: Path) -> None:
    """In a process of its own, as a registered library stays."""
    program = f"""
import onnx
from recblr.runtime.gpu.trt_module import load_tensorrt
load_tensorrt("tensorrt-rtx")
from recblr.errors import ExportError
from recblr.export.tensorrt.settings import EngineSettings
from recblr.export.tensorrt.builder import build_engine
try:
    build_engine(onnx.load({str(bundle / "model.onnx")!r}), EngineSettings(target="tensorrt-rtx"), None)
except ExportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "knows no recblr::CausalConv1d, recblr::GatedScan: the plugin library is missing" in done.stdout


def test_imported_before_recblr() -> None:
    """Said, where TensorRT-RTX would abort the process."""
    program = """
import tensorrt_rtx_bindings
from recblr.errors import ConfigError
from recblr.runtime.gpu.trt_module import load_tensorrt
try:
    load_tensorrt("tensorrt-rtx")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "was imported before recblr, and would abort" in done.stdout


def test_tensorrt_and_the_other_are_not_mixed() -> None:
    load_tensorrt("tensorrt-rtx")
    with pytest.raises(ConfigError, match="this process uses TensorRT-RTX already"):
        load_tensorrt("tensorrt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_rows": 0}, "max-rows is 0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"compute_capabilities": ("sm_89",)}, "compute-capability is 'sm_89'"),
        ({"compute_capabilities": ("8.9", "8.9")}, "compute-capability is 8.9 twice"),
        ({"timing_cache": Path("cache")}, "TensorRT-RTX times nothing"),
        ({"target": "openvino"}, "target is 'openvino': give one of tensorrt, tensorrt-rtx"),
        ({"target": "tensorrt", "compute_capabilities": ("8.9",)}, "but TensorRT builds for this machine's GPU"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _settings(**settings)


@pytest.mark.filterwarnings("error")
def test_weights_that_fp16_cannot_hold(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    (weight,) = [w for w in model.graph.initializer if w.name.endswith("blocks.0.feed_forward.up.weight")]
    weight.CopyFrom(onnx.numpy_helper.from_array(1e6 * onnx.numpy_helper.to_array(weight), weight.name))
    with pytest.raises(ExportError, match="fp16 ends at 65504: use --precision bf16"):
        engine_graph(model, "fp16")
    assert engine_graph(model, "bf16").graph.node


def test_emulation_rounds(bundle: Path) -> None:
    """fp16 is nearer to fp32 than bf16, and neither is equal to it."""
    model = onnx.load(bundle / "model.onnx")
    inputs = {
        "items": np.arange(1, 41, dtype=np.int32),
        "offsets": np.array([0, 25, 40], np.int32),
        "state_in": np.tile(np.load(bundle / "initial_state.npy"), (2, 1)),
        "exclude": np.empty((0, 2), np.int32),
    }
    states = {}
    for precision in PRECISIONS:
        graph = emulated_graph(model, precision).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        (states[precision],) = session.run(["state_out"], inputs)
    fp16, bf16 = (np.abs(states[precision] - states["fp32"]).max() for precision in ("fp16", "bf16"))
    assert 0 < fp16 < bf16 < 0.5 * np.abs(states["fp32"]).max()


def test_engine_section_without_a_field() -> None:
    with pytest.raises(ConfigError, match=r"plan\.file is missing"):
        PlanSection.from_dict({})
