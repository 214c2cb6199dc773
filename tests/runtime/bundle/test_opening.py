"""Bundles are verified before use, and every mismatch is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.errors import BundleError
from recblr.runtime import is_bundle, load, open_bundle
from recblr.runtime.bundle.manifest import file_entry, write_manifest


def _replace(folder: Path, rewrite_manifest: Callable[..., None], name: str, write: Callable[[Path], None]) -> None:
    """Write another file in the place of one, with its hash in the manifest."""
    write(folder / name)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    rewrite_manifest(folder, files={**files, name: file_entry(folder / name)})


def test_an_intact_bundle(toy: Any) -> None:
    bundle = open_bundle(toy.path)
    assert bundle.path == toy.path
    assert bundle.manifest.state_size == 5
    assert bundle.manifest.dim == 4
    assert bundle.item_ids() == toy.ids
    assert bundle.initial_state.tolist() == [0] * 5
    assert not bundle.initial_state.flags.writeable
    assert is_bundle(toy.path)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "items.json"])
def test_a_file_of_the_bundle_stands_for_it(toy: Any, name: str) -> None:
    assert open_bundle(str(toy.path / name)).path == toy.path


def test_another_file_in_the_folder_does_not(new_toy: Any) -> None:
    other = new_toy.path / "other.onnx"
    other.write_bytes(b"")
    with pytest.raises(BundleError, match=r"other\.onnx is not one of the files of the bundle beside it"):
        open_bundle(other)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere does not exist"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is no bundle, it holds no manifest.json"):
        open_bundle(tmp_path)
    lone = tmp_path / "model.onnx"
    lone.write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx is no bundle, nor a file of one"):
        open_bundle(lone)
    assert not is_bundle(tmp_path)
    assert not is_bundle(lone)


@pytest.mark.parametrize("name", ["model.onnx", "items.json", "initial_state.npy"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "longer"])
def test_a_damaged_file_is_named(new_toy: Any, name: str, damage: str) -> None:
    path = new_toy.path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
        reason = "is missing"
    elif damage == "truncated":
        path.write_bytes(content[:-1])
        reason = rf"has {len(content) - 1:,} bytes, its manifest says {len(content):,}"
    elif damage == "altered":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        reason = "was altered, its sha256"
    else:
        path.write_bytes(content + b"\0")
        reason = "has .* bytes, its manifest says"
    with pytest.raises(BundleError, match=rf"{name} {reason}.*: copy the bundle again") as caught:
        load(new_toy.path)
    assert "\n" not in str(caught.value)


def test_an_altered_manifest(new_toy: Any) -> None:
    path = new_toy.path / "manifest.json"
    path.write_text(path.read_text().replace('"max_k": 8', '"max_k": 9'))
    with pytest.raises(BundleError, match="manifest.json was altered, its checksum does not match"):
        open_bundle(new_toy.path)
    assert is_bundle(new_toy.path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json(new_toy: Any, content: bytes) -> None:
    (new_toy.path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest.json is damaged, it holds no JSON"):
        open_bundle(new_toy.path)
    assert not is_bundle(new_toy.path)


@pytest.mark.parametrize("content", [[], None, {"format": "other"}])
def test_json_that_is_no_manifest(new_toy: Any, content: object) -> None:
    (new_toy.path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is not a bundle's manifest"):
        open_bundle(new_toy.path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 3}, "format version 3, this recblr reads 2: upgrade recblr"),
        ({"format_version": 1}, "format version 1, this recblr reads 2: export it again"),
        ({"format_version": "2"}, "format_version is '2', not a number"),
        ({"max_k": None}, "max_k is missing or malformed"),
        ({"max_k": True}, "max_k is missing or malformed"),
        ({"state_size": 0}, "state_size is missing or malformed"),
        ({"fingerprint": 1}, "fingerprint is missing or malformed"),
        ({"files": []}, "files is missing or malformed"),
        ({"model": {}}, "model dim is None"),
        ({"model": {"dim": 6}}, "model dim is 6 with state_size 5"),
        ({"files": {}}, "does not list initial_state.npy, items.json, model.onnx"),
        ({"model": {"dim": 4}}, r"model norm_epsilon is missing or malformed \(None\)"),
        ({"model": {"dim": 4, "norm_epsilon": 0.0}}, r"model norm_epsilon is missing or malformed \(0\.0\)"),
        ({"weights": {}}, "embedding.weight has shape None, not that of 9 items x 4"),
        ({"n_items": 10}, r"embedding.weight has shape \[10, 4\], not that of 10 items x 4"),
        ({"state_size": 6}, r"initial_state.npy is float32 \(5,\), not float32 \(6,\)"),
    ],
)
def test_a_manifest_that_does_not_fit(
    new_toy: Any, rewrite_manifest: Callable[..., None], changes: dict[str, object], reason: str
) -> None:
    rewrite_manifest(new_toy.path, **changes)
    with pytest.raises(BundleError, match=reason):
        open_bundle(new_toy.path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\0b"])
def test_a_manifest_never_reaches_outside_its_folder(
    new_toy: Any, rewrite_manifest: Callable[..., None], name: str
) -> None:
    files = json.loads((new_toy.path / "manifest.json").read_text())["files"]
    rewrite_manifest(new_toy.path, files={**files, name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleError, match="is not a plain file name"):
        open_bundle(new_toy.path)


@pytest.mark.parametrize("entry", [None, {}, {"sha256": "zz", "bytes": 1}, {"sha256": "0" * 64}])
def test_a_file_without_hash(new_toy: Any, rewrite_manifest: Callable[..., None], entry: object) -> None:
    files = json.loads((new_toy.path / "manifest.json").read_text())["files"]
    rewrite_manifest(new_toy.path, files={**files, "model.onnx": entry})
    with pytest.raises(BundleError, match=r"no sha256 and size of model\.onnx"):
        open_bundle(new_toy.path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("items.json", b"{}", "items.json: no item vocabulary"),
        ("items.json", b"{", "items.json is damaged"),
        ("initial_state.npy", b"", "is no NumPy array"),
        ("initial_state.npy", b"\x80\x04N.", "is no NumPy array"),  # a pickle
        ("model.onnx", b"", "embedding.weight .* is not within model.onnx"),
        ("model.onnx", b"\x00\x01garbage" * 200, "model.onnx is damaged, no field"),
        ("model.onnx", b"\x08\x08" * 1000, "cannot load .*model.onnx"),
    ],
)
def test_hashes_alone_make_no_bundle(
    new_toy: Any, rewrite_manifest: Callable[..., None], name: str, content: bytes, reason: str
) -> None:
    _replace(new_toy.path, rewrite_manifest, name, lambda path: path.write_bytes(content))
    with pytest.raises(BundleError, match=reason) as caught:
        load(new_toy.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (np.zeros(5), r"float64 \(5,\)"),
        (np.array([np.nan, 0, 0, 0, 0], np.float32), "not finite"),
        (np.array([0, 0, 0, 0, 1], np.float32), "ends in a query vector that is not zero"),
    ],
)
def test_an_initial_state_that_is_none(
    new_toy: Any, rewrite_manifest: Callable[..., None], state: np.ndarray, reason: str
) -> None:
    _replace(new_toy.path, rewrite_manifest, "initial_state.npy", lambda path: np.save(path, state))
    with pytest.raises(BundleError, match=reason):
        open_bundle(new_toy.path)


def test_a_graph_with_other_inputs(new_toy: Any, rewrite_manifest: Callable[..., None]) -> None:
    onnx = pytest.importorskip("onnx")

    def rename(path: Path) -> None:
        model = onnx.load(path)
        model.graph.output[0].name = "raw"
        model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.FLOAT, ["B", 10]))
        onnx.save(model, path)

    _replace(new_toy.path, rewrite_manifest, "model.onnx", rename)
    with pytest.raises(BundleError, match=r"model\.onnx has .*'raw'.*: export the bundle again"):
        load(new_toy.path)


def test_a_moved_bundle_is_still_one(new_toy: Any, tmp_path: Path) -> None:
    shutil.move(new_toy.path, tmp_path / "elsewhere")
    assert open_bundle(tmp_path / "elsewhere").item_ids() == new_toy.ids


def test_manifests_are_written_whole_or_not_at_all(new_toy: Any) -> None:
    manifest = open_bundle(new_toy.path).manifest
    before = (new_toy.path / "manifest.json").read_bytes()
    for broken in (
        replace(manifest, metrics={"loss": float("nan")}),
        replace(manifest, data={"path": Path("x")}),
        replace(manifest, max_k=0),
    ):
        with pytest.raises(BundleError):
            write_manifest(new_toy.path, broken)
    assert (new_toy.path / "manifest.json").read_bytes() == before
    write_manifest(new_toy.path, replace(manifest, parity={"layers": {1: 0.5, 10: 0.25}}))
    assert open_bundle(new_toy.path).manifest.parity == {"layers": {"1": 0.5, "10": 0.25}}
    assert os.listdir(new_toy.path).count("manifest.json") == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "the weight x has no shape, or is not float32"),
        ({"dtype": "float16"}, "the weight x has no shape, or is not float32"),
        ({"shape": 3}, "the weight x has no shape, or is not float32"),
        ({"shape": [3, -1]}, "the weight x has no shape, or is not float32"),
        ({"shape": [0]}, "the weight x has no shape, or is not float32"),
        ({"shape": [1] * 9}, "the weight x has no shape, or is not float32"),
        ({"file": None}, "the weight x is in the file None, which is not listed"),
        ({"file": "../model.onnx"}, "the weight x is in the file '../model.onnx', which is not listed"),
        ({"offset": -1}, r"the weight x of shape \[3\] at byte -1 is not within items\.json"),
        ({"offset": True}, r"the weight x of shape \[3\] at byte True is not within items\.json"),
        ({"offset": 10**9}, r"the weight x of shape \[3\] at byte 1000000000 is not within items\.json"),
        ({"shape": [10**30] * 8}, "the weight x has no shape, or is not float32"),
        ({"shape": [2**20] * 2}, "is not within items.json"),
        ({"zeros": False, "offset": None}, "at byte None is not within items.json"),
    ],
    ids=str,
)
def test_weights_that_are_in_no_file(
    new_toy: Any, rewrite_manifest: Callable[..., None], change: dict[str, object] | None, reason: str
) -> None:
    weights = json.loads((new_toy.path / "manifest.json").read_text())["weights"]
    place = {"file": "items.json", "offset": 0, "shape": [3], "dtype": "float32"}
    rewrite_manifest(new_toy.path, weights={**weights, "x": None if change is None else {**place, **change}})
    with pytest.raises(BundleError, match=f"{reason}.*: copy the bundle again"):
        open_bundle(new_toy.path)


def test_what_happens_to_the_files_later_changes_nothing(new_toy: Any) -> None:
    engine = load(new_toy.path)
    expected = engine.recommend([[10, 20]], k=5, only=new_toy.ids)[0].scores.tolist()
    for name in ("model.onnx", "items.json", "initial_state.npy"):
        (new_toy.path / name).write_bytes(bytes((new_toy.path / name).stat().st_size))
    shutil.rmtree(new_toy.path)
    assert engine.recommend([[10, 20]], k=5, only=new_toy.ids)[0].scores.tolist() == expected


def test_a_files_entry(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_entry(tmp_path / "abc") == {
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "bytes": 3,
    }


def test_a_path_with_a_nul_character_is_not_cut(toy: Toy) -> None:
    with pytest.raises(BundleError, match="it holds a NUL character"):
        open_bundle(f"{toy.path}\0/other")
