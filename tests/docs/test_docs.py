"""The code of README.md and docs/ runs as it stands there, and what they name exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recblr.cli.start import MODULES

ROOT = Path(__file__).parents[2]
# Options of other programs that the documents name.
OTHER_OPTIONS = {"--backend-config", "--backend-directory", "--model-config-name"}
_OPTION = re.compile(r"(?<!\S)(?:--[a-z][a-z-]*|-[a-z](?![a-z]))")


def test_blocks_run(document: str, run_document: Callable[[str], Any]) -> None:
    run_document(document)


def test_blocks_left_out(block_not_run: Any) -> None:
    pytest.skip(block_not_run.not_run)


def test_the_runtime_guide_ranks(run_document: Callable[[str], Any]) -> None:
    from recblr.runtime import load

    ran = run_document("docs/runtime.md")
    engine = load(ran.folder / "bundle")
    assert ran.names["ranking"].items == engine.recommend([[50, 10, 40]], k=5)[0].items
    assert ran.names["rankings"][0].items == engine.recommend([[50, 10, 20]], k=5, exclude_seen=False)[0].items
    assert ran.names["answers"] == [engine.recommend([[50, 10]], k=5)[0].items] * 100
    assert len(ran.names["ranking"].items) == 5


def test_options_exist(document: str, tool_options: Callable[[str], dict[str, Any]]) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = {name for code in re.findall(r"`(-[^`]+)`", text) for name in _OPTION.findall(code)}
    unknown = named - OTHER_OPTIONS.union(["--help", "--version"], *map(tool_options, MODULES))
    if unknown:
        assert unknown <= tool_options("recblr-serve").keys()


def test_the_table_of_a_tool_is_true(tool: str, tool_options: Callable[[str], dict[str, Any]]) -> None:
    """docs/cli.md has a section with this tool's options, whose names and defaults are those of the command."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {tool}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    options = tool_options(tool)
    rows = re.findall(r"^\| `(-[^|]*)` \| ([^|]*) \|", section, flags=re.MULTILINE)
    assert rows
    for named, default in rows:
        names = re.findall(r"--[a-z-]+|-[a-z]", named)
        assert set(names) <= set(options), named
        shown = [value.strip("`") for value in default.strip().split(", ")]
        if re.fullmatch(r"[\d.,]+", default.strip()):
            assert float(default.replace(",", "")) == float(options[names[0]]), named
        elif default.startswith("`"):
            assert shown == [options[name] for name in names], named
    for name in re.findall(r"`(--[a-z-]+)", section):
        assert name in options, name


def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    for link in links:
        if link.startswith("http"):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target) if target else path
        assert file.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, link
