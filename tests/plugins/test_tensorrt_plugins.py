"""The TensorRT plugins in the real TensorRT-RTX: its parser, its builder, its logger. None of it needs a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from recblr import plugins
from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

WORKER = Path(__file__).with_name("tensorrt_worker.py")
H, K = 16, 4
MAX_TOKENS, MAX_ROWS = 65_536, 256
FLOATS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
TENSORRT_NAMES = {"float32": "DataType.FLOAT", "float16": "DataType.HALF", "bfloat16": "DataType.BF16"}

needs_library = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)
needs_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_libs") is None or importlib.util.find_spec("tensorrt_rtx_bindings") is None,
    reason="TensorRT-RTX is not installed: pip install 'recblr[tensorrt-rtx]'",
)

Shape = list[int | str]
Input = tuple[int, Shape]
Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Parses and builds a model in a process of its own; returns what `tensorrt_worker` prints."""
    libraries = importlib.util.find_spec("tensorrt_rtx_libs").submodule_search_locations
    folder = tmp_path_factory.mktemp("tensorrt")
    (folder / "libtensorrt_rtx.so").symlink_to(Path(libraries[0]) / "libtensorrt_rtx.so.1")

    def run(model: onnx.ModelProto, profile: dict[str, list[list[int]]] | None = None) -> dict[str, Any]:
        path = folder / "model.onnx"
        onnx.save(model, path)
        command = [sys.executable, str(WORKER), str(plugins.find_library()), str(path), json.dumps(profile or {})]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def scan_inputs(floats: str = "float32", z_length: int | str = "N") -> dict[str, Input]:
    data, state = FLOATS[floats], TensorProto.FLOAT
    return {
        "x": (data, ["N", H]),
        "gates": (data, ["N", 2 * H]),
        "z": (data, [z_length, H]),
        "decay": (state, [H]),
        "offsets": (TensorProto.INT32, ["B+1"]),
        "h0": (state, ["B", H]),
    }


def conv_inputs(floats: str = "float32", taps: int = K) -> dict[str, Input]:
    state = TensorProto.FLOAT
    return {
        "x": (FLOATS[floats], ["N", H]),
        "weight": (state, [H, taps]),
        "bias": (state, [H]),
        "offsets": (TensorProto.INT32, ["B+1"]),
        "tail": (state, ["B", taps - 1, H]),
    }


