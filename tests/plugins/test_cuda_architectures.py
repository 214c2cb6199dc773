"""For which GPUs the build compiles the kernels. Nothing is compiled here: nvidia-smi and nvcc are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PTX = "80-virtual"

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="no CMake here")


def write_program(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def compiled_for(tmp_path: Path, **options: str) -> str:
    """What the build would compile for, with the nvidia-smi of `tmp_path` and an nvcc that knows CUDA 13.0's GPUs."""
    known = "compute_75 compute_80 compute_86 compute_87 compute_89 compute_90 compute_100 compute_120"
    nvcc = write_program(tmp_path / "bin" / "nvcc", f"printf '%s\\n' {known}")
    command = [
        *(str(shutil.which("cmake")), f"-DCMAKE_CUDA_COMPILER={nvcc}"),
        *(f"-D{name}={value}" for name, value in options.items()),
        *("-P", str(ROOT / "cmake" / "cuda_architectures.cmake")),
    ]
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.removeprefix("-- CUDA kernels: compiled for ").strip()


@pytest.mark.parametrize(
    ("nvidia_smi", "expected"),
    [
        ("echo 9.0", "90-real"),
        ("echo 12.0", "120-real"),
        ("printf '8.6\\n9.0\\n8.6\\n'", "86-real;90-real"),
        ("echo 12.1", PTX),  # newer than the compiler, which the driver translates for
        ("printf '9.0\\n12.1\\n'", f"90-real;{PTX}"),
        ("echo 7.5", PTX),
        ("echo '[N/A]'", PTX),
        ("echo 'No devices were found'; exit 6", PTX),
        ("echo 'Driver 12.2 does not answer'; exit 9", PTX),
    ],
)
def test_this_machines_gpus_or_ptx(tmp_path: Path, nvidia_smi: str, expected: str) -> None:
    write_program(tmp_path / "bin" / "nvidia-smi", nvidia_smi)
    assert compiled_for(tmp_path) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("all", "80-real;86-real;89-real;90-real;100-real;120"),
        ("90", "90"),
        ("80-real;90-virtual", "80-real;90-virtual"),
        ("native", "native"),
    ],
)
def test_what_is_asked_for(tmp_path: Path, asked: str, expected: str) -> None:
    write_program(tmp_path / "bin" / "nvidia-smi", "echo 8.9")
    assert compiled_for(tmp_path, RECBLR_CUDA_ARCHITECTURES=asked) == expected
