"""What recblr-export does: what it refuses at once, what a failure leaves, and that it never writes over its input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from recblr.checkpoint import Checkpoint
from recblr.export import cli
from recblr.export.cli import main
from recblr.export.tensorrt import plan_builder
from recblr.runtime import open_bundle
from recblr.runtime.bundle.plan_section import Precision
from recblr.runtime.gpu import trt_module as tensorrt_library
from recblr.runtime.gpu.trt_module import load_tensorrt

pytestmark = pytest.mark.usefixtures("shared_graphs")

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


LIMITS = ("--max-rows", 8, "--opt-rows", 2, "--max-tokens", 500, "--opt-tokens", 900, "--max-exclusions", 70)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def copied_bundle(plan_bundle: MakePlanBundle, tmp_path: Path) -> Path:
    """A bundle with a plan, to be changed."""
    return Path(shutil.copytree(plan_bundle("fp32").path, tmp_path / "copied"))


@pytest.mark.usefixtures("no_gpu", "plugin_library")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--compute-capability", "9.0"), "compute-capability is 9.0, TensorRT-RTX .* builds for 7.5, 8.0, .*: give"),
        (("--compute-capability", "sm_89"), "compute-capability is 'sm_89': give it as in 8.9"),
        (("--compute-capability", "8.9", "--compute-capability", "8.9"), "compute-capability is 8.9 twice"),
        (("--timing-cache", "cache"), "timing-cache is cache, but TensorRT-RTX times nothing .*: leave it out"),
        (("--workspace", 1), "within 1 MiB of workspace: give a larger --workspace, or none"),
        (("--workspace", 0), "workspace is 0: give a number from 1"),
        (("--max-rows", 0), "max-rows is 0: give a number from 1"),
        (("--max-tokens", 2**31), "max-tokens is 2147483648: give a number from 1"),
        (("--max-tokens", 2**31 - 2), "max-tokens is 2147483646: with 64 numbers for each .* give at most 33554431"),
        (("--max-rows", 2**31 - 2), "max-rows is 2147483646: with .* give at most"),
        (("--max-exclusions", 2**31 - 2), "max-exclusions is 2147483646: with 2 numbers .* give at most 1073741823"),
        (("--max-k", 3841), "max-k is 3841: .*3840"),
        (("--evaluation-data", "data.csv"), "evaluation-data is for --precision fp16 and bf16"),
        (("--precision", "fp16", "--evaluation-data", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_is_refused_leaves_the_old_bundle_as_it_was(
    refusal: Callable[..., str],
    plan_bundle: MakePlanBundle,
    trained_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(plan_bundle("fp32").path, tmp_path / "bundle")
    before = _tree(tmp_path / "bundle")
    assert re.search(reason, refusal(trained_path, "-o", tmp_path / "bundle", "--target", "tensorrt-rtx", *options))
    assert _tree(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("no_gpu", "plugin_library")
def test_a_failed_build_leaves_nothing(refusal: Callable[..., str], trained_path: Path, tmp_path: Path) -> None:
    """Nor half of a bundle where there was none."""
    assert "of workspace" in refusal(
        trained_path, "-o", tmp_path / "bundle", "--target", "tensorrt-rtx", "--workspace", 1
    )
    assert not list(tmp_path.iterdir())


def test_as_a_command(
    export_process: Callable[..., subprocess.CompletedProcess[str]], trained_path: Path, copied_bundle: Path
) -> None:
    """Nothing of what TensorRT says is on the terminal; and another bundle with a plan is replaced."""
    options = ("-o", copied_bundle, "--target", "tensorrt-rtx", *LIMITS, "--max-k", 7)
    done = export_process(trained_path, *options, cwd=copied_bundle.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "plan: built, not run (no GPU here)" in done.stdout
    assert open_bundle(copied_bundle).manifest.max_k == 7
    assert list(copied_bundle.parent.iterdir()) == [copied_bundle]


@pytest.mark.parametrize("options", [("--target", "tensorrt-rtx"), ()], ids=["fp32", "no plan"])
def test_refused_where_there_is_nothing_to_lose(
    refusal: Callable[..., str], trained_path: Path, interactions_path: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    command = (trained_path, "-o", tmp_path / "bundle", "--evaluation-data", interactions_path, *options)
    assert "evaluation-data is for --precision fp16 and bf16" in refusal(*command)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("plugin_library")
def test_fewer_results_than_are_ranked(
    refusal: Callable[..., str], trained_path: Path, interactions_path: Path, tmp_path: Path
) -> None:
    options = ("--target", "tensorrt-rtx", "--precision", "fp16", "--max-k", 9)
    command = (trained_path, "-o", tmp_path / "bundle", "--evaluation-data", interactions_path, *options)
    assert "max-k is 9: with evaluation data 10 items are ranked, give at least 10" in refusal(*command)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("plugin_library")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--item-column", "film"), "has no column 'film'"),
        (("--min-user-interactions", 1000), "min-user-interactions"),
        (("--validation-time", 1), "needs both --validation-time and --test-time"),
    ],
)
def test_options_of_the_data_are_used(
    refusal: Callable[..., str],
    trained_path: Path,
    interactions_path: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    reason: str,
) -> None:
    command = (trained_path, "-o", tmp_path / "bundle", "--target", "tensorrt-rtx", "--precision", "bf16")
    error = refusal(*command, "--evaluation-data", interactions_path, *options)
    assert reason in error
    assert not list(tmp_path.iterdir())


class _Export:
    """recblr-export of a model into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *options: object) -> Result:
        arguments = [self.folder / "in/model.pt", "-o", self.folder / "out/bundle", *options]
        return CliRunner().invoke(cli.main, list(map(str, arguments)))