def model_of(op: str, inputs: dict[str, Input], floats: str = "float32", **attributes: int) -> onnx.ModelProto:
    """A model of one node, which takes all that it needs as inputs."""
    outputs = ["y", "last_h"] if op == "GatedScan" else ["y", "new_tail"]
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), outputs, name=f"the_{op}", domain="recblr", **attributes)],
        "one_op",
        [helper.make_tensor_value_info(name, *described) for name, described in inputs.items()],
        [
            helper.make_tensor_value_info(outputs[0], FLOATS[floats], None),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, None),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("recblr", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def profile_of(inputs: dict[str, Input]) -> dict[str, list[list[int]]]:
    """From nothing to the most tokens, one row to the most."""
    sizes = {"N": (0, 100, MAX_TOKENS), "B": (1, 4, MAX_ROWS), "B+1": (2, 5, MAX_ROWS + 1)}
    return {
        name: [[sizes[size][i] if isinstance(size, str) else size for size in shape] for i in range(3)]
        for name, (_, shape) in inputs.items()
        if any(isinstance(size, str) for size in shape)
    }


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils' nm is not installed")
def test_the_library_needs_no_tensorrt():
    listed = subprocess.run(
        ["nm", "-D", str(plugins.find_library())], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    exported = {line.split()[-1] for line in listed if " T " in line}
    assert {"getCreators", "setLoggerFinder"} <= exported
    assert not [name for name in exported if name.startswith("_Z")]
    undefined = [line.split()[-1] for line in listed if " U " in line]
    assert undefined
    assert not [name for name in undefined if "nvinfer" in name or "TensorRT" in name or name.startswith("getInfer")]


@needs_library
@needs_tensorrt
@pytest.mark.parametrize("floats", FLOATS)
class TestBuilding:
    """An engine is built, from dynamic shapes, in every precision."""

    @pytest.mark.parametrize("last_only", [0, 1])
    def test_gated_scan(self, build: Build, floats: str, last_only: int):
        inputs = scan_inputs(floats, "B" if last_only else "N")
        outcome = build(model_of("GatedScan", inputs, floats, last_only=last_only), profile_of(inputs))
        assert outcome["built"], outcome["log"]
        assert outcome["loaded"]
        assert outcome["layers"] == ["LayerType.PLUGIN_V3"]
        assert outcome["outputs"] == {
            "y": [TENSORRT_NAMES[floats], [-1, H]],
            "last_h": ["DataType.FLOAT", [-1, H]],
        }
        assert outcome["serialized"]

    def test_causal_conv1d(self, build: Build, floats: str):
        inputs = conv_inputs(floats)
        outcome = build(model_of("CausalConv1d", inputs, floats), profile_of(inputs))
        assert outcome["built"], outcome["log"]
        assert outcome["layers"] == ["LayerType.PLUGIN_V3"]
        assert outcome["outputs"] == {
            "y": [TENSORRT_NAMES[floats], [-1, H]],
            "new_tail": ["DataType.FLOAT", [-1, K - 1, H]],
        }


@needs_library
@needs_tensorrt
class TestParsing:
    """What TensorRT learns from the plugins."""

    def test_creators_are_registered(self, build: Build):
        outcome = build(model_of("CausalConv1d", conv_inputs()))
        assert sorted(outcome["creators"]) == [
            ["recblr", "CausalConv1d", "1", []],
            ["recblr", "GatedScan", "1", ["last_only"]],
        ]

    @pytest.mark.parametrize("last_only", [0, 1])
    def test_rows_follow_from_the_offsets(self, build: Build, last_only: int):
        inputs = scan_inputs(z_length="B" if last_only else "N")
        inputs["offsets"] = (TensorProto.INT32, [6])
        outcome = build(model_of("GatedScan", inputs, last_only=last_only))
        assert outcome["outputs"]["last_h"] == ["DataType.FLOAT", [5, H]]
        assert outcome["outputs"]["y"] == ["DataType.FLOAT", [5 if last_only else -1, H]]

        inputs = conv_inputs()
        inputs["offsets"] = (TensorProto.INT32, [6])
        outcome = build(model_of("CausalConv1d", inputs))
        assert outcome["outputs"]["new_tail"] == ["DataType.FLOAT", [5, K - 1, H]]

    def test_a_convolution_of_one_tap_has_an_empty_tail(self, build: Build):
        inputs = conv_inputs(taps=1)
        outcome = build(model_of("CausalConv1d", inputs), profile_of(inputs))
        assert outcome["built"], outcome["log"]
        assert outcome["outputs"]["new_tail"] == ["DataType.FLOAT", [-1, 0, H]]

    def test_last_only_is_optional(self, build: Build):
        inputs = scan_inputs()
        outcome = build(model_of("GatedScan", inputs), profile_of(inputs))
        assert outcome["built"], outcome["log"]


REFUSED = {
    "gates too wide": (
        "GatedScan",
        {"gates": (TensorProto.FLOAT, ["N", 3 * H])},
        {},
        "gates is [?, 48]; it must be [N, 2H] with H = 16",
    ),
    "z of another length": (
        "GatedScan",
        {"x": (TensorProto.FLOAT, [9, H]), "z": (TensorProto.FLOAT, [8, H])},
        {},
        "z is [8, 16]; it must be [N, H] with N = 9, H = 16",
    ),
    "z of every token with last_only": (
        "GatedScan",
        {"offsets": (TensorProto.INT32, [4]), "z": (TensorProto.FLOAT, [8, H])},
        {"last_only": 1},
        "z is [8, 16]; it must be [B, H] with B = 3, H = 16",
    ),
    "h0 of another rank": (
        "GatedScan",
        {"h0": (TensorProto.FLOAT, ["B", 1, H])},
        {},
        "h0 is [?, 1, 16]; it must be [B, H]",
    ),
    "no offsets": (
        "GatedScan",
        {"offsets": (TensorProto.INT32, [0])},
        {},
        "offsets is [0]: too small, it must be [B+1]",
    ),
    "int64 offsets": ("GatedScan", {"offsets": (TensorProto.INT64, ["B+1"])}, {}, "offsets is int64; it must be int32"),
    "float16 state": ("GatedScan", {"h0": (TensorProto.FLOAT16, ["B", H])}, {}, "h0 is float16; it must be float32"),
    "z of another type": (
        "GatedScan",
        {"z": (TensorProto.FLOAT16, ["N", H])},
        {},
        "z is float16; it must be float32, as x",
    ),
    "integer x": (
        "GatedScan",
        {"x": (TensorProto.INT32, ["N", H])},
        {},
        "x is int32; it must be float32, float16 or bfloat16",
    ),
    "last_only of 2": ("GatedScan", {}, {"last_only": 2}, "attribute last_only is 2; it must be 0 or 1"),
    "tail too long": (
        "CausalConv1d",
        {"tail": (TensorProto.FLOAT, ["B", K, H])},
        {},
        "tail is [?, 4, 16]; it must be [B, K-1, H] with H = 16, K = 4",
    ),
    "weight of other channels": (
        "CausalConv1d",
        {"weight": (TensorProto.FLOAT, [H + 1, K])},
        {},
        "weight is [17, 4]; it must be [H, K] with H = 16, K = 4",
    ),
    "bfloat16 bias": (
        "CausalConv1d",
        {"bias": (TensorProto.BFLOAT16, [H])},
        {},
        "bias is bfloat16; it must be float32",
    ),
}


@needs_library
@needs_tensorrt
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_its_reason(build: Build, case: str):
    op, changed, attributes, message = REFUSED[case]
    inputs = {**(scan_inputs() if op == "GatedScan" else conv_inputs()), **changed}
    if attributes.get("last_only") == 1 and "z" not in changed:
        inputs["z"] = (TensorProto.FLOAT, ["B", H])
    outcome = build(model_of(op, inputs, **attributes), profile_of(inputs))
    assert not outcome["built"]
    assert f'recblr::{op} "the_{op}": {message}' in "\n".join(outcome["log"])


@needs_library
@needs_tensorrt
@pytest.mark.parametrize(("conv_width", "plugins_per_layer"), [(4, ["CausalConv1d", "GatedScan"]), (1, ["GatedScan"])])
def test_an_exported_model_is_built_with_the_plugins(
    build: Build, tmp_path: Path, conv_width: int, plugins_per_layer: list[str]
):
    torch.manual_seed(0)
    checkpoint = Checkpoint(
        model=RecBLR(RecBLRConfig(n_items=60, dim=12, conv_width=conv_width)).eval(),
        vocabulary=ItemVocabulary([f"item-{j}" for j in range(60)], list(range(60))),
        data={"fingerprint": "sha256:0"},
        metrics={"validation": {"ndcg@10": 0.25}},
    )
    export_bundle(checkpoint, tmp_path / "bundle", max_k=20)
    model = onnx.load(tmp_path / "bundle" / "model.onnx")
    del model.functions[:]  # TensorRT would take them for the plugins
    state_size = model.graph.input[2].type.tensor_type.shape.dim[1].dim_value
    profile = {
        "items": [[0], [100], [MAX_TOKENS]],
        "offsets": [[2], [5], [MAX_ROWS + 1]],
        "state_in": [[1, state_size], [4, state_size], [MAX_ROWS, state_size]],
        "exclude": [[0, 2], [100, 2], [MAX_TOKENS, 2]],
    }
    outcome = build(model, profile)
    assert outcome["built"], outcome["log"]
    nodes = [node.op_type for node in model.graph.node if node.domain == "recblr"]
    assert nodes == 2 * plugins_per_layer
    assert outcome["layers"].count("LayerType.PLUGIN_V3") == len(nodes)
    loops = {"LOOP_OUTPUT", "TRIP_LIMIT", "RECURRENCE", "ITERATOR", "CONDITION"}
    assert not {layer.removeprefix("LayerType.") for layer in outcome["layers"]} & loops
    assert outcome["outputs"]["state_out"] == ["DataType.FLOAT", [-1, state_size]]
