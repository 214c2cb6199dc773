"""The backend's own declarations of Triton's API, against Triton's headers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .process import ROOT


@pytest.mark.skipif(
    "TRITON_ROOT" not in os.environ, reason="TRITON_ROOT names no folder of triton-inference-server/core"
)
def test_the_declarations_are_those_of_tritons_headers():
    """Of a checkout of its core, in whose include/ they are."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler here")
    headers = Path(os.environ["TRITON_ROOT"], "include")
    assert (headers / "triton" / "core" / "tritonbackend.h").is_file(), f"{headers} has no Triton headers"
    command = ["c++", "-std=c++17", "-fsyntax-only", "-I", ROOT / "runtime" / "src", "-isystem", headers]
    done = subprocess.run(
        [*command, Path(__file__).with_name("api_check.cpp")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
