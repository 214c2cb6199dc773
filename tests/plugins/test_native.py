"""The C++ tests of the kernels under sanitizers, and what the CPU kernels' objects hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "test-native"


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        pytest.skip("no C++ compiler here")
    return found


@pytest.fixture(scope="module")
def programs(compiler: str) -> Path:
    """The folder of the test programs; built anew only where sources changed."""
    if shutil.which("cmake") is None:
        pytest.skip("no cmake here")
    options = ["-DRECBLR_BUILD_TESTS=ON", "-DRECBLR_SANITIZE=ON", "-DRECBLR_CUDA=EMULATED"]
    for command in (["-S", str(ROOT), "-B", str(BUILD), *options], ["--build", str(BUILD), "--parallel", "2"]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return BUILD / "plugins"


@pytest.fixture(scope="module")
def cpu_test(programs: Path) -> Path:
    return programs / "tests" / "recblr_cpu_test"


@pytest.mark.slow
def test_cuda_functions_emulated_under_sanitizers(programs: Path) -> None:
    """Also with offsets that are wrong: they may give wrong results, but lead nowhere outside of the arrays."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}  # fibers have stacks of their own
    command = [str(programs / "cuda_check"), "150"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "150 passed, 0 failed\n"


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("recblr_cpu_test", "all CPU functions agree with the plain loops\n"),
        ("recblr_top_items_test", "the rankings agree\n"),
    ],
)
def test_cpu_functions_under_sanitizers(programs: Path, program: str, says: str, isa: str) -> None:
    environment = {**os.environ, "RECBLR_CPU_ISA": isa}
    command = [str(programs / "tests" / program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == says


@pytest.mark.slow
def test_an_unknown_instruction_set_is_refused(cpu_test: Path) -> None:
    environment = {**os.environ, "RECBLR_CPU_ISA": "avx9000"}
    done = subprocess.run([str(cpu_test)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAILED: gated_scan_forward" in done.stdout


def test_the_linker_cannot_mix_instruction_sets(compiler: str, tmp_path: Path) -> None:
    """No function of the kernels' objects that several objects may define is outside their set's namespace."""
    if shutil.which("nm") is None:
        pytest.skip("no nm here")
    plugins, kernels = ROOT / "plugins", tmp_path / "kernels.o"
    command = [compiler, "-std=c++17", "-O0", "-fPIC", f"-I{plugins / 'include'}", "-DRECBLR_ISA=some_isa"]
    source = [f"-I{plugins / 'src'}", "-c", str(plugins / "src" / "sequence" / "kernels.cpp")]
    subprocess.run([*command, *source, "-o", str(kernels)], check=True)
    symbols = subprocess.run(["nm", "-C", str(kernels)], capture_output=True, text=True, check=True).stdout.splitlines()
    merged = [line for line in symbols if line[16:19] in (" W ", " V ", " u ")]
    assert any("scan_forward_unit" in line for line in merged)
    assert [line for line in merged if "some_isa::" not in line] == []
