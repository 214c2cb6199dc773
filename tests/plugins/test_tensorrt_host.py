"""The host program: the TensorRT plugins as TensorRT calls them, without TensorRT; on a GPU their results as well."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recblr import plugins

SOURCE = Path(__file__).with_name("tensorrt_host")

needs_library = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)


def has_gpu() -> bool:
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def has_cuda_kernels() -> bool:
    architectures = plugins.load_library().handle.recblr_cuda_architectures
    architectures.restype = ctypes.c_char_p
    return architectures() != b""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built by CMake."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("host")
    for command in (["cmake", "-S", SOURCE, "-B", folder], ["cmake", "--build", folder, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout + done.stderr
    return folder / "recblr_plugin_host"


def run(host: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([host, *arguments], capture_output=True, text=True, timeout=300, check=False)


def assert_all_passed(done: subprocess.CompletedProcess[str], at_least: int) -> None:
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert not failed
    assert done.returncode == 0, done.stderr
    summary = re.fullmatch(r"(\d+) of (\d+) checks passed", done.stdout.splitlines()[-1])
    assert summary is not None
    assert summary[1] == summary[2]
    assert int(summary[2]) >= at_least


@needs_library
def test_everything_but_enqueue(host: Path):
    done = run(host, str(plugins.find_library()))
    assert_all_passed(done, at_least=150)
    assert "build-time methods" in done.stdout
    assert "serialized plugins come back as they were" in done.stdout


@needs_library
@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="no CUDA device")
def test_enqueue_on_the_gpu(host: Path):
    if not has_cuda_kernels():
        pytest.skip("librecblr_plugins.so was built without CUDA")
    done = run(host, str(plugins.find_library()), "--gpu")
    assert_all_passed(done, at_least=400)
    assert "CUDA graph" in done.stdout


@needs_library
@pytest.mark.skipif(has_gpu(), reason="there is a CUDA device")
def test_gpu_checks_fail_where_there_is_no_gpu(host: Path):
    done = run(host, str(plugins.find_library()), "--gpu")
    assert done.returncode == 1
    assert done.stderr.startswith("--gpu: ")
    assert done.stdout == ""


def test_a_library_without_plugins_fails(host: Path):
    other = ctypes.util.find_library("m")
    assert other is not None
    done = run(host, other)
    assert done.returncode == 1
    assert "setLoggerFinder" in done.stderr


def test_wrong_arguments_show_the_usage(host: Path):
    done = run(host)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def configure(folder: Path, tensorrt_root: Path) -> subprocess.CompletedProcess[str]:
    options = ["-DRECBLR_CUDA=OFF", f"-DTENSORRT_ROOT={tensorrt_root}"]
    command = ["cmake", "-S", str(SOURCE.parents[2]), "-B", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
class TestNvidiasHeaders:
    """Building with TENSORRT_ROOT."""

    def test_a_folder_without_them_is_named(self, tmp_path: Path):
        done = configure(tmp_path / "build", tmp_path)
        assert done.returncode != 0
        assert f"TENSORRT_ROOT is {tmp_path}" in " ".join(done.stderr.split())

    @pytest.mark.skipif(
        "TENSORRT_ROOT" not in os.environ, reason="TENSORRT_ROOT names no TensorRT: NVIDIA's headers are not there"
    )
    def test_our_declarations_agree_with_them(self, tmp_path: Path):
        done = configure(tmp_path, Path(os.environ["TENSORRT_ROOT"]))
        assert done.returncode == 0, done.stderr
        command = ["cmake", "--build", str(tmp_path), "--target", "recblr_abi_check"]  # which runs it
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        agreed = re.search(r"(\d+) of (\d+) places and names agree", done.stdout)
        assert agreed is not None
        assert agreed[1] == agreed[2]
