"""The command-line tools of the runtime."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from recblr.runtime.cli.recommend import main as recommend

BIN = Path(sys.executable).parent


def invoke(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The one line of an expected failure."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    return result.stderr


def test_a_table(toy: Any) -> None:
    result = invoke(recommend, "--engine", toy.path, "--history", "10, 20,999", "--k", 3)
    items, scores = toy.ranking([10, 20], 3, exclude=[10, 20])
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["rank", "item", "score"]
    assert rows[1:] == [[str(j + 1), str(items[j]), f"{scores[j]:.4f}"] for j in range(3)]
    assert result.stderr == "1 of 3 item ids are unknown to the model and were skipped, the first of them 999.\n"


def test_popular_items_for_an_empty_history(toy: Any) -> None:
    result = invoke(recommend, "--engine", toy.path / "model.onnx", "-k", 2)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["rank", "item", "count"],
        ["1", "20", "7"],
        ["2", "30", "7"],
    ]
    assert result.stderr.startswith("Nothing is known of this user")


def test_json(toy: Any) -> None:
    result = invoke(
        recommend, "--engine", toy.path, "--history", "10", "--exclude", "30,40", "--include-seen", "-k", 4, "--json"
    )
    items, scores = toy.ranking([10], 4, exclude=[30, 40])
    assert json.loads(result.stdout) == {
        "items": items,
        "scores": scores,
        "popular": False,
        "unknown": 0,
        "model": "sha256:toy",
    }


def test_ids_with_commas(text_toy: Any) -> None:
    result = invoke(recommend, "--engine", text_toy.path, "--history", "b,c|ü", "--separator", "|", "-k", 3, "--json")
    assert json.loads(result.stdout)["items"] == text_toy.ranking(["b,c", "ü"], 3, exclude=["b,c", "ü"])[0]


def test_bad_requests(toy: Any, tmp_path: Path) -> None:
    engine = ("--engine", toy.path)
    assert "item id 'x' is not an integer" in refusal(invoke(recommend, *engine, "--history", "10,x"))
    assert "item id '007' is not an integer in plain decimal form" in refusal(
        invoke(recommend, *engine, "--history", "10,007")
    )
    assert "item id '' is not an integer" in refusal(invoke(recommend, *engine, "--exclude", "10,,20"))
    assert "k is 10" in refusal(invoke(recommend, *engine, "-k", 10))
    assert "--separator is empty" in refusal(invoke(recommend, *engine, "--separator", ""))
    assert "nowhere does not exist" in refusal(invoke(recommend, "--engine", tmp_path / "nowhere"))
    assert "is no bundle" in refusal(invoke(recommend, "--engine", tmp_path))


def test_a_damaged_bundle(new_toy: Any) -> None:
    (new_toy.path / "model.onnx").write_bytes(b"x")
    assert "model.onnx has 1 bytes" in refusal(invoke(recommend, "--engine", new_toy.path))


def test_recommend_as_a_process(toy: Any) -> None:
    command = [BIN / "recblr-recommend", "--engine", toy.path, "--history", "10", "-k", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["items"] == toy.ranking([10], 1, exclude=[10])[0]
