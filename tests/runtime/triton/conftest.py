"""One Triton server for all tests of this folder, with the golden models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from recblr.runtime import Engine, load

from .client import Client
from .process import Triton, add_model, parameter

MODELS = ("integer", "string")


@pytest.fixture(scope="session")
def repository(golden_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the server `triton`; tests may add models, under names of their own."""
    folder = tmp_path_factory.mktemp("triton") / "models"
    for name in MODELS:
        add_model(folder, name, golden_bundles / name, parameter("max_history", 1_000_000))
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Triton]:
    server = Triton(repository)
    try:
        for name in MODELS:
            assert server.load(name) is None
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture(scope="session", params=["grpc", "http"])
def client(triton: Triton, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Of NVIDIA's, by one protocol and the other."""
    with Client(triton.addresses[request.param], request.param) as client:
        yield client


@pytest.fixture(scope="session")
def engines(golden_bundles: Path) -> Mapping[str, Engine]:
    """Of the golden models, in this process: what the server must answer as well."""
    return {name: load(golden_bundles / name, threads=1, backend="native") for name in MODELS}
