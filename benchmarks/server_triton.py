"""Triton Inference Server, which the tests download, with recblr's backend and with its Python backend."""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import click
from server_sides import APPS

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' Triton

NAME = "recblr"
# Two processes, one for each CPU here, and batches of what waits: what did best.
_PYTHON_CONFIG = """
backend: "python"
max_batch_size: 64
input { name: "item_ids" data_type: TYPE_INT64 dims: [-1] allow_ragged_batch: true }
input { name: "k" data_type: TYPE_INT64 dims: [1] }
output { name: "items" data_type: TYPE_INT64 dims: [-1] }
output { name: "scores" data_type: TYPE_FP32 dims: [-1] }
instance_group { count: 2 kind: KIND_CPU }
dynamic_batching { }
"""


@contextmanager
def with_backend(bundle: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Ports for HTTP and gRPC of a Triton whose model `recblr` is the bundle, by recblr's backend."""
    from tests.runtime.triton.process import add_model

    add_model(folder / "models", NAME, bundle)
    with _ports(folder / "models") as ports:
        yield ports


@contextmanager
def with_python(bundle: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """The same for Triton's Python backend, whose inputs have a dimension for the batch."""
    from tests.runtime.triton.process import triton_server

    home = triton_server().parents[1]
    backend = folder / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"  # it finds its libraries beside where it really is
    (backend / stub).symlink_to(home / "python_backend_stubs" / version / stub)
    model = folder / "python-models" / NAME
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(_PYTHON_CONFIG, encoding="utf-8")
    shutil.copy2(APPS / "triton_model.py", model / "1" / "model.py")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(APPS), *site.getsitepackages()]),
        "RECBLR_BENCHMARK_BUNDLE": str(bundle),
    }
    with (
        patch.dict(os.environ, environment),
        _ports(folder / "python-models", f"--backend-directory={folder / 'backends'}") as ports,
    ):
        yield ports


@contextmanager
def _ports(models: Path, *options: str) -> Iterator[tuple[int, int]]:
    from tests.runtime.triton.process import Triton

    triton = Triton(models, *options)
    try:
        if (error := triton.load(NAME)) is not None:
            raise click.ClickException(f"Triton does not load the model: {error}")
        http, grpc = (int(triton.addresses[name].rpartition(":")[2]) for name in ("http", "grpc"))
        yield http, grpc
    finally:
        triton.kill()
