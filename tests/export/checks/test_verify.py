"""recblr-export --verify: a bundle's check again, on the machine that will serve."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper

from recblr.errors import BundleError, ConfigError
from recblr.export.checks import verify
from recblr.export.checks.comparison import Batch
from recblr.export.checks.parity import PyTorchReference
from recblr.runtime import open_bundle
from recblr.runtime.bundle.manifest import file_entry, write_content
from recblr.runtime.bundle.plan_section import Precision

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


@pytest.fixture
def copied_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A bundle without a plan, to be changed."""
    return Path(shutil.copytree(bundle, tmp_path / "copied"))


def _change_graph(bundle: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Another graph in the bundle, under a right hash; its weights are the same, in other places."""
    path = bundle / "model.onnx"
    before = path.read_bytes()
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = file_entry(path)
    after = path.read_bytes()
    for place in manifest["weights"].values():
        if not place.get("zeros"):
            start = place["offset"]
            place["offset"] = after.index(before[start : start + 4 * math.prod(place["shape"])])
    write_content(bundle, manifest)


@pytest.mark.parametrize("conv_width", [4, 1])
def test_a_bundle_without_a_plan(
    run_export: Callable[..., Result], bundle_of: Callable[[int], Path], conv_width: int
) -> None:
    """It is only read: verifying works where nothing may be written."""
    bundle = bundle_of(conv_width)
    before = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}
    result = run_export("--verify", bundle)
    assert (result.exit_code, result.stderr) == (0, "")
    files, differences = result.stdout.splitlines()
    assert files == f"{bundle}: every file is as its manifest says"
    assert differences.startswith(
        ("recblr's own kernels on the CPU, ", "ONNX Runtime, histories in pieces against whole ones (the bundle")
    )
    assert "the same best items in 100% of rows" in differences
    assert differences.endswith("(cold, dense, single, incremental, empty, exclusions)")
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == before


def test_as_a_command_without_torch(bundle: Path) -> None:
    """On a serving machine: onnx is needed, PyTorch is not."""
    program = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
from recblr.export.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", program, "--verify", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same best items in 100% of rows" in done.stdout


def test_weights_that_were_altered(refusal: Callable[..., str], copied_bundle: Path) -> None:
    path = copied_bundle / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    error = refusal("--verify", copied_bundle)
    assert "model.onnx was altered, its sha256 is" in error


def test_states_that_are_not_passed_on(refusal: Callable[..., str], copied_bundle: Path) -> None:
    """A graph under a right hash that starts every history anew: the kernels, or it in pieces, give something else."""

    def forget(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nothing"))
        model.graph.node.insert(0, onnx.helper.make_node("Mul", ["state_in", "nothing"], ["forgotten"]))
        for node in model.graph.node[1:]:
            for place, name in enumerate(node.input):
                if name == "state_in":
                    node.input[place] = "forgotten"

    _change_graph(copied_bundle, forget)
    error = refusal("--verify", copied_bundle)
    assert "and model.onnx in ONNX Runtime differ in the case" in error


def test_a_graph_that_onnxruntime_cannot_load(refusal: Callable[..., str], copied_bundle: Path) -> None:
    def unknown_operator(model: onnx.ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "Gather").op_type = "Gathered"

    _change_graph(copied_bundle, unknown_operator)
    assert "ONNX Runtime cannot load the graph (" in refusal("--verify", copied_bundle)


@pytest.mark.parametrize("kind", ["missing", "a model", "an empty folder"])
def test_what_is_no_bundle(refusal: Callable[..., str], tmp_path: Path, trained_path: Path, kind: str) -> None:
    path = {"missing": tmp_path / "nowhere", "a model": trained_path, "an empty folder": tmp_path}[kind]
    assert "give the folder that recblr-export wrote" in refusal("--verify", path)


def test_missing_packages(refusal: Callable[..., str], bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else name)
    assert "recblr-export --verify needs onnx: pip install 'recblr[export]'" in refusal("--verify", bundle)


@pytest.mark.usefixtures("no_gpu")
def test_a_plan_without_a_gpu(refusal: Callable[..., str], plan_bundle: MakePlanBundle) -> None:
    path = plan_bundle("bf16").path
    error = refusal("--verify", path)
    assert error.startswith(f"Error: {path} holds a TensorRT plan, and there is no GPU here to run it on: ")
    assert "NVIDIA driver and cuda-bindings" in error


def test_a_plan_without_a_gpu_as_a_command(
    export_process: Callable[..., subprocess.CompletedProcess[str]], plan_bundle: MakePlanBundle, tmp_path: Path
) -> None:
    """In a process that CUDA shows none."""
    done = export_process("--verify", plan_bundle("bf16").path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "there is no GPU here to run it on" in done.stderr


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["model.plan", "librecblr_plugins.so"])
def test_a_plan_that_was_altered(
    refusal: Callable[..., str], plan_bundle: MakePlanBundle, tmp_path: Path, name: str
) -> None:
    """Said before it is asked whether there is a GPU."""
    copied = Path(shutil.copytree(plan_bundle("fp32").path, tmp_path / "copied"))
    with (copied / name).open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    assert f"{name} was altered, its sha256 is" in refusal("--verify", copied)


@pytest.mark.usefixtures("plugin_library")
def test_a_plan_of_a_target_that_is_not_installed(plan_bundle: MakePlanBundle, tmp_path: Path) -> None:
    """In a process of its own, in which no TensorRT is loaded."""
    program = """
import sys
for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
    sys.modules[name] = None  # importing it raises ImportError
from recblr.export.cli import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", program, "--verify", str(plan_bundle("fp32").path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: TensorRT-RTX is not installed: pip install 'recblr[tensorrt-rtx]'\n"


def test_no_plan_to_open(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="holds no TensorRT plan: export it with --target tensorrt or tensorrt-rtx"):
        verify.open_plan(open_bundle(bundle))


def test_the_reference_answers_as_pytorch(checkpoint: Any, bundle: Path) -> None:
    """All scores, excluded items and item 0 at -inf, and the states: what a plan is compared with."""
    opened = open_bundle(bundle)
    reference = verify.bundle_reference(opened)
    pytorch = PyTorchReference(checkpoint.model, 20)
    assert (reference.n_items, reference.name) == (60, "model.onnx in ONNX Runtime")
    np.testing.assert_array_equal(reference.initial_state, pytorch.initial_state)
    batch = Batch(
        items=np.array([1, 2, 3, 60], np.int32),
        offsets=np.array([0, 3, 3, 4], np.int32),
        state_in=np.tile(opened.initial_state, (3, 1)),
        exclude=np.array([[0, 5], [2, 60]], np.int32),
    )
    scores, states = reference.answer(batch)
    expected_scores, expected_states = pytorch.answer(batch)
    assert scores.shape == (3, 61)
    assert np.argwhere(np.isneginf(scores)).tolist() == [[0, 0], [0, 5], [1, 0], [2, 0], [2, 60]]
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(states, expected_states, rtol=1e-4, atol=1e-5)


def test_verify_bundle_raises_what_open_bundle_does(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        verify.verify_bundle(tmp_path / "nowhere")
