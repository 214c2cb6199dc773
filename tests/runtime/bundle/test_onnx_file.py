"""Taking the local functions and the ranking out of an ONNX file without the onnx package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.onnx_file import without_functions, without_ranking

onnx = pytest.importorskip("onnx")

MODEL = """
<ir_version: 10, opset_import: ["" : 18, "local" : 1]>
graph (float[N] x) => (float[N] y) <float[3] weight = {1, 2, 3}> { t = Add (x, weight) y = local.Twice (t) }
<domain: "local", opset_import: ["" : 18]> Twice (x) => (y) { y = Add (x, x) }
<domain: "local", opset_import: ["" : 18]> Thrice (x) => (y) { t = Add (x, x) y = Add (t, x) }
"""

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


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(MODEL)
    proto.doc_string = "a long text, " * 100  # a length of two bytes
    onnx.helper.set_model_props(proto, {"key": "value"})
    return proto


def test_the_functions_are_gone_and_all_else_is_as_it_was(model: onnx.ModelProto) -> None:
    assert len(model.functions) == 2
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    del expected.functions[:]
    encoded = without_functions(model.SerializeToString())
    assert onnx.ModelProto.FromString(encoded) == expected
    assert without_functions(encoded) == encoded


def test_functions_between_other_fields(model: onnx.ModelProto) -> None:
    """The order of fields is free: two encodings one after the other are one message."""
    encoded = model.SerializeToString()
    expected = onnx.ModelProto.FromString(encoded + encoded)
    del expected.functions[:]
    assert onnx.ModelProto.FromString(without_functions(encoded + encoded)) == expected


@pytest.mark.parametrize("size", [1, 3, 700, -1])
def test_taking_functions_out_of_a_file_that_ends_early(model: onnx.ModelProto, size: int) -> None:
    encoded = model.SerializeToString()
    with pytest.raises(ValueError, match="ends early"):
        without_functions(encoded[:size])


@pytest.mark.parametrize("content", [b"\x0f", b"\x0c", b"\x80" * 20, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
def test_taking_functions_out_of_what_is_no_protocol_buffer(content: bytes) -> None:
    with pytest.raises(ValueError, match="protocol buffer"):
        without_functions(content)


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
def test_taking_the_ranking_out_of_a_file_that_ends_early(toy: Any, size: int) -> None:
    with pytest.raises(ValueError, match="ends early"):
        without_ranking((toy.path / "model.onnx").read_bytes()[:size])
