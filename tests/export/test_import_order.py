"""The order of export's parts: each imports only those before it, and modules do not import in circles."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import recblr.export

ROOT = Path(recblr.export.__file__).parent
ORDER = ["item_ids", "onnx", "checks", "tensorrt", "triton", "bundle", "report", "export_run", "cli"]


def _modules() -> dict[str, ast.Module]:
    """By name without recblr.export, all modules but this package itself."""
    paths = [path for path in ROOT.rglob("*.py") if "templates" not in path.parts and path != ROOT / "__init__.py"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, (ast.parse(path.read_text(encoding="utf-8")) for path in paths), strict=True))


MODULES = _modules()


def _imported(name: str) -> Iterator[str]:
    """The modules of export that a module imports, wherever it does so."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recblr.export."):
            module = str(node.module).removeprefix("recblr.export.")
            yield from (
                f"{module}.{alias.name}" if f"{module}.{alias.name}" in MODULES else module for alias in node.names
            )
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("recblr.export.")
                for alias in node.names
                if alias.name.startswith("recblr.export.")
            )


def test_every_part_has_its_place() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(ORDER)


def test_no_part_imports_one_behind_it() -> None:
    place = {part: number for number, part in enumerate(ORDER)}
    wrong = [
        f"{name} imports {imported}"
        for name in MODULES
        for imported in _imported(name)
        if place[imported.partition(".")[0]] > place[name.partition(".")[0]]
    ]
    assert wrong == []


def test_modules_do_not_import_in_circles() -> None:
    graph = {name: set(_imported(name)) for name in MODULES}
    assert sum(map(len, graph.values())) > len(ORDER)
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(MODULES)


def test_what_refuses_at_once_and_verify_import_no_torch() -> None:
    program = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
import recblr.export.export_run, recblr.export.checks.verify
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
