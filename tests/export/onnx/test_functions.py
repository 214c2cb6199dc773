"""The local functions, run by ONNX Runtime, against the reference operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from recblr.export.onnx.functions import IR_VERSION, OPSET, local_functions
from recblr.ops.reference import causal_conv1d_ref, gated_scan_ref

WIDTH = 6
BATCHES = {
    "one empty row": [0],
    "empty rows only": [0, 0, 0],
    "one item": [1],
    "one item each": [1] * 40,
    "short": [3, 0, 16, 1, 0],
    "trailing empty rows": [4, 0, 0],
    "leading empty rows": [0, 0, 30, 2],
    "dense": [40] * 25,
    "one long row": [400],
    "skewed": [300, 1, 0, 7, 17, 16, 0],
    "many rows": [n % 23 for n in range(300)],
}

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def _read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Names that nodes read, in graphs within them, too."""
    inner = [attribute.g for node in nodes for attribute in node.attribute]
    return {name for node in nodes for name in node.input}.union(
        *({output.name for output in graph.output} | _read(graph.node) for graph in inner)
    )


def _called(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    inner = [attribute.g.node for node in nodes for attribute in node.attribute]
    return {node.op_type for node in nodes if node.domain == "recblr"}.union(*map(_called, inner))


def test_functions_stand_before_their_callers() -> None:
    """ONNX's reference implementation reads them one after the other."""
    known: set[str] = set()
    for function in local_functions():
        assert _called(function.node) <= known
        known.add(function.name)


def test_every_value_in_them_is_used() -> None:
    """ONNX Runtime 1.16 to 1.18 computes wrong numbers around one that is not."""
    for function in local_functions():
        made = {output for node in function.node for output in node.output}
        assert made - _read(function.node) <= set(function.output), function.name


def _session(node: onnx.NodeProto, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> Run:
    def declare(shapes: dict[str, list[Any]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.INT32 if name == "offsets" else TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    model = helper.make_model(
        helper.make_graph([node], "test", declare(inputs), declare(outputs)),
        functions=local_functions(),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("recblr", 1)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=[1, 2, 4])
def conv(request: pytest.FixtureRequest) -> tuple[int, Run]:
    """The convolution's width K, and the function."""
    taps = request.param
    node = helper.make_node(
        "CausalConv1d", ["x", "weight", "bias", "offsets", "tail"], ["y", "new_tail"], domain="recblr"
    )
    tail = ["B", taps - 1, WIDTH]
    inputs = {"x": ["N", WIDTH], "weight": [WIDTH, taps], "bias": [WIDTH], "offsets": ["B1"], "tail": tail}
    return taps, _session(node, inputs, {"y": ["N", WIDTH], "new_tail": tail})


def _scan(last_only: bool) -> Run:
    names = ["x", "gates", "z", "decay", "offsets", "h0"]
    node = helper.make_node("GatedScan", names, ["y", "last_h"], domain="recblr", last_only=int(last_only))
    shapes = [["N", WIDTH], ["N", 2 * WIDTH], ["Z", WIDTH], [WIDTH], ["B1"], ["B", WIDTH]]
    inputs = dict(zip(names, shapes, strict=True))
    return _session(node, inputs, {"y": ["Z", WIDTH], "last_h": ["B", WIDTH]})


@pytest.fixture(scope="module")
def scan() -> Run:
    return _scan(last_only=False)


@pytest.fixture(scope="module")
def last_scan() -> Run:
    return _scan(last_only=True)


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32)


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths]).astype(np.int32)


def _scan_inputs(lengths: list[int], last_only: bool, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    n_tokens, n_rows = sum(lengths), len(lengths)
    return {
        "x": _normal(random, n_tokens, WIDTH),
        "gates": 2 * _normal(random, n_tokens, 2 * WIDTH),
        "z": _normal(random, n_rows if last_only else n_tokens, WIDTH),
        "decay": np.linspace(-7, 2, WIDTH, dtype=np.float32),
        "offsets": _offsets(lengths),
        "h0": _normal(random, n_rows, WIDTH),
    }


def _exact_scan(feeds: dict[str, np.ndarray], last_only: bool) -> list[np.ndarray]:
    tensors = [torch.from_numpy(feed) for feed in feeds.values()]
    exact = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
    return [output.numpy() for output in gated_scan_ref(*exact, last_only)]


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_convolution_equals_the_reference(conv: tuple[int, Run], lengths: list[int]) -> None:
    taps, run = conv
    random = np.random.default_rng(len(lengths))
    feeds = {
        "x": _normal(random, sum(lengths), WIDTH),
        "weight": _normal(random, WIDTH, taps),
        "bias": _normal(random, WIDTH),
        "offsets": _offsets(lengths),
        "tail": _normal(random, len(lengths), taps - 1, WIDTH),
    }
    y, new_tail = causal_conv1d_ref(*map(torch.from_numpy, feeds.values()))

    got_y, got_tail = run(feeds)

    np.testing.assert_allclose(got_y, y, atol=1e-5)
    np.testing.assert_array_equal(got_tail, new_tail)


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_scan_equals_the_reference(scan: Run, lengths: list[int]) -> None:
    feeds = _scan_inputs(lengths, last_only=False)
    for got, expected in zip(scan(feeds), _exact_scan(feeds, last_only=False), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
def test_scan_of_the_last_position_equals_the_reference(last_scan: Run, lengths: list[int]) -> None:
    feeds = _scan_inputs(lengths, last_only=True)
    for got, expected in zip(last_scan(feeds), _exact_scan(feeds, last_only=True), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("gate", [-100, -30, -18, -12, -4, 0, 4, 100])
@pytest.mark.parametrize("decay", [-20, -9, 0, 9, 200])
def test_alpha_near_one_and_near_zero(last_scan: Run, gate: float, decay: float) -> None:
    """From alpha = 1 - 1e-13 to alpha = exp(-200): beta to 1e-5 of its value, and nothing overflows."""
    feeds = _scan_inputs([1], last_only=True)
    feeds |= {
        "x": np.ones((1, WIDTH), np.float32),
        "gates": np.repeat([[gate, 3]], WIDTH, axis=1).reshape(1, -1).astype(np.float32),
        "decay": np.full(WIDTH, decay, np.float32),
        "h0": np.zeros((1, WIDTH), np.float32),
    }
    beta = last_scan(feeds)[1]
    np.testing.assert_allclose(beta, _exact_scan(feeds, last_only=True)[1], rtol=1e-5)


def test_a_row_does_not_depend_on_the_others(scan: Run) -> None:
    """The same row alone (chunked), among equals (padded), and beside short ones (chunked) gives the same."""
    alone = _scan_inputs([90], last_only=False)
    expected = _exact_scan(alone, last_only=False)[0]
    for others in ([], [90] * 30, [2] * 10):
        batch = _scan_inputs([90, *others], last_only=False, seed=1)
        for name in ("x", "gates", "z", "h0"):
            batch[name][: len(alone[name])] = alone[name]
        np.testing.assert_allclose(scan(batch)[0][:90], expected, atol=1e-5)
