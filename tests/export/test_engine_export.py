"""recblr-export with an engine, for a trained model: the manifest, the files, the options, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import pytest
from click.testing import CliRunner, Result

from recblr.errors import BundleError
from recblr.export.cli import main
from recblr.export.tensorrt.precision import engine_graph
from recblr.runtime import is_bundle, load, open_bundle
from recblr.runtime.bundle.manifest import file_entry, manifest_checksum
from recblr.runtime.bundle.plan_section import PRECISIONS, Precision, tensorrt_type
from recblr.runtime.gpu.trt_module import load_tensorrt

# Precision -> .path of the bundle, .printed by recblr-export.
MakeEngineBundle: TypeAlias = Callable[[Precision], Any]

LIMITS = ("--max-rows", 8, "--opt-rows", 2, "--max-tokens", 500, "--opt-tokens", 900, "--max-exclusions", 70)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def _export(model: Path, output: Path, *options: object) -> Result:
    return _run(model, "-o", output, "--target", "tensorrt-rtx", *options)


def _one_line(result: Result) -> str:
    """The error, after checking that it is one line and the status 1."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def _manifest(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _rewrite_engine(bundle: Path, engine: object, **changes: object) -> None:
    """Another engine section in the manifest, under a right checksum."""
    manifest = {**_manifest(bundle), "plan": engine, **changes}
    manifest["checksum"] = manifest_checksum(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def copied_bundle(engine_bundle: MakeEngineBundle, tmp_path: Path) -> Path:
    """A bundle with an engine, to be changed."""
    return Path(shutil.copytree(engine_bundle("fp32").path, tmp_path / "copied"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_manifest_says(engine_bundle: MakeEngineBundle, plugin_library: Path, precision: Precision) -> None:
    bundle = engine_bundle(precision).path
    manifest = _manifest(bundle)
    engine = manifest["plan"]
    assert engine["file"] == "model.plan"
    assert (engine["target"], engine["precision"]) == ("tensorrt-rtx", precision)
    assert version("tensorrt-rtx-cu13-bindings").startswith(engine["version"])
    assert engine["profile"] == {
        "rows": {"minimum": 1, "optimum": 16, "maximum": 256},
        "tokens": {"minimum": 0, "optimum": 1024, "maximum": 65_536},
        "exclusions": {"minimum": 0, "optimum": 1024, "maximum": 65_536},
    }
    assert engine["max_k"] == manifest["max_k"] == 12
    assert engine["plugin_library"] == "librecblr_plugins.so"
    assert engine["plugin_embedded"] is False
    assert (engine["compute_capabilities"], engine["gpu"]) == ([], None)
    assert (engine["status"], engine["verification"]) == ("built, not run", {})
    assert 0 < engine["build_seconds"] < 600
    assert engine["memory_bytes"] > 65_536 * 16 * 4  # of x alone
    low = tensorrt_type(precision)
    assert engine["proof"]["inspector"] is None
    assert engine["proof"]["network"]["plugins"] == {low: 4}
    assert engine["proof"]["network"]["layer_norms"] == {"FLOAT": 5}
    assert sum(engine["proof"]["network"]["products"].values()) == 12

    assert set(manifest["files"]) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert manifest["files"] == {name: file_entry(bundle / name) for name in manifest["files"]}
    assert (bundle / "librecblr_plugins.so").read_bytes() == plugin_library.read_bytes()
    assert open_bundle(bundle).plan.to_dict() == engine


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_printed(engine_bundle: MakeEngineBundle, precision: Precision) -> None:
    exported = engine_bundle(precision)
    size, parity, engine, profile, proof, *evaluation, status, seconds = exported.printed.splitlines()
    assert size.startswith(f"{exported.path}: ")
    assert parity.startswith("On the CPU, against PyTorch: ")
    installed = _manifest(exported.path)["plan"]["version"]
    assert engine.startswith(f"model.plan: TensorRT-RTX {installed}, {precision}, ")
    assert profile.startswith("it takes 1 to 256 rows (best at 16), 0 to 65,536 new items (best at 1,024) and ")
    products = 12 if precision == "fp32" else 11
    assert f"4 sequence operations, {products} products; in fp32 5 LayerNorms" in proof
    assert len(evaluation) == (precision != "fp32")
    assert status.startswith("engine: built, not run (no GPU here): recblr-export --verify ")
    assert seconds.startswith("exported in ")


def test_engines_of_lower_precision_are_smaller(engine_bundle: MakeEngineBundle) -> None:
    weights = {precision: _manifest(engine_bundle(precision).path)["plan"]["weight_bytes"] for precision in PRECISIONS}
    assert weights["fp16"] < weights["fp32"]
    assert weights["bf16"] < weights["fp32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_layers_are_plugins_and_no_loops(engine_bundle: MakeEngineBundle, precision: Precision) -> None:
    trt: Any = load_tensorrt("tensorrt-rtx")
    from recblr.runtime.gpu.trt_plugins import MessageLog

    graph = engine_graph(onnx.load(engine_bundle(precision).path / "model.onnx"), precision)
    log = MessageLog()
    network = trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(graph.SerializeToString()), log.problems
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = [layer.type.name for layer in layers]
    assert kinds.count("PLUGIN_V3") == 4
    assert not {"RECURRENCE", "TRIP_LIMIT", "ITERATOR", "LOOP_OUTPUT", "CONDITION"} & set(kinds)


def test_the_same_onnx_as_without_an_engine(
    engine_bundle: MakeEngineBundle, trained_path: Path, tmp_path: Path
) -> None:
    """And it answers: a bundle with an engine serves where there is no TensorRT."""
    assert _run(trained_path, "-o", tmp_path / "plain", "--max-k", 12).exit_code == 0
    bundle = engine_bundle("fp16").path
    assert (bundle / "model.onnx").read_bytes() == (tmp_path / "plain" / "model.onnx").read_bytes()
    assert open_bundle(tmp_path / "plain").plan is None
    history = open_bundle(bundle).vocabulary.ids[:3]
    answers = [load(path, threads=1).recommend([history], k=5)[0].items for path in (bundle, tmp_path / "plain")]
    assert len(answers[0]) == 5
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("no_gpu", "plugin_library")
def test_limits_and_an_embedded_plugin(
    engine_bundle: MakeEngineBundle, trained_path: Path, plugin_library: Path, tmp_path: Path
) -> None:
    result = _export(trained_path, tmp_path / "bundle", *LIMITS, "--max-k", 12, "--embed-plugin")
    assert result.exit_code == 0, result.output
    section = open_bundle(tmp_path / "bundle").plan
    assert section is not None
    assert section.to_dict()["profile"] == {
        "rows": {"minimum": 1, "optimum": 2, "maximum": 8},
        "tokens": {"minimum": 0, "optimum": 500, "maximum": 500},
        "exclusions": {"minimum": 0, "optimum": 70, "maximum": 70},
    }
    assert (section.profile.limits.rows, section.profile.limits.tokens) == (8, 500)
    assert "1 to 8 rows (best at 2), 0 to 500 new items (best at 500) and 0 to 70 exclusions" in result.stdout

    plain = open_bundle(engine_bundle("fp32").path)
    assert section.memory_bytes < plain.plan.memory_bytes
    assert section.plugin_embedded
    with_plugin, without = (
        bundle.manifest.files["model.plan"]["bytes"] for bundle in (open_bundle(tmp_path / "bundle"), plain)
    )
    assert with_plugin - without > 0.9 * plugin_library.stat().st_size


@pytest.mark.usefixtures("no_gpu", "plugin_library")
def test_compute_capabilities(trained_path: Path, tmp_path: Path) -> None:
    two = ("--compute-capability", "8.9", "--compute-capability", "8.6")
    result = _export(trained_path, tmp_path / "bundle", *two, *LIMITS)
    assert result.exit_code == 0, result.output
    section = open_bundle(tmp_path / "bundle").plan
    assert section is not None
    assert section.compute_capabilities == ["8.9", "8.6"]
    assert "(compute capabilities: 8.9, 8.6)" in result.stdout


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
    engine_bundle: MakeEngineBundle,
    trained_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(engine_bundle("fp32").path, tmp_path / "bundle")
    before = _tree(tmp_path / "bundle")
    assert re.search(reason, _one_line(_export(trained_path, tmp_path / "bundle", *options)))
    assert _tree(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


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
def test_options_of_engines_without_one(trained_path: Path, tmp_path: Path, options: tuple[object, ...]) -> None:
    error = _one_line(_run(trained_path, "-o", tmp_path / "bundle", *options))
    assert f"{options[0]} is for engines only: give --target tensorrt or tensorrt-rtx, or leave it out" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_gpu", "plugin_library")
def test_a_failed_build_leaves_nothing(trained_path: Path, tmp_path: Path) -> None:
    """Nor half of a bundle where there was none."""
    assert "of workspace" in _one_line(_export(trained_path, tmp_path / "bundle", "--workspace", 1))
    assert not list(tmp_path.iterdir())


def _as_a_command(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which sees no GPU."""
    return subprocess.run(
        [Path(sys.executable).with_name("recblr-export"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_as_a_command(trained_path: Path, copied_bundle: Path) -> None:
    """Nothing of what TensorRT says is on the terminal; and another bundle with an engine is replaced."""
    options = ("-o", copied_bundle, "--target", "tensorrt-rtx", *LIMITS, "--max-k", 7)
    done = _as_a_command(trained_path, *options, cwd=copied_bundle.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "engine: built, not run (no GPU here)" in done.stdout
    assert open_bundle(copied_bundle).manifest.max_k == 7
    assert list(copied_bundle.parent.iterdir()) == [copied_bundle]


@pytest.mark.usefixtures("plugin_library")
def test_without_the_plugin_library_it_fails_at_once(tmp_path: Path) -> None:
    """Before PyTorch is imported or anything read: there is no model.pt."""
    program = """
import sys
import recblr.plugins
recblr.plugins.find_library = lambda: None
from recblr.export.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "no-model.pt", "-o", "bundle", "--target", "tensorrt-rtx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr == (
        "Error: TensorRT-RTX needs the plugin library librecblr_plugins.so, which is not installed: install a C++ "
        "compiler and reinstall recblr, or name a built one in RECBLR_PLUGINS_LIBRARY\n"
    )
    assert not list(tmp_path.iterdir())


def test_without_tensorrt_it_fails_at_once(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["tensorrt"] = None  # importing it raises ImportError
from recblr.export.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "no-model.pt", "-o", "bundle", "--target", "tensorrt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr == (
        "Error: TensorRT is not installed: pip install 'recblr[tensorrt]' (PyPI's tensorrt is a stub, which fetches "
        "the libraries from NVIDIA's own host: that must be reachable)\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("plugin_library")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "RECBLR_PLUGINS_LIBRARY names '.*', which is no file: unset or correct it"),
        (b"not a library", "does not give TensorRT recblr::CausalConv1d, recblr::GatedScan (.*): is it librecblr"),
    ],
    ids=["missing", "text"],
)
def test_another_file_named_as_plugin_library(tmp_path: Path, content: bytes | None, reason: str) -> None:
    library = tmp_path / "library.so"
    if content is not None:
        library.write_bytes(content)
    options = ("no-model.pt", "-o", "bundle", "--target", "tensorrt-rtx")
    done = _as_a_command(*options, cwd=tmp_path, RECBLR_PLUGINS_LIBRARY=str(library))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert re.search(reason.replace("(.*)", r"\(.*\)"), done.stderr)
    assert not (tmp_path / "bundle").exists()


def test_bundles_from_before_there_were_engines(engine_bundle: MakeEngineBundle, copied_bundle: Path) -> None:
    manifest = _manifest(copied_bundle)
    del manifest["plan"]
    manifest["checksum"] = manifest_checksum(manifest)
    (copied_bundle / "manifest.json").write_text(json.dumps(manifest))
    bundle = open_bundle(copied_bundle)
    assert bundle.plan is None
    assert bundle.manifest.max_k == 12


def test_fields_of_a_later_version_are_no_error(copied_bundle: Path) -> None:
    engine = _manifest(copied_bundle)["plan"]
    _rewrite_engine(copied_bundle, {**engine, "weather": "fine"})
    assert open_bundle(copied_bundle).plan.to_dict() == engine


_MALFORMED: dict[str, list[object]] = {
    "file": [None, "", 1],
    "target": ["onnx", []],
    "version": [1.7],
    "precision": ["int8"],
    "profile": [None, {}, {"rows": 1}],
    "max_k": [0, True, "12"],
    "compute_capabilities": ["8.9", [8.9]],
    "gpu": [""],
    "build_seconds": ["1", True, None],
    "memory_bytes": [-1, 0.5],
    "weight_bytes": ["1"],
    "plugin_library": [None],
    "plugin_embedded": [0],
    "proof": [None],
    "status": [""],
    "verification": [[]],
    "evaluation": [None],
}


@pytest.mark.parametrize("field", _MALFORMED)
def test_an_engine_section_that_is_malformed(copied_bundle: Path, field: str) -> None:
    engine = _manifest(copied_bundle)["plan"]
    assert set(engine) == set(_MALFORMED)
    values = [*_MALFORMED[field], *([] if field in ("gpu", "memory_bytes", "weight_bytes") else ["missing"])]
    for value in values:
        changed = {**engine, field: value}
        if value == "missing":
            del changed[field]
        _rewrite_engine(copied_bundle, changed)
        message = rf"manifest\.json: plan\.{field} is missing or malformed \(.*\): copy the bundle again"
        with pytest.raises(BundleError, match=message) as caught:
            open_bundle(copied_bundle)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["rows", "tokens", "exclusions"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"minimum": 2, "optimum": 1, "maximum": 3},
        {"minimum": 1, "optimum": 4, "maximum": 3},
        {"minimum": -1, "optimum": 1, "maximum": 3},
        {"minimum": 1, "maximum": 3},
        {"minimum": 1, "optimum": "2", "maximum": 3},
        [1, 2, 3],
    ],
    ids=str,
)
def test_a_profile_that_is_malformed(engine_bundle: MakeEngineBundle, tmp_path: Path, kind: str, sizes: object) -> None:
    """The manifest alone: it is read before the files."""
    manifest = engine_bundle("fp32").path / "manifest.json"
    shutil.copy(manifest, tmp_path)
    engine = _manifest(tmp_path)["plan"]
    _rewrite_engine(tmp_path, {**engine, "profile": {**engine["profile"], kind: sizes}})
    with pytest.raises(BundleError, match=r"plan\.profile is missing or malformed"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("section", ["model.plan", [], 1, True])
def test_an_engine_section_that_is_none(copied_bundle: Path, section: object) -> None:
    _rewrite_engine(copied_bundle, section)
    with pytest.raises(BundleError, match=r"plan is missing or malformed"):
        open_bundle(copied_bundle)


@pytest.mark.parametrize("name", ["model.plan", "librecblr_plugins.so"])
def test_files_of_the_engine_are_listed(copied_bundle: Path, name: str) -> None:
    manifest = _manifest(copied_bundle)
    files = {other: entry for other, entry in manifest["files"].items() if other != name}
    _rewrite_engine(copied_bundle, manifest["plan"], files=files)
    with pytest.raises(BundleError, match=rf"manifest\.json does not list {name}"):
        open_bundle(copied_bundle)


@pytest.mark.parametrize("name", ["model.plan", "librecblr_plugins.so"])
@pytest.mark.parametrize("damage", ["missing", "altered", "longer"])
def test_files_of_the_engine_that_are_damaged(copied_bundle: Path, name: str, damage: str) -> None:
    """Found by all who open the bundle, those who need the ONNX file alone, too."""
    path = copied_bundle / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    reason = {"missing": "is missing", "altered": "was altered, its sha256 is", "longer": "has .* bytes, its manifest"}
    with pytest.raises(BundleError, match=f"{name} {reason[damage]}.*: copy the bundle again, or export it again"):
        load(copied_bundle)
    assert is_bundle(copied_bundle)