@pytest.fixture
def export(checkpoint: Checkpoint, tmp_path: Path) -> _Export:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    checkpoint.save(tmp_path / "in/model.pt")
    return _Export(tmp_path)


@pytest.fixture
def tensorrt_rtx_as_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX's module stands in for TensorRT's."""
    module = load_tensorrt("tensorrt-rtx")

    def loads(target: str) -> ModuleType:
        assert target == "tensorrt"
        return module

    monkeypatch.setattr(plan_builder, "load_tensorrt", loads)


@pytest.mark.usefixtures("plugin_library", "tensorrt_rtx_as_tensorrt")
def test_the_command_builds_it(export: _Export) -> None:
    limits = ["--max-rows", 8, "--max-tokens", 80, "--max-exclusions", 160]
    result = export("--target", "tensorrt", "--precision", "fp16", *limits, "--triton-repository", export.folder / "m")
    assert result.exit_code == 0, result.output
    assert "m: model repository for Triton" in result.stdout
    config = text_format.Parse((export.folder / "m/recblr/config.pbtxt").read_text(), ModelConfig())
    assert (config.backend, config.max_batch_size) == ("tensorrt", 8)
    assert (export.folder / "m/recblr/1/model.plan").stat().st_size > 10_000
    assert "at most 10 items and 20 exclusions per" in (export.folder / "m/README.md").read_text()


def _must_not_run(*_arguments: Any, **_named: Any) -> Any:
    raise AssertionError("something slow was begun")


@pytest.fixture
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recblr.checkpoint.load_checkpoint", _must_not_run)
    monkeypatch.setattr(tensorrt_library, "load_tensorrt", _must_not_run)
    monkeypatch.setattr(plan_builder, "load_tensorrt", _must_not_run)


@pytest.mark.usefixtures("nothing_slow")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            lambda at: ["--target", "tensorrt-rtx", "--triton-repository", at / "m"],
            "does not open engines of TensorRT-RTX",
        ),
        (lambda at: ["--triton-repository", at / "out"], "give folders of which neither lies in the other"),
        (lambda at: ["--triton-repository", at / "out/bundle"], "--triton-repository and --output are both"),
        (lambda at: ["--triton-repository", at / "out/bundle/m"], "give folders of which neither lies in the other"),
        (lambda at: ["--triton-repository", at / "other/notes.txt"], "is not a model repository of recblr-export"),
        (lambda at: ["--triton-repository", at / "other"], "is not a model repository of recblr-export"),
        (
            lambda at: ["--target", "tensorrt", "--max-tokens", 31, "--triton-repository", at / "m"],
            "max-tokens is 31: Triton sends at least one per row",
        ),
    ],
    ids=["TensorRT-RTX", "around the bundle", "the bundle", "in the bundle", "a file", "another folder", "limits"],
)
def test_what_the_command_refuses_at_once(
    export: _Export, options: Callable[[Path], list[object]], message: str
) -> None:
    (export.folder / "other").mkdir()
    (export.folder / "other" / "notes.txt").write_text("keep")
    result = export(*options(export.folder))
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(path.name for path in export.folder.rglob("*")) == ["in", "model.pt", "notes.txt", "other", "out"]
    assert [path.name for path in (export.folder / "other").iterdir()] == ["notes.txt"]


def test_the_command_writes_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model.pt")
    command = [tmp_path / "model.pt", "-o", tmp_path / "bundle", "--triton-repository", tmp_path / "models"]
    for _ in range(2):
        result = CliRunner().invoke(main, list(map(str, command)))
        assert result.exit_code == 0, result.output
        assert "models: model repository" in result.stdout
    config = text_format.Parse((tmp_path / "models/recblr/config.pbtxt").read_text(), ModelConfig())
    assert config.parameters["recblr.fingerprint"].string_value == checkpoint.fingerprint()
    ids = json.loads((tmp_path / "models/recblr/items.json").read_text())["ids"]
    assert ids == checkpoint.vocabulary.ids


def test_the_command_writes_it_for_recblrs_own_backend(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model.pt")
    outputs = ["-o", tmp_path / "bundle", "--triton-repository", tmp_path / "models"]
    result = CliRunner().invoke(main, list(map(str, [tmp_path / "model.pt", *outputs, "--target", "native"])))
    assert result.exit_code == 0, result.output
    assert "models: model repository" in result.stdout
    config = text_format.Parse((tmp_path / "models/recblr/config.pbtxt").read_text(), ModelConfig())
    assert config.backend == "recblr"
    assert open_bundle(tmp_path / "models/recblr/1").manifest == open_bundle(tmp_path / "bundle").manifest


@pytest.fixture
def inputs_in_outputs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder. Inputs are in it, and in a bundle and a model repository, which an export would replace."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, "bundle")
    Path("models/recblr").mkdir(parents=True)
    Path("models/recblr/config.pbtxt").write_text("# Written by recblr-export, for the model sha256:0.\n")
    for folder in (".", "bundle", "models/recblr"):
        for name in ("model.pt", "ids.txt", "data.csv"):
            Path(folder, name).write_text("precious")
    Path("linked.csv.cache").hardlink_to("data.csv")
    return tmp_path


@pytest.mark.usefixtures("nothing_slow")
@pytest.mark.parametrize(
    "command",
    [
        "bundle/model.pt -o bundle/",
        "model.pt --item-ids bundle/ids.txt -o bundle",
        "model.pt --target tensorrt --precision fp16 --evaluation-data bundle/data.csv -o bundle",
        "model.pt --target tensorrt --timing-cache bundle/cache -o bundle",
        "models/recblr/model.pt -o new --triton-repository models",
        "model.pt -o new --item-ids models/recblr/ids.txt --triton-repository models/",
        "model.pt -o new --target tensorrt --timing-cache models/recblr/cache --triton-repository models",
        "model.pt -o new --target tensorrt --timing-cache model.pt",
        "model.pt -o new --item-ids ids.txt --target tensorrt --timing-cache bundle/../ids.txt",
        "model.pt -o new --target tensorrt --precision bf16 --evaluation-data *.csv --timing-cache linked.csv.cache",
    ],
)
def test_no_input_is_destroyed(refusal: Callable[..., str], inputs_in_outputs: Path, command: str) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in inputs_in_outputs.rglob("*") if path.is_file()}

    before = content()
    error = refusal(*command.split())
    assert re.search("writing .* would destroy the input .*: name another output", error)
    assert content() == before
