"""docs/performance.md, the README's table, and the script that writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest


@pytest.fixture(scope="module")
def performance(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("performance_table")


def test_the_documents_are_of_the_results_beside_them(
    performance: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    committed = {name: getattr(performance, name).read_text(encoding="utf-8") for name in ("DOCUMENT", "README")}
    for name, text in committed.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr(performance, name, tmp_path / name)
    monkeypatch.setattr(performance, "chart", lambda: None)
    performance.main.callback()
    for name, text in committed.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text, "run benchmarks/performance_table.py"


def test_the_chart_has_every_measurement(performance: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(performance, "write_plot", lambda name, figure: drawn.append(figure))
    performance.chart()
    engine, models = drawn[0].axes
    rows = performance.read("serving")["step_against_recommend"]
    values = [list(line.get_ydata()) for line in engine.lines]
    assert values == [[row["recommend_ms"] for row in rows], [row["step_ms"] for row in rows]]
    measured = performance.read("quality-history-length")["measured"]
    sasrec = [row["event_ms"] for row in measured if row["model"] == "SASRec"]
    assert sasrec in [list(line.get_ydata()) for line in models.lines]


def test_a_readme_without_its_place_is_refused(performance: ModuleType) -> None:
    with pytest.raises(click.ClickException, match="0 places"):
        performance.with_highlights("# recblr\n", ["| 1 |"])
    text = f"a\n{performance.BEGIN}\nold\n{performance.END}\nb\n"
    assert performance.with_highlights(text, ["| 1 |", ""]) == (
        f"a\n{performance.BEGIN}\n\n| 1 |\n\n{performance.END}\nb\n"
    )
