"""The graph for Triton's ragged batching against the bundle's graph, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest

from recblr.errors import ExportError
from recblr.export.onnx.graph import build_graph
from recblr.export.triton.graph import TRITON_INPUT_NAMES, triton_graph
from recblr.model import RecBLR

Sessions: TypeAlias = tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]
N_ITEMS, STATE_SIZE = 60, 2 * 4 * 24 + 12  # the latter of conv_width 4


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def original(bundle: Path) -> onnx.ModelProto:
    return onnx.load(bundle / "model.onnx")


@pytest.fixture(scope="module")
def variant(original: onnx.ModelProto) -> onnx.ModelProto:
    return triton_graph(original)


@pytest.fixture(scope="module")
def sessions(original: onnx.ModelProto, variant: onnx.ModelProto) -> Sessions:
    return _session(original), _session(variant)


def _run_original(
    session: onnxruntime.InferenceSession, rows: list[list[int]], exclude: list[list[int]], states: np.ndarray
) -> list[np.ndarray]:
    pairs = [(b, item) for b, items in enumerate(exclude) for item in items]
    feed = {
        "items": np.concatenate([np.array(row, np.int32) for row in rows]),
        "offsets": np.cumsum([0, *map(len, rows)]).astype(np.int32),
        "state_in": states,
        "exclude": np.array(pairs, np.int32).reshape(-1, 2),
    }
    return session.run(["top_items", "top_scores", "state_out"], feed)


def _run_variant(
    session: onnxruntime.InferenceSession, rows: list[list[int]], exclude: list[list[int]], states: np.ndarray
) -> list[np.ndarray]:
    feed = {
        "items": np.array([item for row in rows for item in row], np.int32),
        "item_counts": np.array([len(row) for row in rows], np.int32),
        "exclude_items": np.array([item for items in exclude for item in items], np.int32),
        "exclude_counts": np.array([len(items) for items in exclude], np.int32),
        "state_in": states,
    }
    return session.run(["top_items", "top_scores", "state_out"], feed)


def _assert_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-5)
    np.testing.assert_allclose(actual[2], expected[2], atol=1e-5)


@pytest.mark.parametrize("n_rows", [1, 2, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_random_batches(sessions: Sessions, n_rows: int, seed: int) -> None:
    """Rows and exclusions of any length, empty ones too, with as much padding as one likes."""
    random = np.random.default_rng(seed)

    def lists(longest: int) -> list[list[int]]:
        return [random.integers(1, N_ITEMS + 1, random.integers(0, longest + 1)).tolist() for _ in range(n_rows)]

    def padded(rows: list[list[int]]) -> list[list[int]]:
        return [row + [0] * max(not row, int(random.integers(0, 4))) for row in rows]

    rows, exclude = lists(20), lists(5)
    states = random.normal(0, 0.3, (n_rows, STATE_SIZE)).astype(np.float32)
    expected = _run_original(sessions[0], rows, exclude, states)
    _assert_equal(_run_variant(sessions[1], padded(rows), padded(exclude), states), expected)


def test_only_padding(sessions: Sessions) -> None:
    states = np.random.default_rng(0).normal(0, 0.3, (2, STATE_SIZE)).astype(np.float32)
    expected = _run_original(sessions[0], [[], []], [[], []], states)
    _assert_equal(_run_variant(sessions[1], [[0], [0, 0, 0]], [[0, 0], [0]], states), expected)


@pytest.mark.parametrize("wrong", [-1, N_ITEMS + 1, 2**31 - 1, -(2**31)])
def test_what_is_no_item_counts_as_padding(sessions: Sessions, wrong: int) -> None:
    states = np.zeros((3, STATE_SIZE), np.float32)
    expected = _run_original(sessions[0], [[5, 6], [7], [8]], [[], [9], [3]], states)
    _assert_equal(_run_variant(sessions[1], [[5, 6], [7, wrong], [8]], [[wrong], [9], [3, wrong]], states), expected)


def test_padding_between_items_harms_its_own_row_only(
    sessions: Sessions,
) -> None:
    states = np.zeros((3, STATE_SIZE), np.float32)
    expected = _run_original(sessions[0], [[5, 6], [7, 8], [8]], [[], [], []], states)
    actual = _run_variant(sessions[1], [[5, 6], [7, 0, 8], [8]], [[0], [0], [0]], states)
    assert np.isfinite(actual[1]).all()
    _assert_equal([a[[0, 2]] for a in actual], [e[[0, 2]] for e in expected])


@pytest.mark.parametrize(("rows", "exclude"), [([[1], [], [2]], [[0]] * 3), ([[1], [2], [3]], [[0], [0], []])])
def test_a_row_without_entries_is_answered_by_nothing(
    sessions: Sessions,
    rows: list[list[int]],
    exclude: list[list[int]],
) -> None:
    """What Triton then gives for the other rows is not theirs."""
    states = np.random.default_rng(0).normal(0, 0.3, (3, STATE_SIZE)).astype(np.float32)
    top_items, top_scores, state_out = _run_variant(sessions[1], rows, exclude, states)
    assert not top_items.any()
    assert np.isnan(top_scores).all()
    np.testing.assert_array_equal(state_out, states)


def test_it_is_valid_and_the_original_is_left_as_it_was(original: onnx.ModelProto) -> None:
    before = original.SerializeToString(deterministic=True)
    variant = triton_graph(original)
    onnx.checker.check_model(variant, full_check=True)
    assert original.SerializeToString(deterministic=True) == before
    assert [value.name for value in variant.graph.input] == list(TRITON_INPUT_NAMES)
    assert [value.name for value in variant.graph.output] == [value.name for value in original.graph.output]
    assert variant.functions == original.functions


def test_no_shapes_that_depend_on_data(variant: onnx.ModelProto) -> None:
    """TensorRT takes it once the functions are removed. Ranges are of shapes."""
    nodes = variant.graph.node
    assert {node.op_type for node in nodes}.isdisjoint(
        {"Loop", "Scan", "If", "Compress", "NonZero", "Unique", "CumSum", "ScatterElements"}
    )
    makers = {output: node for node in nodes for output in node.output}
    ranges = [node for node in nodes if node.op_type == "Range"]
    assert len(ranges) == 3
    for node in ranges:
        squeeze = makers[node.input[1]]
        assert (squeeze.op_type, makers[squeeze.input[0]].op_type) == ("Squeeze", "Shape")


def test_only_real_rows_are_scored(variant: onnx.ModelProto) -> None:
    """Not those that take the padding."""
    inferred = onnx.shape_inference.infer_shapes(variant, data_prop=True)
    (scoring,) = [n for n in variant.graph.node if n.op_type == "Gemm" and n.input[1] == "model.embedding.weight"]
    (slicing,) = [n for n in variant.graph.node if scoring.input[0] in n.output]
    assert slicing.op_type == "Slice"
    (query,) = [value for value in inferred.graph.value_info if value.name == scoring.input[0]]
    assert query.type.tensor_type.shape.dim[1].dim_value == 12


def test_another_graph_is_refused(original: onnx.ModelProto, variant: onnx.ModelProto) -> None:
    with pytest.raises(ExportError, match="not a bundle's graph, its inputs and outputs are items, item_counts"):
        triton_graph(variant)

    without = onnx.ModelProto()
    without.CopyFrom(original)
    for node in without.graph.node:
        if node.op_type == "Gemm" and node.input[1] == "model.embedding.weight":
            node.op_type = "MatMul"
    with pytest.raises(ExportError, match="does not score by one product"):
        triton_graph(without)


@pytest.mark.parametrize("conv_width", [1, 2])
def test_other_settings(make_model: Callable[..., RecBLR], conv_width: int) -> None:
    model = make_model(layers=3, conv_width=conv_width, dim=5, n_items=7, initial_state=False)
    original = build_graph(model, 10, "sha256:0")
    states = np.random.default_rng(0).normal(0, 0.3, (3, model.config.state_size)).astype(np.float32)
    expected = _run_original(_session(original), [[1, 2], [], [7]], [[2], [], []], states)
    variant = _session(triton_graph(original))
    _assert_equal(_run_variant(variant, [[1, 2, 8], [0], [7]], [[2], [0], [0]], states), expected)
