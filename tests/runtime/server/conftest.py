"""Running servers, and bundles for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recblr.runtime import Engine, load

from .process import Server, executable


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts a `Server` with the arguments of its class; all are stopped, and checked, at the test's end."""
    started: list[Server] = []

    def start(bundle: Path | None, *options: object, **settings: Any) -> Server:
        started.append(Server(bundle, *options, **settings))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def server(golden_bundles: Path) -> Iterator[Server]:
    """Of the golden model `integer`, with users in memory, for tests that leave it as it is."""
    server = Server(golden_bundles / "integer", "--store", "memory")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def text_server(golden_bundles: Path) -> Iterator[Server]:
    """Of the golden model `string`."""
    server = Server(golden_bundles / "string")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def engines(golden_bundles: Path) -> Mapping[str, Engine]:
    """Of the golden models, in this process: what servers must answer as well."""
    return {path.name: load(path, threads=1, backend="native") for path in golden_bundles.iterdir()}


@pytest.fixture
def run_server() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs recblr-serve with a command line that lets it end by itself."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(word) for word in (executable(), *words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run
