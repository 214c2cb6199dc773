"""Models too large for one ONNX file, by a small one for which the limit is lowered: the same answers everywhere."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from recblr.checkpoint import Checkpoint
from recblr.data import Sequences, Targets
from recblr.errors import BundleError
from recblr.export import cli
from recblr.export.bundle import export_bundle
from recblr.export.checks.kernels import NativeKernels
from recblr.export.checks.precision_loss import emulated_loss
from recblr.export.onnx import graph as graph_module
from recblr.export.onnx.graph import build_graph
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.export.tensorrt.writer import write_plan
from recblr.export.triton.plan import triton_plan_builder
from recblr.export.triton.repository import write_repository
from recblr.runtime import Backend, load, open_bundle
from recblr.runtime.backends.onnxruntime import NativeOpsError, OnnxRuntimeBackend, library_with_ops
from recblr.runtime.bundle.manifest import file_entry
from recblr.runtime.bundle.plan_section import PRECISIONS, Precision


@pytest.fixture(scope="module", autouse=True)
def lowered() -> Iterator[None]:
    """All weights of the model of these tests are more than a file holds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(graph_module, "LARGEST_ONNX_FILE", 1000)
        yield


@pytest.fixture(scope="module")
def large(checkpoint: Checkpoint, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `bundle`'s model, with its embedding beside the graph; not to be changed."""
    path = tmp_path_factory.mktemp("large") / "bundle"
    export_bundle(checkpoint, path, max_k=20)
    return path


def _batch(state_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    offsets = np.cumsum([0, 40, 0, 1, 7], dtype=np.int32)
    states = random.normal(0, 0.3, (4, state_size)).astype(np.float32)
    return random.integers(1, 61, 48, dtype=np.int32), offsets, states, np.array([[0, 5], [3, 60]], np.int32)


def _backend(path: Path, way: str, ranking: bool) -> Backend:
    bundle = open_bundle(path)
    if way == "kernels":
        return NativeKernels(bundle)
    if way == "native":
        try:
            library_with_ops("cpu")
        except NativeOpsError as error:
            pytest.skip(str(error))
    return OnnxRuntimeBackend(bundle.model_path, 1, native_ops=way == "native", ranking=ranking)


def test_the_embedding_lies_in_a_file_of_its_own(checkpoint: Checkpoint, bundle: Path, large: Path) -> None:
    embedding = checkpoint.model.embedding.weight.detach().numpy()
    assert (large / "model.onnx.data").read_bytes() == embedding.astype("<f4").tobytes()
    manifest = json.loads((large / "manifest.json").read_text())
    assert {*manifest["files"], "manifest.json"} == {path.name for path in large.iterdir()}
    assert manifest["files"]["model.onnx.data"] == file_entry(large / "model.onnx.data")
    weights = json.loads((bundle / "manifest.json").read_text())["weights"]
    assert weights.keys() == manifest["weights"].keys()
    assert {place["file"] for place in weights.values()} == {"model.onnx"}
    assert weights["embedding.weight"] | {"file": "model.onnx.data", "offset": 0} == manifest["weights"].pop(
        "embedding.weight"
    )
    assert {place["file"] for place in manifest["weights"].values()} == {"model.onnx"}
    onnx.checker.check_model(large / "model.onnx", full_check=True)


def test_but_for_that_the_graph_is_the_same(bundle: Path, large: Path) -> None:
    whole, apart = onnx.load(bundle / "model.onnx"), onnx.load(large / "model.onnx")
    for tensor in apart.graph.initializer:
        tensor.ClearField("data_location")
    assert apart == whole


def test_a_model_that_one_file_holds_has_one(
    checkpoint: Checkpoint, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(weight.nbytes for weight in checkpoint.model.parameters())
    monkeypatch.setattr(graph_module, "LARGEST_ONNX_FILE", size)
    graph = build_graph(checkpoint.model, 20, checkpoint.fingerprint())
    assert graph.SerializeToString(deterministic=True) == (bundle / "model.onnx").read_bytes()


@pytest.mark.parametrize("ranking", [True, False], ids=["ranking", "states alone"])
@pytest.mark.parametrize("way", ["functions", "native", "kernels"])
def test_the_same_answers_bit_for_bit(bundle: Path, large: Path, way: str, ranking: bool) -> None:
    batch = _batch(len(np.load(bundle / "initial_state.npy")))
    backends = [_backend(path, way, ranking) for path in (bundle, large)]
    whole, apart = (backend.run(*batch, backend.max_k if ranking else 0) for backend in backends)
    assert [a.tobytes() for a in apart] == [w.tobytes() for w in whole]


def test_an_engine_and_its_catalogue(bundle: Path, large: Path) -> None:
    answers = []
    for path in (bundle, large):
        engine = load(path, threads=1)
        ranking = engine.recommend([["item-3", "item-9"]], k=60)[0]  # more than the graph gives
        answers.append((engine.description, ranking.items, ranking.scores.tobytes()))
    assert answers[0] == answers[1]


def test_verify(large: Path) -> None:
    result = CliRunner().invoke(cli.main, ["--verify", str(large)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{large}: every file is as its manifest says")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt(bundle: Path, large: Path, plugin_library: Path, tmp_path: Path, precision: Precision) -> None:
    """Its parser finds the embedding; but for how long it took, it says the same of both plans."""
    settings = PlanSettings(target="tensorrt-rtx", precision=precision)
    sections = []
    for path in (bundle, large):
        copied = Path(shutil.copytree(path, tmp_path / path.parent.name))
        section = write_plan(copied, 20, PlanBuilder(settings))
        assert (copied / section.file).stat().st_size > 10_000
        sections.append(dataclasses.replace(section, build_seconds=0))
    assert sections[0] == sections[1]
    assert (sections[1].weight_bytes or 0) > 61 * 12 * 4


def test_what_a_precision_costs(bundle: Path, large: Path, tmp_path: Path) -> None:
    targets = Targets(np.arange(1), Sequences(np.array([1, 2], np.int32), np.array([0, 2])), np.array([4], np.int32))
    reports = []
    for path in (bundle, large):
        copied = Path(shutil.copytree(path, tmp_path / path.parent.name))
        reports.append(emulated_loss(open_bundle(copied), "bf16", targets))
        assert {file.name for file in copied.iterdir()} == {file.name for file in path.iterdir()}
    assert reports[0] == reports[1]


def test_triton(bundle: Path, large: Path, tmp_path: Path) -> None:
    """By path, as Triton opens it; onnx refuses links to data, so that it is a file of its own."""
    answers = []
    for path in (bundle, large):
        write_repository(path, tmp_path / "models")
        folder = tmp_path / "models" / "recblr" / "1"
        assert (folder / "model.onnx.data").exists() == (path == large)
        onnx.checker.check_model(folder / "model.onnx", full_check=True)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        items, offsets, states, _ = _batch(len(np.load(path / "initial_state.npy")))
        counts = np.maximum(np.diff(offsets), 1).astype(np.int32)
        feed = {
            "items": np.insert(items, 40, 0),
            "item_counts": counts,
            "exclude_items": np.array([5, 0, 0, 60], np.int32),
            "exclude_counts": np.ones(4, np.int32),
            "state_in": states,
        }
        answers.append([output.tobytes() for output in session.run(None, feed)])
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("plugin_library")
def test_triton_with_a_plan(large: Path, tmp_path: Path) -> None:

    write_repository(large, tmp_path / "models", triton_plan_builder(PlanBuilder(PlanSettings(target="tensorrt-rtx"))))
    assert {path.name for path in (tmp_path / "models/recblr/1").iterdir()} == {"model.plan"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "model.onnx.data is missing"),
        ("truncated", "model.onnx.data has 2,927 bytes, its manifest says 2,928"),
        ("altered", "model.onnx.data was altered, its sha256"),
    ],
)
def test_a_damaged_data_file_is_named(large: Path, tmp_path: Path, damage: str, reason: str) -> None:
    copied = Path(shutil.copytree(large, tmp_path / "copied"))
    path = copied / "model.onnx.data"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "truncated" else b"\1" + content[1:])
    with pytest.raises(BundleError, match=f"{reason}.*: copy the bundle again"):
        load(copied)
