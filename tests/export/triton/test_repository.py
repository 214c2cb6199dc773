"""Model repositories for Triton Inference Server: its own schema, and requests merged as it merges them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import BatchInput, ModelConfig

from recblr.errors import BundleError, ExportError, OutputError
from recblr.export.tensorrt.tensors import TensorSpec, graph_tensors
from recblr.export.triton.plan import TritonPlan
from recblr.export.triton.repository import write_repository
from recblr.runtime import load, open_bundle

Request: TypeAlias = dict[str, np.ndarray]


_DTYPES = {"TYPE_INT32": np.dtype(np.int32), "TYPE_FP32": np.dtype(np.float32)}


def _read_config(path: Path) -> ModelConfig:
    """A model's configuration, as Triton's own protobuf."""
    return text_format.Parse(path.read_text(), ModelConfig())


def _dtype_of(data_type: int) -> np.dtype:
    """NumPy's type for a configuration's."""
    name = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[data_type].name
    return _DTYPES[name]


class _SimulatedTriton:
    """The dynamic batcher and the ONNX Runtime backend, for the requests of one batch."""

    def __init__(self, folder: Path) -> None:
        """Open the model in `folder` with its config.pbtxt."""
        self.config = _read_config(folder / "config.pbtxt")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, requests: list[Request]) -> list[Request]:
        """Run the requests as one batch; each request's outputs, by name."""
        sizes = [self._check(request) for request in requests]
        assert sum(sizes) <= self.config.max_batch_size
        feed: Request = {}
        for tensor in self.config.input:
            arrays = [request[tensor.name] for request in requests]
            feed[tensor.name] = _concatenated(arrays) if tensor.allow_ragged_batch else np.concatenate(arrays)
        for batch_input in self.config.batch_input:
            (source,), (target,) = batch_input.source_input, batch_input.target_name
            feed[target] = self._batch_input(batch_input, [request[source].shape for request in requests])
        names = [output.name for output in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(names, feed), strict=True))
        splits = {name: np.split(array, np.cumsum(sizes)[:-1]) for name, array in outputs.items()}
        return [{name: parts[b] for name, parts in splits.items()} for b in range(len(requests))]

    def _check(self, request: Request) -> int:
        """Refuse what Triton's core refuses; the request's number of rows."""
        assert request.keys() == {tensor.name for tensor in self.config.input}
        for tensor in self.config.input:
            array = request[tensor.name]
            assert array.dtype == _dtype_of(tensor.data_type)
            assert array.ndim == 1 + len(tensor.dims)
            assert all(dim in (-1, size) for dim, size in zip(tensor.dims, array.shape[1:], strict=True))
        (rows,) = {array.shape[0] for array in request.values()}
        return rows

    @staticmethod
    def _batch_input(batch_input: BatchInput, shapes: list[tuple[int, ...]]) -> np.ndarray:
        """One entry per row and dimension but the first; requests of several rows repeat theirs."""
        assert batch_input.kind == BatchInput.Kind.Value("BATCH_ITEM_SHAPE_FLATTEN")
        values = [size for rows, *sizes in shapes for _ in range(rows) for size in sizes]
        return np.array(values, _dtype_of(batch_input.data_type))


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """Triton's copy of a ragged input: it ends at the first request without entries, and the rest is what was there."""
    buffer = np.full(sum(array.size for array in arrays), 123456789, arrays[0].dtype)
    start = 0
    for array in arrays:
        if array.size == 0:
            break
        buffer[start : start + array.size] = array.ravel()
        start += array.size
    return buffer


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the ONNX Runtime backend; not to be changed."""
    path = tmp_path_factory.mktemp("triton") / "models"
    write_repository(bundle, path)
    return path


@pytest.fixture(scope="module")
def triton(repository: Path) -> _SimulatedTriton:
    return _SimulatedTriton(repository / "recblr")


def _build_plan(graph: onnx.ModelProto, _model_path: Path, **changes: Any) -> TritonPlan:
    """Stands in for TensorRT."""
    plan = TritonPlan(
        plan=b"plan",
        tensors=graph_tensors(graph),
        max_rows=32,
        max_tokens=320,
        max_exclusions=640,
        tensorrt_version="10.13.3",
    )
    return replace(plan, **changes)


@pytest.fixture(scope="module")
def plan_repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("triton") / "models"
    write_repository(bundle, path, _build_plan)
    return path


def _request(rows: list[list[int]], states: np.ndarray, exclude: list[list[int]]) -> Request:
    return {
        "items": np.array(rows, np.int32),
        "exclude_items": np.array(exclude, np.int32),
        "state_in": np.asarray(states, np.float32),
    }


def _config_tensors(config: ModelConfig) -> set[TensorSpec]:
    """The tensors of the graph that a configuration is for."""
    specs = set()
    rows = () if config.max_batch_size == 0 else (-1,)
    for tensors, is_input in ((config.input, True), (config.output, False)):
        for tensor in tensors:
            shape = (-1,) if is_input and tensor.allow_ragged_batch else (*rows, *tensor.dims)
            specs.add(TensorSpec(tensor.name, _dtype_of(tensor.data_type).name, shape, is_input))
    for tensor in config.batch_input:
        for name in tensor.target_name:
            specs.add(TensorSpec(name, _dtype_of(tensor.data_type).name, (-1,), True))
    for state in config.sequence_batching.state:
        dtype = _dtype_of(state.data_type).name
        specs.add(TensorSpec(state.input_name, dtype, (*rows, *state.dims), True))
        specs.add(TensorSpec(state.output_name, dtype, (*rows, *state.dims), False))
    return specs


@pytest.mark.parametrize("config", ["config.pbtxt", "configs/implicit_state.pbtxt"])
@pytest.mark.parametrize("target", ["onnx", "tensorrt"])
def test_configurations_fit_the_graph(
    repository: Path, plan_repository: Path, triton: _SimulatedTriton, config: str, target: str
) -> None:
    """Both parse as Triton's protobuf; names, types and shapes are those that ONNX Runtime reads from the file."""
    root = repository if target == "onnx" else plan_repository
    parsed = _read_config(root / "recblr" / config)
    types = {"tensor(int32)": "int32", "tensor(float)": "float32"}
    expected = {
        TensorSpec(node.name, types[node.type], tuple(d if isinstance(d, int) else -1 for d in node.shape), is_input)
        for nodes, is_input in ((triton.session.get_inputs(), True), (triton.session.get_outputs(), False))
        for node in nodes
    }
    assert _config_tensors(parsed) == expected
    assert parsed.name == "recblr"
    assert (parsed.backend, parsed.max_batch_size) == (("onnxruntime", 64) if target == "onnx" else ("tensorrt", 32))
    assert [b.source_input[0] for b in parsed.batch_input] == ["items", "exclude_items"]


