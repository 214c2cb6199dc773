"""The comparison with PyTorch that every export makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from recblr import plugins
from recblr.checkpoint import Checkpoint
from recblr.errors import ExportError
from recblr.export.checks.comparison import TOLERANCE
from recblr.export.checks.kernels import NativeKernels
from recblr.export.checks.parity import check_parity
from recblr.export.onnx.graph import build_graph
from recblr.export.onnx.weights import weight_places
from recblr.model import RecBLR
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend

Change = Callable[[onnx.ModelProto], None]


def check(model: RecBLR, path: Path, max_k: int) -> dict[str, Any]:
    """`check_parity`, with the bundle that the file is of."""
    return check_parity(model, path, max_k, path.parent if (path.parent / "manifest.json").exists() else None)


def test_report(checkpoint: Checkpoint, bundle: Path) -> None:
    report = check(checkpoint.model, bundle / "model.onnx", 20)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["tolerance"] == TOLERANCE <= 1e-4
    assert report["max_score_difference"] < 1e-4
    assert report["max_state_difference"] < 1e-4
    assert report["top_k_agreement"] == 1
    native = ["native"] if has_native_ops() else []
    assert list(report["ops"]) == ["functions", *native, "kernels"]
    for cases in report["ops"].values():
        assert list(cases) == ["cold", "dense", "single", "incremental", "empty", "exclusions"]
        assert cases["empty"]["tokens"] == 0
        assert cases["single"]["rows"] == 1
        assert 0 < cases["incremental"]["tokens"] < cases["cold"]["tokens"]
        for measure in ("max_score_difference", "max_state_difference"):
            assert max(case[measure] for case in cases.values()) <= report[measure]


def has_native_ops() -> bool:
    return plugins.find_library() is not None and plugins.load_library().has_onnxruntime_ops


@pytest.mark.skipif(not has_native_ops(), reason="librecblr_plugins.so has no operators for ONNX Runtime")
def test_native_ops_that_differ_are_refused(
    checkpoint: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native library is compared, too, not only the functions."""
    run = OnnxRuntimeBackend.run

    def wrong_where_native(self: OnnxRuntimeBackend, *batch: Any) -> Any:
        top_items, top_scores, state_out = run(self, *batch)
        return top_items, top_scores, state_out + (self.ops == "native")

    monkeypatch.setattr(OnnxRuntimeBackend, "run", wrong_where_native)
    with pytest.raises(ExportError, match="native ops and PyTorch differ in the case 'cold'"):
        check(checkpoint.model, bundle / "model.onnx", 20)


def test_kernels_that_differ_are_refused(checkpoint: Checkpoint, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They serve on CPUs, so they are compared as well."""
    run = NativeKernels.run

    def wrong(self: NativeKernels, *batch: Any) -> Any:
        top_items, top_scores, state_out = run(self, *batch)
        return top_items, top_scores * 1.01, state_out

    monkeypatch.setattr(NativeKernels, "run", wrong)
    with pytest.raises(ExportError, match="recblr's own kernels on the CPU, .* and PyTorch differ in the case 'cold'"):
        check(checkpoint.model, bundle / "model.onnx", 20)


def _weights_slightly_off(proto: onnx.ModelProto) -> None:
    (weight,) = [i for i in proto.graph.initializer if i.name.endswith("blocks.0.recurrent.out_proj.weight")]
    weight.CopyFrom(onnx.numpy_helper.from_array(1.001 * onnx.numpy_helper.to_array(weight), weight.name))


def _worst_first(proto: onnx.ModelProto) -> None:
    (node,) = [node for node in proto.graph.node if node.op_type == "TopK"]
    next(attribute for attribute in node.attribute if attribute.name == "largest").i = 0


def _exclusions_ignored(proto: onnx.ModelProto) -> None:
    (scatter,) = [node for node in proto.graph.node if node.op_type == "ScatterND"]
    (top_k,) = [node for node in proto.graph.node if node.op_type == "TopK"]
    top_k.input[0] = scatter.input[0]


def _state_not_passed_on(proto: onnx.ModelProto) -> None:
    (joined,) = [node for node in proto.graph.node if "state_out" in node.output]
    joined.output[0] = "unused"
    proto.graph.node.append(onnx.helper.make_node("Identity", ["state_in"], ["state_out"]))


@pytest.mark.parametrize(
    ("change", "case"),
    [
        (_weights_slightly_off, "cold"),
        (_worst_first, "cold"),
        (_exclusions_ignored, "exclusions"),
        (_state_not_passed_on, "cold"),
    ],
)
def test_a_graph_that_differs_is_refused(
    checkpoint: Checkpoint, bundle: Path, tmp_path: Path, change: Change, case: str
) -> None:
    proto = onnx.load(bundle / "model.onnx")
    change(proto)
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(ExportError, match=f"differ in the case '{case}'"):
        check_parity(checkpoint.model, tmp_path / "changed.onnx", 20)


def test_a_graph_with_another_weight_is_refused(checkpoint: Checkpoint, bundle: Path, tmp_path: Path) -> None:
    """By what tells the manifest where they are, before anything is computed."""
    proto = onnx.load(bundle / "model.onnx")
    _weights_slightly_off(proto)
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"did not keep the weight blocks\.0\.recurrent\.out_proj\.weight as it is"):
        weight_places(tmp_path, checkpoint.model)


def test_weights_that_are_not_finite_are_refused(make_model: Callable[..., RecBLR], tmp_path: Path) -> None:
    model = make_model()
    model.blocks[0].feed_forward.up.bias.data[0] = np.nan
    onnx.save(build_graph(model, 5, "sha256:0"), tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="weights are finite"):
        check(model, tmp_path / "model.onnx", 5)


def test_a_file_that_does_not_load_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="cannot be loaded"):
        check_parity(checkpoint.model, tmp_path / "model.onnx", 20)


def test_catalogue_of_one_item(make_model: Callable[..., RecBLR], tmp_path: Path) -> None:
    """Exclusions may leave nothing to compare."""
    model = make_model(n_items=1)
    onnx.save(build_graph(model, 100, "sha256:0"), tmp_path / "model.onnx")
    assert check(model, tmp_path / "model.onnx", 100)["top_k_agreement"] == 1
