"""recblr-export and its options."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from click.testing import Result

from recblr.checkpoint import Checkpoint
from recblr.runtime import load, open_bundle

pytestmark = pytest.mark.usefixtures("shared_graphs")


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
def test_authors_model_with_item_ids(
    run_export: Callable[..., Result], authors_path: Path, tmp_path: Path, content: str
) -> None:
    names = [f"film {j}" for j in range(37)]
    more = "".join(f', "{name}"' for name in names) + "]" if content.startswith("[") else "\n".join(names)
    (tmp_path / "ids").write_text(content.removesuffix("]") + more)

    result = run_export(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "ids")

    assert result.exit_code == 0, result.output
    engine = load(tmp_path / "bundle", threads=1)
    assert engine.bundle.item_ids() == ["a", "b", "c", *names]
    assert engine.recommend([["a", "film 5"]], k=3)[0].unknown == 0


def test_weights_without_item_ids_say_how_items_are_named(
    run_export: Callable[..., Result], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    torch.save(checkpoint.model.state_dict(), tmp_path / "bare.pt")
    result = run_export(tmp_path / "bare.pt", "-o", tmp_path / "bundle")
    note = f"{tmp_path / 'bare.pt'} has no item ids: its items are 1 to 60; --item-ids names yours"
    assert result.stdout.splitlines()[-1] == note
    assert open_bundle(tmp_path / "bundle").item_ids() == list(range(1, 61))


def test_history_length_is_asked_for(refusal: Callable[..., str], authors_path: Path, tmp_path: Path) -> None:
    error = refusal(authors_path, "-o", tmp_path / "bundle")
    assert "give it with --history-length" in error
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_apply(refusal: Callable[..., str], model_path: Path, tmp_path: Path) -> None:
    error = refusal(model_path, "-o", tmp_path / "bundle", "--history-length", 50)
    assert "leave those options out" in error


def test_wrong_number_of_item_ids(refusal: Callable[..., str], authors_path: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n2\n")
    error = refusal(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "ids.txt")
    assert "2 item ids for the 40 items" in error


def test_item_ids_that_cannot_be_read(refusal: Callable[..., str], authors_path: Path, tmp_path: Path) -> None:
    error = refusal(authors_path, "-o", tmp_path / "bundle", "--history-length", 50, "--item-ids", tmp_path / "no")
    assert "cannot be read" in error


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder", "other tensors"])
def test_wrong_file(refusal: Callable[..., str], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pt"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("user_id,item_id\n1,2\n")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other tensors":
        torch.save({"weight": torch.zeros(2)}, path)
    error = refusal(path, "-o", tmp_path / "bundle")
    assert str(path) in error
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(refusal: Callable[..., str], model_path: Path, tmp_path: Path, share: float) -> None:
    content = model_path.read_bytes()
    (tmp_path / "model.pt").write_bytes(content[: int(share * len(content))])
    assert "model.pt" in refusal(tmp_path / "model.pt", "-o", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("max_k", [0, -3, 5000])
def test_max_k_out_of_range(refusal: Callable[..., str], model_path: Path, tmp_path: Path, max_k: int) -> None:
    assert f"max-k is {max_k}" in refusal(model_path, "-o", tmp_path / "bundle", "--max-k", max_k)
    assert not list(tmp_path.iterdir())


def test_output_that_is_not_a_bundle(refusal: Callable[..., str], model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    assert "is not a bundle" in refusal(model_path, "-o", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_full_disk(
    refusal: Callable[..., str], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device; free some space" in refusal(model_path, "-o", tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("bound_by_permissions")
def test_no_write_permission(refusal: Callable[..., str], model_path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "choose a place you may write to" in refusal(model_path, "-o", tmp_path / "bundle")
    finally:
        tmp_path.chmod(0o700)


def test_missing_packages(
    refusal: Callable[..., str], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    error = refusal(model_path, "-o", tmp_path / "bundle")
    assert "recblr-export needs onnxscript: pip install 'recblr[export]'" in error


@pytest.mark.parametrize(
    "options",
    [
        ("--precision", "fp16"),
        ("--precision", "fp32"),
        ("--max-rows", 8),
        ("--opt-rows", 8),
        ("--max-tokens", 8),
        ("--opt-tokens", 8),
        ("--max-exclusions", 8),
        ("--compute-capability", "8.9"),
        ("--timing-cache", "cache"),
        ("--embed-plugin",),
        ("--workspace", 8),
    ],
    ids=lambda options: options[0],
)
def test_options_of_plans_without_one(
    refusal: Callable[..., str], trained_path: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    error = refusal(trained_path, "-o", tmp_path / "bundle", *options)
    assert f"{options[0]} is for TensorRT only: give --target tensorrt or tensorrt-rtx, or leave it out" in error
    assert not list(tmp_path.iterdir())


def test_with_a_checkpoint_too(run_export: Callable[..., Result], bundle: Path, trained_path: Path) -> None:
    result = run_export(trained_path, "--verify", bundle)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"--verify checks a bundle alone: leave out {trained_path}." in result.stderr


def test_with_an_output_too(run_export: Callable[..., Result], bundle: Path, tmp_path: Path) -> None:
    result = run_export("--verify", bundle, "-o", tmp_path / "bundle")
    assert result.exit_code == 2
    assert "--verify checks a bundle alone: leave out --output." in result.stderr
    assert not list(tmp_path.iterdir())