def test_files(repository: Path, plan_repository: Path, bundle: Path) -> None:
    files = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "recblr/config.pbtxt",
        "recblr/configs/implicit_state.pbtxt",
        "recblr/1/model.onnx",
        "recblr/items.json",
        "recblr/initial_state/state_in",
        "recblr/warmup/items",
        "recblr/warmup/state_in",
    }
    assert (plan_repository / "recblr/1/model.plan").read_bytes() == b"plan"
    assert (repository / "recblr/items.json").read_bytes() == (bundle / "items.json").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in repository.rglob("*") if path.is_dir()} == {0o755}


def test_initial_state(repository: Path, bundle: Path) -> None:
    config = _read_config(repository / "recblr/configs/implicit_state.pbtxt")
    (state,) = config.sequence_batching.state
    (initial,) = state.initial_state
    assert (initial.data_type, list(initial.dims)) == (state.data_type, list(state.dims))
    raw = (repository / "recblr/initial_state" / initial.data_file).read_bytes()
    expected = np.load(bundle / "initial_state.npy")
    assert expected.any()
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), expected)


@pytest.mark.parametrize("target", ["onnx", "tensorrt"])
def test_warm_up_requests(
    repository: Path, plan_repository: Path, triton: _SimulatedTriton, bundle: Path, target: str
) -> None:
    """Each has every input, in sizes that its files hold and the model takes, and its batch runs."""
    root = (repository if target == "onnx" else plan_repository) / "recblr"
    config = _read_config(root / "config.pbtxt")
    inputs = {tensor.name: tensor for tensor in config.input}
    assert [sample.batch_size for sample in config.model_warmup] == [1, config.max_batch_size]
    for sample in config.model_warmup:
        request: Request = {}
        assert sample.inputs.keys() == inputs.keys()
        for name, value in sample.inputs.items():
            assert value.data_type == inputs[name].data_type
            dtype = _dtype_of(value.data_type)
            if value.WhichOneof("input_data_type") == "zero_data":
                array = np.zeros(value.dims, dtype)
            else:
                array = np.fromfile(root / "warmup" / value.input_data_file, dtype).reshape(value.dims)
            request[name] = array[None]
        if target == "tensorrt":
            assert request["items"].size * sample.batch_size <= 320
        known = request["items"]
        assert ((known >= 1) & (known <= open_bundle(bundle).manifest.n_items)).all()
        answers = triton.infer([request] * sample.batch_size)
        assert all(np.isfinite(answer["top_scores"]).all() for answer in answers)


