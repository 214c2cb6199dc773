"""The code of docs/runtime.md runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "runtime.md"


def test_the_code_runs(toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bundle", "new-bundle"):
        shutil.copytree(toy.path, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec"), names)
    ranking = names["ranking"]
    assert (ranking.items, ranking.scores.tolist()) == toy.ranking([50, 10, 40], 5, exclude=[50, 10, 40])
    assert names["rankings"][0].items == toy.ranking([50, 10, 20], 5)[0]
    assert names["answers"] == [toy.ranking([50, 10], 5, exclude=[50, 10])[0]] * 100
