"""The whole graph in ONNX Runtime against the model in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from recblr import config as config_module
from recblr.array_types import StatesArray
from recblr.checkpoint import Checkpoint
from recblr.errors import ConfigError, ExportError
from recblr.export.onnx import graph as graph_module
from recblr.export.onnx.graph import FINGERPRINT_KEY, LARGEST_MAX_K, build_graph
from recblr.model import RecBLR
from recblr.runtime import Backend
from recblr.runtime.backends.onnxruntime import NativeOpsError, OnnxRuntimeBackend, library_with_ops

NO_EXCLUSIONS = np.empty((0, 2), np.int32)


@pytest.fixture(scope="module")
def proto(bundle: Path) -> onnx.ModelProto:
    return onnx.load(bundle / "model.onnx")


@pytest.fixture(scope="module", params=[4, 1], ids="conv width {}".format)
def conv_width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def model(checkpoint_of: Callable[[int], Checkpoint], conv_width: int) -> RecBLR:
    return checkpoint_of(conv_width).model


@pytest.fixture(scope="module", params=["functions", "native"])
def backend(request: pytest.FixtureRequest, bundle_of: Callable[[int], Path], conv_width: int) -> Backend:
    """Of `model`."""
    try:
        library_with_ops("cpu")
    except NativeOpsError as error:
        if request.param == "native":
            pytest.skip(str(error))
    path = bundle_of(conv_width) / "model.onnx"
    backend = OnnxRuntimeBackend(path, threads=1, native_ops=request.param == "native")
    assert backend.ops == request.param
    return backend


def _histories(lengths: list[int], n_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    items = random.integers(1, n_items + 1, sum(lengths), dtype=np.int32)
    return items, np.cumsum([0, *lengths]).astype(np.int32)


def _states(model: RecBLR, n_rows: int) -> StatesArray:
    return model.initial_state().detach().repeat(n_rows, 1).numpy()


@torch.inference_mode()
def _check(
    model: RecBLR, backend: Backend, items: np.ndarray, offsets: np.ndarray, states: StatesArray, exclude: np.ndarray
) -> StatesArray:
    """Run and compare everything; return the new states."""
    top_items, top_scores, state_out = backend.run(items, offsets, states, exclude)
    queries, expected_states = model.query(*map(torch.from_numpy, (items, offsets, states)))
    scores = model.scores(queries).numpy()
    scores[exclude[:, 0], exclude[:, 1]] = -np.inf
    best = -np.sort(-scores, axis=1)[:, : top_items.shape[1]]

    assert top_items.dtype == np.int32
    assert state_out.shape == states.shape
    np.testing.assert_allclose(state_out, expected_states, atol=2e-5)
    np.testing.assert_allclose(top_scores, best, atol=2e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, top_items, axis=1), best, atol=2e-5)
    assert all(len(set(row)) == len(row) for row in top_items.tolist())
    return state_out


def test_inputs_and_outputs(proto: onnx.ModelProto) -> None:
    def declared(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[object]]]:
        return {
            value.name: (
                value.type.tensor_type.elem_type,
                [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            )
            for value in values
        }

    integer, floating, state_size = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT, 2 * 4 * 24 + 12
    assert declared(proto.graph.input) == {
        "items": (integer, ["tokens"]),
        "offsets": (integer, ["rows + 1"]),
        "state_in": (floating, ["rows", state_size]),
        "exclude": (integer, ["exclusions", 2]),
    }
    assert declared(proto.graph.output) == {
        "top_items": (integer, ["rows", 20]),
        "top_scores": (floating, ["rows", 20]),
        "state_out": (floating, ["rows", state_size]),
    }


def test_the_file_is_as_old_as_it_can_be(proto: onnx.ModelProto) -> None:
    """Local functions came with version 8 of the format, and the exporter starts from opset 18."""
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 8
    assert {opset.domain: opset.version for opset in proto.opset_import} == {"": 18, "recblr": 1}
    assert {opset.version for function in proto.functions for opset in function.opset_import if not opset.domain} == {
        18
    }


def test_custom_nodes_and_their_functions(proto: onnx.ModelProto) -> None:
    nodes = [node for node in proto.graph.node if node.domain == "recblr"]
    assert [node.op_type for node in nodes] == ["CausalConv1d", "GatedScan"] * 2
    assert [[(a.name, a.i) for a in node.attribute] for node in nodes] == [
        [],
        [("last_only", 0)],
        [],
        [("last_only", 1)],
    ]
    functions = [(function.domain, function.name) for function in proto.functions]
    assert {(node.domain, node.op_type) for node in nodes} <= set(functions)
    # Overloads would be shorter, but older ONNX Runtimes (1.23 too) ignore them and give wrong numbers.
    assert len(set(functions)) == len(functions)


def test_the_main_graph_has_no_shapes_that_depend_on_data(proto: onnx.ModelProto) -> None:
    """TensorRT takes it once the functions are removed."""
    assert {node.op_type for node in proto.graph.node}.isdisjoint(
        {"Loop", "Scan", "If", "Compress", "NonZero", "Unique", "Range", "ReduceMax"}
    )


def test_the_embedding_is_in_the_file_once(proto: onnx.ModelProto) -> None:
    (embedding,) = [i.name for i in proto.graph.initializer if list(i.dims) in ([61, 12], [12, 61])]
    users = sorted(node.op_type for node in proto.graph.node if embedding in node.input)
    assert users == ["Gather", "Gemm"]


def test_file_names_the_model_and_no_folder_of_this_machine(proto: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    assert {prop.key: prop.value for prop in proto.metadata_props} == {FINGERPRINT_KEY: checkpoint.fingerprint()}
    assert str(Path(graph_module.__file__).parent).encode() not in proto.SerializeToString()
    assert not any(node.metadata_props for node in proto.graph.node)


@pytest.mark.parametrize(
    "lengths",
    [[0], [1], [25], [0, 0, 0], [5, 0, 1, 30], [3] * 100, [200, 1, 0, 4]],
    ids=lambda lengths: f"{len(lengths)} rows of {min(lengths)} to {max(lengths)}",
)
def test_ragged_histories(model: RecBLR, backend: Backend, lengths: list[int]) -> None:
    items, offsets = _histories(lengths, 60)
    _check(model, backend, items, offsets, _states(model, len(lengths)), NO_EXCLUSIONS)


@pytest.mark.parametrize("seed", range(3))
def test_histories_in_pieces(model: RecBLR, backend: Backend, seed: int) -> None:
    """States that the graph gave lead on, through pieces of any length, to what the whole histories give."""
    random = np.random.default_rng(seed)
    rows = [random.integers(1, 61, length, dtype=np.int32) for length in (0, 1, 7, 60)]
    states = _states(model, len(rows))
    cuts = np.sort([random.integers(0, len(row) + 1, 3) for row in rows], axis=1)
    for piece in range(4):
        parts = [np.split(row, cut)[piece] for row, cut in zip(rows, cuts, strict=True)]
        offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
        states = _check(model, backend, np.concatenate(parts), offsets, states, NO_EXCLUSIONS)

    whole = torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.cumsum([0, *map(len, rows)]).astype(np.int32))
    with torch.inference_mode():
        np.testing.assert_allclose(states, model.query(*whole)[1], atol=2e-5)


def test_exclusions(model: RecBLR, backend: Backend) -> None:
    items, offsets = _histories([4, 0, 9], 60)
    exclude = np.array([[0, item] for item in range(1, 61) if item != 7] + [[2, 1], [2, 1], [2, 60]], np.int32)
    _check(model, backend, items, offsets, _states(model, 3), exclude)

    top_items, top_scores, _ = backend.run(items, offsets, _states(model, 3), exclude)
    assert top_items[0, 0] == 7
    assert np.isneginf(top_scores[0, 1:]).all()
    assert np.isfinite(top_scores[1:]).all()


def test_equal_scores_rank_by_item(model: RecBLR, backend: Backend) -> None:
    """A user of whom nothing is known scores 0 everywhere."""
    offsets = np.zeros(2, np.int32)
    top_items, top_scores, _ = backend.run(
        np.empty(0, np.int32), offsets, _states(model, 1), np.array([[0, 3]], np.int32)
    )
    assert top_items[0].tolist() == [1, 2, *range(4, 22)]
    assert not top_scores.any()


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": 1},
        {"layers": 3, "conv_width": 2, "expansion": 1.5},
        {"initial_state": False, "dim": 5, "conv_width": 6},
        {"n_items": 1, "conv_width": 1, "layers": 1},
    ],
    ids=str,
)
def test_other_settings(make_model: Callable[..., RecBLR], tmp_path: Path, settings: dict[str, object]) -> None:
    model = make_model(**settings)
    path = tmp_path / "model.onnx"
    onnx.save(build_graph(model, 10, "sha256:0"), path)
    items, offsets = _histories([12, 0, 1], model.config.n_items)
    _check(model, OnnxRuntimeBackend(path, 1), items, offsets, _states(model, 3), np.array([[2, 1]], np.int32))


@pytest.mark.parametrize("max_k", [0, -1, LARGEST_MAX_K + 1, 2.0, True])
def test_max_k_out_of_range(checkpoint: Checkpoint, max_k: int) -> None:
    with pytest.raises(ConfigError, match=f"max-k is {max_k}: give a whole number from 1 to 3840"):
        build_graph(checkpoint.model, max_k, "sha256:0")


def test_a_convolution_of_one_tap_is_no_node_and_nothing_is_empty(bundle_of: Callable[[int], Path]) -> None:
    """An engine need not take tensors of no elements, of which a state's tail would be one."""
    path = bundle_of(1) / "model.onnx"
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    assert [node.op_type for node in graph.node if node.domain == "recblr"] == ["GatedScan"] * 2
    values = [*graph.value_info, *graph.input, *graph.output]
    sizes = {dim.dim_value for value in values for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")}
    assert 0 not in sizes
    assert 24 in sizes
    assert all(tensor.dims[0] for tensor in graph.initializer if tensor.dims)


def test_layers_beyond_what_a_file_holds_are_refused(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "LARGEST_ONNX_FILE", 4 * checkpoint.model.config.layer_parameters - 1)
    with pytest.raises(ExportError, match="layers have 0.0 GiB of weights cannot be exported, an ONNX file holds 2"):
        build_graph(checkpoint.model, 10, "sha256:0")


def test_exporting_again_gives_the_same_graph_in_silence(
    checkpoint: Checkpoint, bundle: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """So that tests of what follows may share one graph."""
    capfd.readouterr()
    recwarn.clear()
    graph = build_graph(checkpoint.model, 20, checkpoint.fingerprint())
    assert capfd.readouterr() == ("", "")
    assert not [str(warning.message) for warning in recwarn]
    assert graph.SerializeToString(deterministic=True) == (bundle / "model.onnx").read_bytes()
