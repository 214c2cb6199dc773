"""The C++ code of docs/tensorrt.md and of its example is compiled, and run where it needs no GPU."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from recblr.errors import MissingExtraError
from recblr.plugins import find_library, load_library
from recblr.runtime.gpu.trt_module import load_tensorrt

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "tensorrt_engine.cpp"
ONNXRUNTIME_HEADERS = ROOT / "build" / "onnxruntime" / "include"

Blocks = Callable[[str], list[Any]]


@pytest.fixture
def blocks(read_blocks: Blocks) -> Blocks:
    """The guide's blocks of a language."""
    return lambda language: [block for block in read_blocks("docs/tensorrt.md") if block.language == language]


def test_the_excerpts_are_of_the_example(blocks: Blocks) -> None:
    *excerpts, program = [block.text for block in blocks("cpp")]
    example = [line.strip() for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    assert len(excerpts) == 5
    for excerpt in excerpts:
        lines = [line.strip() for line in excerpt.splitlines()]
        starts = [start for start in range(len(example)) if example[start : start + len(lines)] == lines]
        assert starts, excerpt
    assert "int main()" in program


def _include_folder(root: str, header: str) -> Path:
    folder = Path(root) / "include"
    if not (folder / header).is_file():
        pytest.skip(f"no {header} in {folder}")
    return folder


def test_the_example_compiles(compile_cpp: Callable[..., None], tmp_path: Path) -> None:
    """Against NVIDIA's headers, which no package registry has."""
    root = os.environ.get("TENSORRT_ROOT")
    if not root:
        pytest.skip("TENSORRT_ROOT does not name a TensorRT with its headers")
    nvinfer = _include_folder(root, "NvInferRuntime.h")
    cuda = _include_folder(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "cuda_runtime_api.h")
    compile_cpp(EXAMPLE, tmp_path / "example.o", "-c", "-isystem", nvinfer, "-isystem", cuda)
    assert (tmp_path / "example.o").stat().st_size > 0


def _attributes_of(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            yield node.attr


def test_python_calls_what_tensorrt_has(blocks: Blocks) -> None:
    """Running it needs a GPU; here only the names are looked up, in TensorRT-RTX, which has TensorRT's."""
    try:
        trt = load_tensorrt("tensorrt-rtx")
    except MissingExtraError as error:
        pytest.skip(str(error))
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    (not_run,) = (block for block in blocks("python") if block.not_run)
    tree = ast.parse(not_run.text)
    owners = {
        "trt": trt,
        "cuda": runtime,
        "runtime": trt.Runtime,
        "engine": trt.ICudaEngine,
        "context": trt.IExecutionContext,
    }
    for name, owner in owners.items():
        used = set(_attributes_of(tree, name))
        assert used
        assert [attribute for attribute in used if not hasattr(owner, attribute)] == []


@pytest.fixture
def native_model(run_document: Callable[[str], Any]) -> Path:
    """The folder in which the guide's Python code for ONNX Runtime ran."""
    if find_library() is None or not load_library().has_onnxruntime_ops:
        pytest.skip("librecblr_plugins.so was not built, or without ONNX Runtime's headers")
    ran = run_document("docs/tensorrt.md")
    assert [node.name for node in ran.names["session"].get_outputs()] == ["top_items", "top_scores", "state_out"]
    folder: Path = ran.folder
    return folder


def test_onnxruntime_from_cpp(blocks: Blocks, native_model: Path, compile_cpp: Callable[..., None]) -> None:
    if not (ONNXRUNTIME_HEADERS / "onnxruntime_cxx_api.h").is_file():
        pytest.skip(f"no onnxruntime_cxx_api.h in {ONNXRUNTIME_HEADERS}: make setup puts it there where apt can get it")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    soname = native_model / "libonnxruntime.so.1"  # which the wheel's file lacks
    soname.symlink_to(library)
    source = native_model / "program.cpp"
    source.write_text(blocks("cpp")[-1].text)
    compile_cpp(source, native_model / "program", "-isystem", ONNXRUNTIME_HEADERS, soname, f"-Wl,-rpath,{native_model}")
    plugins = find_library()
    assert plugins is not None
    environment = os.environ | {"LD_LIBRARY_PATH": str(plugins.parent)}
    done = subprocess.run(
        [native_model / "program"], cwd=native_model, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 inputs, 3 outputs\n"
