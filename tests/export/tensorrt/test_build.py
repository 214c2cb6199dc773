"""Plans: TensorRT-RTX parses graphs and builds plans without a GPU; opening and running them needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import pytest

from recblr.errors import ConfigError, ExportError, OutputError
from recblr.export.onnx.precision import tensorrt_graph
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.runtime.bundle.plan_section import PRECISIONS, Precision, tensorrt_type
from recblr.runtime.gpu.trt_module import load_tensorrt

Build: TypeAlias = Callable[..., Any]

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


def _settings(**settings: object) -> PlanSettings:
    return PlanSettings(**{"target": "tensorrt-rtx", **settings})  # type: ignore[arg-type]


@pytest.fixture
def build(plugin_library: Path, bundle: Path) -> Build:
    """`build_plan` of a graph, that of `bundle` if none is named, for the settings given."""
    PlanBuilder(_settings())  # loads TensorRT-RTX and the plugins
    from recblr.export.tensorrt.build import build_plan

    def build(settings: PlanSettings, progress: Any = None, path: Path = bundle / "model.onnx") -> Any:
        return build_plan(onnx.load(path), settings, plugin_library, progress)

    return build


@pytest.mark.parametrize(
    ("precision", "conv_width", "n_plugins"), [*((precision, 4, 4) for precision in PRECISIONS), ("fp16", 1, 2)]
)
def test_plans_are_built_in_the_precision_asked_for(
    build: Build, bundle_of: Callable[[int], Path], precision: Precision, conv_width: int, n_plugins: int
) -> None:
    phases: list[str] = []
    path = bundle_of(conv_width) / "model.onnx"
    built = build(_settings(precision=precision), lambda phase, *_: phases.append(phase), path)
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


def test_a_network_in_another_precision_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recblr.export.tensorrt.build.tensorrt_graph", lambda model, _: tensorrt_graph(model, "fp32"))
    with pytest.raises(ExportError, match="not in fp16: .* is FLOAT, not HALF"):
        build(_settings(precision="fp16"))


def test_ctrl_c_ends_the_build(build: Build) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(_settings(), interrupt)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_capabilities": ("9.0",)}, "compute-capability is 9.0, .* builds for 7.5"),
        ({"max_tokens": 2**31 - 2}, "max-tokens is 2147483646: .* give at most"),
        ({"max_rows": 2**31 - 2}, "max-rows is 2147483646: .* give at most"),
        ({"max_exclusions": 2**31 - 2}, "max-exclusions is 2147483646: .* give at most 1073741823"),
    ],
)
def test_what_tensorrt_cannot_build(build: Build, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(_settings(**settings))


def test_too_little_workspace(build: Build) -> None:
    with pytest.raises(ExportError, match="within 1 MiB of workspace: give a larger --workspace"):
        build(_settings(workspace=1))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_that_cannot_run_it(build: Build, precision: Precision) -> None:
    """TensorRT-RTX has no fp32 products for Turing, and the scores are such a product in every precision."""
    settings = _settings(precision=precision, compute_capabilities=("7.5",))
    message = r"for compute-capability 7\.5 \(Cannot compile .*\(?(SM|sm)75.*\): leave that GPU out$"
    with pytest.raises(ExportError, match=message) as caught:
        build(settings)
    assert "\n" not in str(caught.value)


def _with_tensorrt_graph(monkeypatch: pytest.MonkeyPatch, change: Callable[[onnx.ModelProto], None]) -> None:
    """Let TensorRT parse a changed graph."""

    def changed(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
        graph = tensorrt_graph(model, precision)
        change(graph)
        return graph

    monkeypatch.setattr("recblr.export.tensorrt.build.tensorrt_graph", changed)


@pytest.mark.parametrize("operation", ["GatedScan", "Gather"])
def test_an_operation_that_tensorrt_does_not_know(
    build: Build, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Of recblr's domain, as a later version of the plugins could have, or of ONNX's."""

    def rename(graph: onnx.ModelProto) -> None:
        next(node for node in graph.graph.node if node.op_type == operation).op_type = f"{operation}V9"

    _with_tensorrt_graph(monkeypatch, rename)
    message = rf"it has no operation {operation}V9 \(node \w+\) and no plugin of that name: upgrade it"
    with pytest.raises(ExportError, match=message) as caught:
        build(_settings())
    assert "\n" not in str(caught.value)


def test_local_functions_are_never_taken_for_plugins(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT prefers them; left in the graph, they are an error in one line, and no plan with loops."""
    monkeypatch.setattr("recblr.export.tensorrt.build.tensorrt_graph", lambda model, _: model)
    with pytest.raises(ExportError, match=r"cannot parse the graph in .* \(.*\): try another version") as caught:
        build(_settings())
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
def test_why_a_plan_is_not_built(build: Build, monkeypatch: pytest.MonkeyPatch, said: str | None, reason: str) -> None:
    """What TensorRT would say is made up here: a machine without a GPU meets neither."""
    trt = load_tensorrt("tensorrt-rtx")

    def fail(builder: Any, *_: object) -> None:
        if said is not None:
            builder.logger.log(trt.ILogger.Severity.ERROR, said)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", fail)
    with pytest.raises(ExportError, match=rf"TensorRT-RTX .* did not build the plan.*{reason}") as caught:
        build(_settings())
    assert "\n" not in str(caught.value)


class TestTimingCache:
    """TensorRT's, which can't run here: TensorRT-RTX takes one in its place, and does nothing with it."""

    @staticmethod
    def settings(path: Path) -> PlanSettings:
        return PlanSettings(target="tensorrt", timing_cache=path)

    @pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
    def test_it_is_written_and_read(self, build: Build, tmp_path: Path) -> None:
        build(self.settings(tmp_path / "cache"))
        first = (tmp_path / "cache").read_bytes()
        build(self.settings(tmp_path / "cache"))
        assert (tmp_path / "cache").read_bytes() == first
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    def test_where_nothing_can_be_written(self, build: Build, tmp_path: Path) -> None:
        """Said before the build."""
        with pytest.raises(OutputError, match=r"cannot write .*no/cache: .*; create its folder first"):
            build(self.settings(tmp_path / "no" / "cache"))
        with pytest.raises(OutputError, match=r"the path is a folder: name a file"):
            build(self.settings(tmp_path))

    @pytest.mark.usefixtures("bound_by_permissions")
    def test_it_cannot_be_read(self, build: Build, tmp_path: Path) -> None:
        path = tmp_path / "cache"
        path.touch(mode=0o200)
        with pytest.raises(ConfigError, match=f"timing-cache {path} cannot be read: Permission denied; name another"):
            build(self.settings(path))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_layers_are_plugins_and_no_loops(plan_bundle: MakePlanBundle, precision: Precision) -> None:
    trt: Any = load_tensorrt("tensorrt-rtx")
    from recblr.runtime.gpu.trt_plugins import MessageLog

    graph = tensorrt_graph(onnx.load(plan_bundle(precision).path / "model.onnx"), precision)
    log = MessageLog()
    network = trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(graph.SerializeToString()), log.problems
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = [layer.type.name for layer in layers]
    assert kinds.count("PLUGIN_V3") == 4
    assert not {"RECURRENCE", "TRIP_LIMIT", "ITERATOR", "LOOP_OUTPUT", "CONDITION"} & set(kinds)
