"""What the CPU kernels' objects hold. `make test-native` runs the library's own tests under sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_linker_cannot_mix_instruction_sets(tmp_path: Path) -> None:
    """No function of the kernels' objects that several objects may define is outside their set's namespace."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C++ compiler, or no nm, here")
    plugins, kernels = ROOT / "plugins", tmp_path / "kernels.o"
    command = [compiler, "-std=c++17", "-O0", "-fPIC", f"-I{plugins / 'include'}", "-DRECBLR_ISA=some_isa"]
    source = [f"-I{plugins / 'src'}", "-c", str(plugins / "src" / "sequence" / "kernels.cpp")]
    subprocess.run([*command, *source, "-o", str(kernels)], check=True)
    symbols = subprocess.run(["nm", "-C", str(kernels)], capture_output=True, text=True, check=True).stdout.splitlines()
    merged = [line for line in symbols if line[16:19] in (" W ", " V ", " u ")]
    assert any("scan_forward_unit" in line for line in merged)
    assert [line for line in merged if "some_isa::" not in line] == []
