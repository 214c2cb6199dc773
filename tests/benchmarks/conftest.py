"""Scripts of benchmarks/ as modules: they are no package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def quality_module() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of benchmarks/quality by its name, as its scripts do."""
    folders = [str(BENCHMARKS / "quality"), str(BENCHMARKS)]
    sys.path[:0] = folders
    before = set(sys.modules)
    yield importlib.import_module
    for folder in folders:
        sys.path.remove(folder)
    for name in set(sys.modules) - before:  # other tests must not find them under their short names
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]
