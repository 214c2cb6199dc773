"""The same training on data in two orders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from recblr.data import synthetic_interactions, write_interactions


@pytest.fixture(scope="module")
def order_effect(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("order_effect")


def test_both_orders_are_trained_alike(
    order_effect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "amazon-beauty.parquet"
    write_interactions(synthetic_interactions(200, 30, 12, seed=1), data)
    written = []

    def write_result(name: str, result: object) -> Path:
        written.append((name, json.loads(json.dumps(result))))
        return tmp_path / name

    monkeypatch.setattr(order_effect, "write_result", write_result)
    arguments = [str(data), "--epochs", "1", "--length", "3", "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(order_effect.main, arguments)
    assert result.exit_code == 0, result.output
    ((name, content),) = written
    assert name == "quality-order-effect-amazon-beauty"
    exact, tied = content["runs"].values()
    assert exact["curve"][0]["tokens"] == tied["curve"][0]["tokens"]
    assert exact["curve"][0]["loss"] != tied["curve"][0]["loss"]


def test_a_data_set_without_recipe_is_refused(order_effect: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "other.parquet"
    data.write_bytes(b"")
    result = CliRunner().invoke(order_effect.main, [str(data)])
    assert result.exit_code == 2
    assert "other has no recipes: give one of ml-1m" in result.output
