"""What the CPU kernels' objects hold. `make test-native` runs the library's own tests under sanitizers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


KERNELS = {
    "plugins/src/sequence/kernels.cpp": "scan_forward_unit",
    "runtime/src/backends/model/kernels.cpp": "model_kernels",
    "runtime/src/backends/ranking/item_index_kernels.cpp": "index_kernels",
    "runtime/src/backends/ranking/score_kernels.cpp": "score_kernels",
    "runtime/src/backends/ranking/top_items_kernels.cpp": "top_items_kernels",
}


@pytest.mark.parametrize(("source", "function"), KERNELS.items())
def test_the_linker_cannot_mix_instruction_sets(source: str, function: str, tmp_path: Path) -> None:
    """No function of the kernels' objects that several objects may define is outside their set's namespace."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C++ compiler, or no nm, here")
    if function == "index_kernels" and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("no index on this machine")
    kernels = tmp_path / "kernels.o"
    folders = [f"-I{ROOT / folder}" for folder in ("plugins/include", "plugins/src", "runtime/src")]
    instructions = ["-mavx2", "-mfma"] if function == "index_kernels" else []
    command = [compiler, "-std=c++17", "-O0", "-fPIC", *folders, *instructions, "-DRECBLR_ISA=some_isa"]
    subprocess.run([*command, "-c", str(ROOT / source), "-o", str(kernels)], check=True)
    symbols = subprocess.run(["nm", "-C", str(kernels)], capture_output=True, text=True, check=True).stdout.splitlines()
    merged = [line for line in symbols if line[16:19] in (" W ", " V ", " u ")]
    assert any(function in line for line in symbols)
    assert [line for line in merged if "some_isa::" not in line] == []