def test_merged_requests_are_answered_as_the_runtime_answers_them(triton: _SimulatedTriton, bundle: Path) -> None:
    """Requests of one and more rows, with histories and exclusions of several lengths, in one batch and alone."""
    engine = load(bundle, threads=1)
    ids = engine.bundle.item_ids()
    states = np.random.default_rng(0).normal(0, 0.3, (6, len(engine.bundle.initial_state))).astype(np.float32)
    requests = [
        _request([[5, 6, 7]], states[:1], [[5, 6, 7, 9]]),
        _request([[0]], states[1:2], [[0]]),
        _request([[1, 2], [3, 0], [0, 0]], states[2:5], [[4, 0], [0, 0], [60, 59]]),
        _request([[8] * 30], states[5:], [[0]]),
    ]
    merged = triton.infer(requests)
    for request, answer in zip(requests, merged, strict=True):
        (alone,) = triton.infer([request])
        for name, array in answer.items():
            np.testing.assert_allclose(array, alone[name], atol=1e-5, err_msg=name)
        rows = [[ids[j - 1] for j in row if j] for row in request["items"].tolist()]
        exclude = [[ids[j - 1] for j in row if j] for row in request["exclude_items"].tolist()]
        rankings, new_states = engine.step(request["state_in"], rows, k=20, exclude=exclude)
        np.testing.assert_allclose(answer["state_out"], new_states, atol=1e-5)
        for b, ranking in enumerate(rankings):
            count = len(ranking.items)
            assert [ids[j - 1] for j in answer["top_items"][b, :count]] == ranking.items
            np.testing.assert_allclose(answer["top_scores"][b, :count], ranking.scores, atol=1e-5)


def test_an_empty_list_cannot_mix_up_its_neighbours(triton: _SimulatedTriton, bundle: Path) -> None:
    """Triton would give the requests behind it what lay in memory."""
    states = np.stack([open_bundle(bundle).initial_state] * 3)
    requests = [_request([[5]], states[:1], [[0]]), _request([[]], states[1:2], [[0]])]
    requests.append(_request([[7, 8]], states[2:], [[0]]))
    for answer, state in zip(triton.infer(requests), states, strict=True):
        assert np.isnan(answer["top_scores"]).all()
        assert not answer["top_items"].any()
        np.testing.assert_array_equal(answer["state_out"][0], state)


class _Client:
    """tritonclient's, in front of the simulated server."""

    def __init__(self, server: _SimulatedTriton) -> None:
        self._server = server

    def infer(self, model: str, inputs: list[tritonclient.grpc.InferInput]) -> _Result:
        assert model == self._server.config.name
        dtypes = {"INT32": np.int32, "FP32": np.float32}
        request = {i.name(): np.frombuffer(i._get_content(), dtypes[i.datatype()]).reshape(i.shape()) for i in inputs}
        (answer,) = self._server.infer([request])
        return _Result(answer)


