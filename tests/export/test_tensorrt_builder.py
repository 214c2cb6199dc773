"""Engines: TensorRT-RTX parses and builds them without a GPU; opening and running them needs one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from recblr.errors import ConfigError, ExportError
from recblr.export.engine_settings import EngineSettings
from recblr.export.precision import emulated_graph, engine_graph
from recblr.plugins import find_library
from recblr.runtime.engine_section import EngineSection
from recblr.runtime.precision_names import PRECISIONS, Precision, tensorrt_type
from recblr.runtime.tensorrt_library import load_tensorrt

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
    return EngineSettings(target="tensorrt-rtx", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_engines_are_built_in_the_precision_asked_for(bundle: Path, library: Path, precision: Precision) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt_builder import build_engine

    phases: list[str] = []
    built = build_engine(
        onnx.load(bundle / "model.onnx"),
        _settings(precision=precision),
        library,
        lambda phase, *_: phases.append(phase),
    )
    assert len(built.plan) > 10_000
    assert built.proof["plugins"] == {tensorrt_type(precision): 4}
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
    from recblr.export import tensorrt_builder

    monkeypatch.setattr(tensorrt_builder, "engine_graph", lambda model, _: engine_graph(model, "fp32"))
    with pytest.raises(ExportError, match="not in fp16: .* is FLOAT, not HALF"):
        tensorrt_builder.build_engine(onnx.load(bundle / "model.onnx"), _settings(precision="fp16"), library)


def test_ctrl_c_ends_the_build(bundle: Path, library: Path) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt_builder import build_engine

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(), library, interrupt)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_capabilities": ("9.0",)}, "compute-capability is 9.0, .* builds for 7.5"),
        ({"max_tokens": 2**31 - 2}, "max-tokens is 2147483646: .* give at most"),
    ],
)
def test_what_tensorrt_cannot_build(bundle: Path, library: Path, settings: dict[str, object], message: str) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt_builder import build_engine

    with pytest.raises(ConfigError, match=message):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(**settings), library)


def test_too_little_workspace(bundle: Path, library: Path) -> None:
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt_builder import build_engine

    with pytest.raises(ExportError, match="within 1 MiB of workspace: give a larger --workspace"):
        build_engine(onnx.load(bundle / "model.onnx"), _settings(workspace=1), library)


def test_no_plugin_library(bundle: Path) -> None:
    """In a process of its own, as a registered library stays."""
    program = f"""
import onnx
from recblr.runtime.tensorrt_library import load_tensorrt
load_tensorrt("tensorrt-rtx")
from recblr.errors import ExportError
from recblr.export.engine_settings import EngineSettings
from recblr.export.tensorrt_builder import build_engine
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
from recblr.runtime.tensorrt_library import load_tensorrt
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
        ({"timing_cache": Path("cache")}, "TensorRT-RTX times nothing"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _settings(**settings)


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
    with pytest.raises(ConfigError, match=r"engine\.file is missing"):
        EngineSection.from_dict({})
