"""The fake has the functions of the real cuda-bindings, with as many arguments."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest


def _arguments(documentation: str) -> int:
    """From the first line, such as "cudaFree(devPtr)"."""
    found = re.match(r"\w+\((.*?)\)", documentation.strip(), re.DOTALL)
    assert found is not None
    return len([part for part in found.group(1).split(",") if part.strip()])


def test_functions_are_those_of_cuda_bindings(request: pytest.FixtureRequest) -> None:
    real: Any = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    fake = request.getfixturevalue("fake_cuda")  # after the real one was imported
    names = [name for name in dir(type(fake)) if name.startswith("cuda")]
    functions = [name for name in names if inspect.ismethod(getattr(fake, name))]
    assert len(functions) > 20
    for name in functions:
        parameters = inspect.signature(getattr(fake, name)).parameters
        assert _arguments(getattr(real, name).__doc__) == len(parameters), name


@pytest.mark.parametrize("group", ["cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"])
def test_constants_are_those_of_cuda_bindings(request: pytest.FixtureRequest, group: str) -> None:
    real: Any = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    fake = request.getfixturevalue("fake_cuda")
    for member in getattr(fake, group):
        assert int(getattr(getattr(real, group), member.name)) == member.value
    for name in ("cudaStreamNonBlocking", "cudaEventDisableTiming", "cudaHostAllocDefault"):
        assert getattr(real, name) == getattr(fake, name)
