"""docs/quality.md and the script that writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def table(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("table")


def test_the_document_is_of_the_results_beside_it(
    table: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = tmp_path / "quality.md"
    folder, committed = table.DOCUMENT.parent, table.DOCUMENT.read_text(encoding="utf-8")
    monkeypatch.setattr(table, "DOCUMENT", written)
    monkeypatch.setattr(table, "plot", lambda data, runs: None)
    table.main.callback()
    assert written.read_text(encoding="utf-8") == committed, "run benchmarks/quality/table.py"
    for line in committed.splitlines():
        if line.startswith("!["):
            assert (folder / line.split("(")[1].rstrip(")")).exists()


def test_runs_without_a_protocol_are_left_out_of_its_table(table: ModuleType) -> None:
    metrics = dict.fromkeys(table.COLUMNS, 0.25)
    old = {"test": metrics, "validation": metrics, "seed": 0}
    new = old | {"seed": 1, "seen_left_out": {"test": dict.fromkeys(table.COLUMNS, 0.5), "validation": metrics}}
    published = {"them": {"hr@10": 0.125}}
    lines = list(table.results(published, {"paper": [old, new], "sasrec": [old]}, "seen_left_out"))
    assert lines[2].startswith("| them |  | 0.1250 |  |")
    assert lines[3].startswith("| **RecBLR, recblr's paper row** | 1 | 0.5000 |")
    assert lines[4:] == [""]
    both = list(table.results(published, {"paper": [old, new]}))
    assert "| 2 | 0.2500 ± 0.0000 |" in both[3]