class _Result:
    def __init__(self, answer: Request) -> None:
        self._answer = answer

    def as_numpy(self, name: str) -> np.ndarray:
        return self._answer[name]


def test_the_client_of_the_readme(
    repository: Path, triton: _SimulatedTriton, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code runs as it stands there, and answers as the runtime does."""
    (code,) = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(repository)
    client: dict[str, Any] = {}
    exec(code, client)
    histories = [["item-1", "item-2", "no such item"], ["item-3"], []]
    states = np.stack([client["NEW_USER"]] * 3)
    rankings, new_states = client["recommend"](_Client(triton), histories, states, histories)

    expected, expected_states = load(bundle, threads=1).step(None, histories, k=10, exclude=histories)
    np.testing.assert_allclose(new_states, expected_states, atol=1e-5)
    for ranking, other in zip(rankings[:2], expected[:2], strict=True):
        assert [item_id for item_id, _ in ranking] == other.items
        np.testing.assert_allclose([score for _, score in ranking], other.scores, atol=1e-5)
    client["padded"] = lambda rows: np.empty((len(rows), 0), np.int32)
    with pytest.raises(RuntimeError, match="empty list"):
        client["recommend"](_Client(triton), [["item-1"]], states[:1], [[]])


def test_the_client_of_the_readme_takes_ids_of_both_types(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(shutil.copytree(repository, tmp_path / "models"))
    for ids in ([7, 25], ["7", "25"]):
        Path("recblr/items.json").write_text(json.dumps({"ids": ids}))
        client: dict[str, Any] = {}
        exec(code, client)
        assert client["padded"]([[25, "7", "007", 7.0, True], []]).tolist() == [[2, 1], [0, 0]]


def test_readmes(repository: Path, plan_repository: Path) -> None:
    onnx_text, plan_text = ((root / "README.md").read_text() for root in (repository, plan_repository))
    for text in (onnx_text, plan_text):
        assert re.search(r"docker run .*-v \"\$PWD:/models:ro\".*\n +nvcr.io/nvidia/tritonserver:", text)
        assert "no Triton server takes part" in text
        assert not re.search(r"\$\{?[a-z_]", text)
    assert "version-compatible=true" not in onnx_text
    assert "--backend-config=tensorrt,version-compatible=true" in plan_text
    assert "TensorRT 10.13.3" in plan_text
    assert "at most 10 items and 20 exclusions per" in plan_text


def test_a_repository_is_replaced_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "models"
    write_repository(bundle, path)
    assert _read_config(path / "recblr/config.pbtxt").dynamic_batching.max_queue_delay_microseconds == 500
    write_repository(bundle, path, _build_plan)
    assert _read_config(path / "recblr/config.pbtxt").max_batch_size == 32
    assert [file.name for file in (path / "recblr/1").iterdir()] == ["model.plan"]

    (path / "another_model").mkdir()
    with pytest.raises(OutputError, match="is not a model repository of recblr-export"):
        write_repository(bundle, path)
    assert (path / "another_model").is_dir()

    other = tmp_path / "other"
    (other / "recblr").mkdir(parents=True)
    (other / "recblr/config.pbtxt").write_text('name: "recblr"\n')
    with pytest.raises(OutputError, match="name another folder"):
        write_repository(bundle, other)
    with pytest.raises(OutputError, match="would destroy the input"):
        write_repository(bundle, bundle)
    assert open_bundle(bundle).manifest.n_items == 60


def test_a_failure_leaves_the_old_repository(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models"
    write_repository(bundle, path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def full(*_arguments: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        write_repository(bundle, path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 31}, "takes 32 rows, but 31 tokens"),
        ({"max_exclusions": 3}, "320 tokens and 3 exclusions"),
        ({"tensors": ()}, "the plan has None where the graph has"),
    ],
    ids=["tokens", "exclusions", "tensors"],
)
def test_a_plan_that_does_not_fit(bundle: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        write_repository(bundle, tmp_path / "models", lambda *of: _build_plan(*of, **changes))
    assert not list(tmp_path.iterdir())


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        write_repository(tmp_path, tmp_path / "models")
