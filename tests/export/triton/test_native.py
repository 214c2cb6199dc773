"""Model repositories for recblr's own backend in Triton: their files, and Triton's own schema of a configuration.

tests/runtime/triton serves such a repository.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from recblr.errors import BundleError, ConfigError, OutputError
from recblr.export.triton.native import write_native_repository
from recblr.export.triton.repository import write_repository
from recblr.files import write_json
from recblr.runtime import open_bundle
from recblr.runtime.bundle.manifest import ITEMS_FILE, MANIFEST_FILE, file_entry, write_content


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("native") / "models"
    write_native_repository(bundle, path)
    return path


@pytest.fixture
def integer_bundle(bundle: Path, tmp_path: Path) -> Path:
    """The bundle with other ids: 60, 61, ..."""
    path = shutil.copytree(bundle, tmp_path / "integer")
    items = json.loads((path / ITEMS_FILE).read_text(encoding="utf-8"))
    write_json(path / ITEMS_FILE, items | {"id_type": "integer", "ids": list(range(60, 120))})
    _rewrite(path)
    return path


def _rewrite(path: Path, **changes: object) -> None:
    """Write a bundle's manifest for the files that are there, with other fields."""
    content = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    files = {name: file_entry(path / name) for name in content["files"]}
    write_content(path, {**content, "files": files, **changes})


def test_the_version_folder_is_the_bundle(repository: Path, bundle: Path) -> None:
    files = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    in_bundle = [path.name for path in bundle.iterdir()]
    beside = {"README.md", "recblr/config.pbtxt", "recblr/warmup/item_ids"}
    assert files == {*beside, *(f"recblr/1/{name}" for name in in_bundle)}
    for name in in_bundle:
        assert (repository / "recblr" / "1" / name).read_bytes() == (bundle / name).read_bytes()
    assert open_bundle(repository / "recblr" / "1").manifest == open_bundle(bundle).manifest
    assert {path.stat().st_mode & 0o777 for path in repository.rglob("*") if path.is_dir()} == {0o755}


def test_the_configuration_leaves_tensors_to_the_backend(repository: Path, bundle: Path) -> None:
    config = text_format.Parse((repository / "recblr" / "config.pbtxt").read_text(), ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("recblr", "recblr", 0)
    assert not config.input
    assert not config.output
    (group,) = config.instance_group
    assert (group.kind, group.count) == (ModelInstanceGroup.Kind.Value("KIND_CPU"), 1)
    assert [sample.batch_size for sample in config.model_warmup] == [1, 64]
    ids = open_bundle(bundle).item_ids()
    raw = b"".join(len(item_id).to_bytes(4, "little") + str(item_id).encode() for item_id in ids[:16])
    assert (repository / "recblr" / "warmup" / "item_ids").read_bytes() == raw
    for sample in config.model_warmup:
        ((name, value),) = sample.inputs.items()
        assert (name, list(value.dims), value.input_data_file) == ("item_ids", [16], "item_ids")
        assert value.data_type == DataType.Value("TYPE_STRING")


def test_integer_ids_are_integers(integer_bundle: Path, tmp_path: Path) -> None:
    write_native_repository(integer_bundle, tmp_path / "models")
    folder = tmp_path / "models" / "recblr"
    ids = np.fromfile(folder / "warmup" / "item_ids", "<i8").tolist()
    assert ids == list(range(60, 76))
    assert "TYPE_INT64" in (folder / "config.pbtxt").read_text()
    assert 'ID_TYPE = "INT64"' in (tmp_path / "models" / "README.md").read_text()


def test_the_readme(repository: Path, bundle: Path) -> None:
    text = (repository / "README.md").read_text()
    assert re.search(r"docker run .*-v \"\$PWD:/models:ro\"", text)
    assert "python -m recblr.runtime --triton-backend" in text
    assert f"FP32 [B, {open_bundle(bundle).manifest.state_size}]" in text
    assert 'ID_TYPE = "BYTES"' in text
    assert not re.search(r"\$\{?[a-z_]|DATATYPE", text)


def test_a_repository_is_replaced_and_nothing_else(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "models"
    write_repository(bundle, path)
    write_native_repository(bundle, path)
    assert (path / "recblr" / "1" / "manifest.json").is_file()
    write_repository(bundle, path)
    assert not (path / "recblr" / "1" / "manifest.json").exists()
    (path / "another_model").mkdir()
    with pytest.raises(OutputError, match="is not a model repository of recblr-export"):
        write_native_repository(bundle, path)
    with pytest.raises(OutputError, match="would destroy the input"):
        write_native_repository(bundle, bundle)
    assert (bundle / "manifest.json").is_file()


def test_a_failure_leaves_the_old_repository(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models"
    write_native_repository(bundle, path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        write_native_repository(bundle, path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_bundle_or_cannot_be_run(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        write_native_repository(tmp_path, tmp_path / "models")
    path = shutil.copytree(bundle, tmp_path / "bundle")
    _rewrite(path, model={"dim": 12, "norm_epsilon": 1e-12})
    with pytest.raises(ConfigError, match="does not say how many layers"):
        write_native_repository(path, tmp_path / "models")
    assert list(tmp_path.iterdir()) == [path]
