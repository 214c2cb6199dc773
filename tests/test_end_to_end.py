"""The whole chain with the installed tools and string ids: train, evaluate, export, serve, ask."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import recblr.runtime
from recblr.data import load_interactions, synthetic_interactions, write_interactions

from .runtime.server.process import Server

BIN = Path(sys.executable).parent


def tool(name: str, *arguments: object) -> str:
    command = [str(BIN / name), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.parquet, model.pt and bundle/ of a model that has learned what there is to learn."""
    path = tmp_path_factory.mktemp("chain")
    write_interactions(synthetic_interactions(300, 50, 12, seed=5, string_ids=True), path / "data.parquet")
    options = ["--epochs", 12, "--batch-tokens", 500, "--learning-rate", 0.01, "--dim", 16]
    tool("recblr-train", path / "data.parquet", "-o", path / "model.pt", *options)
    tool("recblr-export", path / "model.pt", "-o", path / "bundle", "--max-k", 20)
    return path


def test_the_bundle_recommends_what_the_evaluation_measured(folder: Path) -> None:
    tool("recblr-evaluate", folder / "model.pt", folder / "data.parquet", "--json", folder / "metrics.json")
    measured = json.loads((folder / "metrics.json").read_text())
    interactions, _ = load_interactions(folder / "data.parquet")
    ids = interactions.item_ids[interactions.items - 1].tolist()
    bounds = interactions.offsets.tolist()
    histories = [ids[begin:end] for begin, end in itertools.pairwise(bounds)]
    engine = recblr.runtime.load(folder / "bundle")
    rankings = engine.recommend([history[:-1] for history in histories], k=10, exclude_seen=False)
    hits = [history[-1] in ranking.items for history, ranking in zip(histories, rankings, strict=True)]
    assert measured["rows"] == len(hits)
    assert sum(hits) / len(hits) == pytest.approx(measured["hr@10"], abs=1e-9)
    assert measured["hr@10"] > 0.4  # ten of fifty items drawn blindly would be 0.2


def test_the_server_gives_the_engines_answers(folder: Path) -> None:
    engine = recblr.runtime.load(folder / "bundle")
    history = engine.bundle.item_ids()[:4]
    server = Server(folder / "bundle" / "model.onnx")
    answer = server.post("/v1/recommend", json={"histories": [history, ["never seen"]], "k": 5}).json()
    server.stop()
    expected = engine.recommend([history, ["never seen"]], k=5)
    assert [ranking["items"] for ranking in answer["rankings"]] == [ranking.items for ranking in expected]
    assert [ranking["popular"] for ranking in answer["rankings"]] == [False, True]
    assert answer["model"] == engine.fingerprint


def test_the_shell_gives_them_too(folder: Path) -> None:
    engine = recblr.runtime.load(folder / "bundle")
    history = engine.bundle.item_ids()[:3]
    printed = tool(
        "recblr-recommend", "--engine", folder / "bundle", "--history", ",".join(map(str, history)), "--json"
    )
    assert json.loads(printed)["items"] == engine.recommend([history], k=10)[0].items
