"""The API does what its OpenAPI document says: schemathesis makes requests of it, right and wrong ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import Server

EXAMPLES = 25  # of each operation, beside those that cover its schema's values systematically
# A request may be right by its schema and yet ask for what is not there: ids of another catalogue, a bundle's path.
EXCLUDED = "positive_data_acceptance"


@pytest.mark.slow
def test_the_api_is_as_described(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis, of the extra dev, is not installed")
    server = start_server(
        golden_bundles / "integer", "--store", "memory", expected='"event":"(reload|rollback|engine)"'
    )
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--no-color"),
        *("--checks", "all", "--exclude-checks", EXCLUDED, "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", "--generation-database", "none"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Server error" not in done.stdout
    assert server.post("/v1/recommend", json={"histories": [[1]], "k": 1}).status_code == 200
