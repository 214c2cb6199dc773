"""Bundles: what is in them, that the runtime opens them, and that a failure leaves nothing behind."""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from recblr.checkpoint import Checkpoint, load_checkpoint
from recblr.errors import ConfigError, ExportError, OutputError
from recblr.export import bundle as bundle_writer
from recblr.export.bundle import export_bundle
from recblr.model import LAYER_NORM_EPSILON
from recblr.runtime import load, open_bundle
from recblr.runtime.bundle.manifest import file_entry
from recblr.runtime.bundle.weights import read_weight

pytestmark = pytest.mark.usefixtures("shared_graphs")


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_manifest_tells_where_each_parameter_is(checkpoint: Checkpoint, bundle: Path) -> None:
    opened = open_bundle(bundle)
    parameters = checkpoint.model.state_dict()
    assert opened.manifest.weights.keys() == parameters.keys() - {"initial_h"}  # which is in the initial state
    for name, place in opened.manifest.weights.items():
        expected = parameters[name].numpy()
        assert place["shape"] == list(expected.shape)
        np.testing.assert_array_equal(read_weight(bundle, place), expected)


def test_manifest(checkpoint: Checkpoint, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["format"] == "recblr-bundle"
    assert manifest["format_version"] == 2
    assert abs((datetime.now(UTC) - datetime.fromisoformat(manifest["created"])).total_seconds()) < 3600
    assert manifest["fingerprint"] == checkpoint.fingerprint()
    assert manifest["model"] == {**checkpoint.model.config.to_dict(), "norm_epsilon": LAYER_NORM_EPSILON}
    assert manifest["precision"] == "fp32"
    assert manifest["state_size"] == checkpoint.model.config.state_size
    assert (manifest["n_items"], manifest["max_k"]) == (60, 20)
    assert manifest["onnx"] == {"opset": onnx.load(bundle / "model.onnx").opset_import[0].version}
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["parity"]["top_k_agreement"] == 1
    assert manifest["metrics"] == checkpoint.metrics
    assert manifest["data"] == checkpoint.data
    body, ending = (bundle / "manifest.json").read_bytes().split(b'"checksum"')
    assert ending == b': "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


def test_files_and_their_hashes(checkpoint: Checkpoint, bundle: Path) -> None:
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    assert set(files) == {"model.onnx", "items.json", "initial_state.npy"}
    assert {*files, "manifest.json"} == {path.name for path in bundle.iterdir()}
    assert files == {name: file_entry(bundle / name) for name in files}
    assert json.loads((bundle / "items.json").read_text()) == checkpoint.vocabulary.to_json()
    initial_state = np.load(bundle / "initial_state.npy")
    assert initial_state.dtype == np.float32
    np.testing.assert_array_equal(initial_state, checkpoint.model.initial_state().detach())


def test_returns_the_manifest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    returned = export_bundle(checkpoint, tmp_path / "bundle", max_k=5)
    assert returned == vars(open_bundle(tmp_path / "bundle").manifest)


@torch.inference_mode()
def test_the_runtime_ranks_as_pytorch_does(checkpoint: Checkpoint, bundle: Path) -> None:
    random = np.random.default_rng(0)
    histories = [random.integers(1, 61, length) for length in (1, 5, 90)]
    ids = checkpoint.vocabulary.ids
    engine = load(bundle, threads=1)

    rankings = engine.recommend([[ids[j - 1] for j in history] for history in histories], k=10)
    _, states = engine.step(None, [[ids[j - 1] for j in history] for history in histories])

    for history, ranking, state in zip(histories, rankings, states, strict=True):
        query, new_state = checkpoint.model.query(torch.from_numpy(history), torch.tensor([0, len(history)]))
        scores = checkpoint.model.scores(query)[0]
        scores[history] = -torch.inf
        best = scores.topk(min(10, int(scores.isfinite().sum())))
        assert ranking.items == [ids[j - 1] for j in best.indices.tolist()]
        np.testing.assert_allclose(ranking.scores, best.values, atol=2e-5)
        np.testing.assert_allclose(state, new_state[0], atol=2e-5)


def test_a_bundle_is_opened_without_torch_and_onnx(bundle: Path) -> None:
    program = (
        "import sys; from recblr.runtime import load; "
        f"print(len(load({str(bundle)!r}, threads=1).recommend([['item-3']])[0].items), "
        "*{'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10"]


def test_max_k_beyond_the_catalogue_is_clipped(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert export_bundle(checkpoint, tmp_path / "bundle", max_k=100)["max_k"] == 60
    ranking = load(tmp_path / "bundle", threads=1).recommend([["item-0"]], k=60)[0]
    assert len(ranking.items) == 59


def test_an_existing_bundle_is_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    export_bundle(checkpoint, path, max_k=5)
    export_bundle(checkpoint, path, max_k=6)
    assert open_bundle(path).manifest.max_k == 6
    assert list(tmp_path.iterdir()) == [path]


def test_of_a_link_to_a_bundle_the_bundle_is_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    export_bundle(checkpoint, tmp_path / "real", max_k=5)
    (tmp_path / "link").symlink_to("real")
    export_bundle(checkpoint, tmp_path / "link", max_k=6)
    assert open_bundle(tmp_path / "real").manifest.max_k == 6
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}


def test_anything_else_is_left_alone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("more work")
    before = _tree(tmp_path)
    for name in ("folder", "file"):
        with pytest.raises(OutputError, match="is not a bundle"):
            export_bundle(checkpoint, tmp_path / name)
    assert _tree(tmp_path) == before


def _parity_fails(*_arguments: object) -> NoReturn:
    raise ExportError("differs")


def _disk_is_full(*_arguments: object, **_options: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _not_permitted(*_arguments: object, **_options: object) -> NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _interrupted(*_arguments: object) -> NoReturn:
    raise KeyboardInterrupt


def _graph_is_invalid(*_arguments: object, **_options: object) -> NoReturn:
    raise onnx.checker.ValidationError("no such operator\nand so on")


FAILURES: dict[str, tuple[Any, str, Any, type[Exception], str]] = {
    "parity": (bundle_writer, "check_parity", _parity_fails, ExportError, "differs"),
    "check": (onnx.checker, "check_model", _graph_is_invalid, ExportError, r"not valid ONNX \(no such operator\)"),
    "full disk, graph": (Path, "write_bytes", _disk_is_full, OutputError, "No space left on device; free some space"),
    "full disk, items": (bundle_writer, "write_text", _disk_is_full, OutputError, "No space left"),
    "full disk, state": (bundle_writer.np, "save", _disk_is_full, OutputError, "No space left"),
    "full disk, rename": (Path, "rename", _disk_is_full, OutputError, "No space left"),
    "no permission": (tempfile, "mkdtemp", _not_permitted, OutputError, "choose a place you may write to"),
    "interrupt": (bundle_writer, "write_manifest", _interrupted, KeyboardInterrupt, "^$"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "replacing"])
def test_a_failure_leaves_everything_as_it_was(
    checkpoint: Checkpoint, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, existing: bool
) -> None:
    path = tmp_path / "bundle"
    if existing:
        path.mkdir()
        for file in bundle.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
    # The graph is that of the other bundle; what is tested here comes after it.
    monkeypatch.setattr(bundle_writer, "build_graph", lambda *_: onnx.load(bundle / "model.onnx"))
    before = _tree(tmp_path)
    owner, name, replacement, error, message = FAILURES[failure]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, replacement)
        with pytest.raises(error, match=message):
            export_bundle(checkpoint, path, max_k=20)
    assert _tree(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == (["bundle"] if existing else [])


def test_missing_parent_folder(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="create its folder first"):
        export_bundle(checkpoint, tmp_path / "nowhere" / "bundle")


@pytest.mark.usefixtures("bound_by_permissions")
def test_no_write_permission(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="choose a place you may write to"):
            export_bundle(checkpoint, tmp_path / "bundle")
    finally:
        tmp_path.chmod(0o700)


def test_max_k_out_of_range_leaves_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max-k is 0"):
        export_bundle(checkpoint, tmp_path / "bundle", max_k=0)
    assert not list(tmp_path.iterdir())


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["bare", "Lightning", "safetensors"])
def test_made_up_checkpoint(authors_state_dict: dict[str, torch.Tensor], kind: str, tmp_path: Path) -> None:
    """50 items of history leave a padding of 14, so new users have a state that is not zero."""
    prefixed = {f"model._orig_mod.{name}": weight for name, weight in authors_state_dict.items()}
    if kind == "safetensors":
        save_file(prefixed, tmp_path / "authors.pth", {"history_length": "50"})
    elif kind == "Lightning":
        hyper_parameters = argparse.Namespace(MAX_ITEM_LIST_LENGTH=50)
        torch.save({"state_dict": prefixed, "hyper_parameters": hyper_parameters}, tmp_path / "authors.pth")
    else:
        torch.save(authors_state_dict, tmp_path / "authors.pth")
    checkpoint = load_checkpoint(tmp_path / "authors.pth", history_length=50 if kind == "bare" else None)
    export_bundle(checkpoint, tmp_path / "bundle")
    history = [3, 40, 3, 1, 17]

    ranking = load(tmp_path / "bundle", threads=1).recommend([history], k=40, exclude_seen=False)[0]

    query, _ = checkpoint.model.query(torch.tensor(history), torch.tensor([0, len(history)]))
    best = checkpoint.model.scores(query)[0].topk(40)
    assert np.load(tmp_path / "bundle" / "initial_state.npy").any()
    assert ranking.items == best.indices.tolist()  # item ids are the embedding's row numbers
    np.testing.assert_allclose(ranking.scores, best.values, atol=1e-4)


@pytest.mark.parametrize("case", ["beauty_like", "ml_like"])
def test_equals_the_reference_implementation(reference_outputs: Path, tmp_path: Path, case: str) -> None:
    settings = json.loads((reference_outputs / f"{case}.json").read_text())
    expected = np.load(reference_outputs / f"{case}.npz")
    checkpoint = load_checkpoint(reference_outputs / f"{case}.pt", history_length=settings["MAX_ITEM_LIST_LENGTH"])
    export_bundle(checkpoint, tmp_path / "bundle")
    histories = [
        row[:length].tolist() for row, length in zip(expected["item_id_list"], expected["item_length"], strict=True)
    ]

    rankings, states = load(tmp_path / "bundle", threads=1).step(None, histories, k=10)

    np.testing.assert_allclose(states[:, -settings["hidden_size"] :], expected["query"], atol=1e-4)
    np.testing.assert_array_equal([ranking.items for ranking in rankings], expected["top10_items"])
    np.testing.assert_allclose([ranking.scores for ranking in rankings], expected["top10_scores"], atol=1e-4)
