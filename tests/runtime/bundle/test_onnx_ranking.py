"""Taking the ranking out of an ONNX file without the onnx package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.onnx_file import without_ranking

onnx = pytest.importorskip("onnx")

NESTED = """
<ir_version: 10, opset_import: ["" : 18]>
graph (float[N] items, bool flag) => (float[N] top_items, float[N] state_out)
<float[1] used = {1}, float[1] captured = {2}, float[1] unused = {3}>
{
    doubled = Add (items, items)
    top_items = Mul (doubled, unused)
    shifted = Add (items, used)
    state_out = If (flag) <
        then_branch = then_graph () => (float[N] a) { a = Add (shifted, captured) },
        else_branch = else_graph () => (float[N] b) { b = Neg (items) }
    >
}
"""


def test_only_what_states_need_is_left(toy: Any) -> None:
    model = onnx.load_from_string(without_ranking((toy.path / "model.onnx").read_bytes()))
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == ["state_out"]
    assert {"MatMul", "TopK", "ScatterND"}.isdisjoint(node.op_type for node in model.graph.node)
    assert [array.name for array in model.graph.initializer if array.name in ("embeddings", "catalogue")] == [
        "embeddings"
    ]
    assert [value.name for value in model.graph.input] == ["items", "offsets", "state_in", "exclude"]


def test_what_inner_graphs_capture_is_kept() -> None:
    pruned = onnx.load_from_string(without_ranking(onnx.parser.parse_model(NESTED).SerializeToString()))
    onnx.checker.check_model(pruned, full_check=True)
    assert [node.op_type for node in pruned.graph.node] == ["Add", "If"]
    assert {array.name for array in pruned.graph.initializer} == {"used", "captured"}


@pytest.mark.parametrize("native_ops", [None, False])
def test_states_are_those_of_the_whole_graph(toy: Any, native_ops: bool | None) -> None:
    whole = OnnxRuntimeBackend(toy.path / "model.onnx", 1, native_ops=native_ops)
    pruned = OnnxRuntimeBackend(toy.path / "model.onnx", 1, native_ops=native_ops, ranking=False)
    items, offsets = np.array([1, 2, 3], np.int32), np.array([0, 2, 2, 3], np.int32)
    states, exclude = np.ones((3, 5), np.float32), np.array([[0, 1]], np.int32)
    top_items, top_scores, new_states = pruned.run(items, offsets, states, exclude)
    np.testing.assert_array_equal(new_states, whole.run(items, offsets, states, exclude)[2])
    assert (top_items.shape, top_items.dtype, top_scores.shape) == ((3, 0), np.int32, (3, 0))


@pytest.mark.parametrize("size", [1, 50, -1])
def test_a_file_that_ends_early(toy: Any, size: int) -> None:
    with pytest.raises(ValueError, match="ends early"):
        without_ranking((toy.path / "model.onnx").read_bytes()[:size])
