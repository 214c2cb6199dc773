"""recblr-export."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from click.testing import CliRunner, Result

from recblr.checkpoint import Checkpoint
from recblr.export.cli import main
from recblr.runtime import load, open_bundle


@pytest.fixture(scope="module")
def model_path(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    checkpoint.save(path)
    return path


@pytest.fixture(scope="module")
def authors_path(authors_state_dict: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authors") / "authors.pth"
    torch.save(authors_state_dict, path)
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def _one_line(result: Result) -> str:
    """The error, after checking that it is one line and the status 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_as_a_command(model_path: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """It prints its summary, and nothing of what the exporter says."""
    command = Path(sys.executable).with_name("recblr-export")
    done = subprocess.run(
        [command, model_path, "-o", "bundle/", "--max-k", "7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    size, parity, time = done.stdout.splitlines()
    assert size.startswith("bundle: ")
    assert size.endswith("60 items, up to 7 results, states of 204 numbers")
    assert parity.endswith("the same best items in 100% of rows")
    assert time.startswith("exported in ")
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert (manifest.fingerprint, manifest.max_k) == (checkpoint.fingerprint(), 7)


def test_help_needs_neither_torch_nor_numpy() -> None:
    program = """
import sys
from click.testing import CliRunner
from recblr.export.cli import main
print(CliRunner().invoke(main, ["--help"]).stdout)
print({"torch", "numpy", "onnx", "onnxruntime", "tensorrt_rtx_bindings"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--history-length" in done.stdout
    assert done.stdout.endswith("\nset()\n")


@pytest.mark.parametrize("content", ['["a", "b", "c"]', "a\nb\nc\n"], ids=["JSON", "lines"])
def test_authors_model_with_item_ids(authors_path: Path, tmp_path: Path, content: str) -> None:
    names = [f"film {j}" for j in range(37)]
    more = "".join(f', "{name}"' for name in names) + "]" if content.startswith("[") else "\n".join(names)
    (tmp_path / "ids").write_text(content.removesuffix("]") + more)

    result = _run(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "ids")

    assert result.exit_code == 0, result.output
    engine = load(tmp_path / "bundle", threads=1)
    assert engine.bundle.vocabulary.ids == ["a", "b", "c", *names]
    assert engine.recommend([["a", "film 5"]], k=3)[0].unknown == 0


def test_history_length_is_asked_for(authors_path: Path, tmp_path: Path) -> None:
    error = _one_line(_run(authors_path, "-o", tmp_path / "bundle"))
    assert "give it with --history-length" in error
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_apply(model_path: Path, tmp_path: Path) -> None:
    error = _one_line(_run(model_path, "-o", tmp_path / "bundle", "--history-length", 50))
    assert "leave those options out" in error


def test_wrong_number_of_item_ids(authors_path: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n")
    result = _run(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "ids.txt")
    assert "2 item ids for the 40 items" in _one_line(result)


def test_item_ids_that_cannot_be_read(authors_path: Path, tmp_path: Path) -> None:
    result = _run(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "no")
    assert "cannot be read" in _one_line(result)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder", "other tensors"])
def test_wrong_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pt"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("user_id,item_id\n1,2\n")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other tensors":
        torch.save({"weight": torch.zeros(2)}, path)
    error = _one_line(_run(path, "-o", tmp_path / "bundle"))
    assert str(path) in error
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(model_path: Path, tmp_path: Path, share: float) -> None:
    content = model_path.read_bytes()
    (tmp_path / "model.pt").write_bytes(content[: int(share * len(content))])
    assert "model.pt" in _one_line(_run(tmp_path / "model.pt", "-o", tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("max_k", [0, -3, 5000])
def test_max_k_out_of_range(model_path: Path, tmp_path: Path, max_k: int) -> None:
    assert f"max-k is {max_k}" in _one_line(_run(model_path, "-o", tmp_path / "bundle", "--max-k", max_k))
    assert not list(tmp_path.iterdir())


def test_output_that_is_not_a_bundle(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    assert "is not a bundle" in _one_line(_run(model_path, "-o", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_full_disk(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device; free some space" in _one_line(_run(model_path, "-o", tmp_path / "bundle"))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("bound_by_permissions")
def test_no_write_permission(model_path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "choose a place you may write to" in _one_line(_run(model_path, "-o", tmp_path / "bundle"))
    finally:
        tmp_path.chmod(0o700)


def test_missing_packages(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    error = _one_line(_run(model_path, "-o", tmp_path / "bundle"))
    assert "recblr-export needs onnxscript: pip install 'recblr[export]'" in error
