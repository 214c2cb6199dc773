"""The example for pycuda, with a stand-in for pycuda's arrays and the fake of CUDA."""

from __future__ import annotations

import ast
import importlib
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recblr.runtime import open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend

EXAMPLE = Path(__file__).parents[3] / "examples" / "pycuda_embedding.py"
NONE = np.empty((0, 2), np.int32)


class GPUArray:
    """What is used of pycuda's: the constructor, rows, and `__cuda_array_interface__`."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, base: Any = None, gpudata: int = 0) -> None:
        self.shape, self.dtype, self.base, self.gpudata = tuple(shape), np.dtype(dtype), base, gpudata

    def __getitem__(self, rows: slice) -> GPUArray:
        n = len(range(*rows.indices(self.shape[0])))
        assert rows.indices(self.shape[0])[0] == 0
        return GPUArray((n, *self.shape[1:]), self.dtype, self, self.gpudata)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = tuple(int(np.prod(self.shape[axis + 1 :])) * self.dtype.itemsize for axis in range(len(self.shape)))
        data = (self.gpudata, False)
        return {"shape": self.shape, "strides": strides, "data": data, "typestr": self.dtype.str, "version": 3}


@pytest.fixture
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_example_recommends(
    example: dict[str, Any], open_fake: Callable[..., Any], fake_cuda: Any, upload: Any, toy: Any
) -> None:
    bundle, backend = open_bundle(toy.path), open_fake()
    handle = fake_cuda.cudaStreamCreateWithFlags(1)[1]
    stream = SimpleNamespace(handle=handle)  # as pycuda.driver.Stream

    def to_gpu_async(values: np.ndarray, stream: Any) -> GPUArray:
        array = upload(values, late=stream.handle)
        return GPUArray(array.shape, array.dtype, array, array.address)

    gpuarray = SimpleNamespace(GPUArray=GPUArray, to_gpu_async=to_gpu_async)
    before, after = example["recommend"](bundle, backend, gpuarray, stream)
    fake_cuda.cudaStreamSynchronize(handle)

    def read(array: GPUArray) -> np.ndarray:
        return fake_cuda.array(array.gpudata, array.shape, array.dtype)

    reference = OnnxRuntimeBackend(bundle.model_path, threads=1)
    initial = np.tile(bundle.initial_state, (2, 1))
    top_items, _, states = reference.run(example["ITEMS"], example["OFFSETS"], initial, NONE)
    np.testing.assert_array_equal(read(before), top_items)
    event, offsets = np.array([4], np.int32), np.array([0, 1], np.int32)
    np.testing.assert_array_equal(read(after), reference.run(event, offsets, states[:1], NONE)[0])


def test_the_example_uses_names_that_exist() -> None:
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.module or "")[:6] == "recblr"
    ]
    names = [(node.module, alias.name) for node in imports for alias in node.names]
    assert len(names) >= 4
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
