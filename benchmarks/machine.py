"""What the benchmarks share: a description of the machine, and the place of the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recblr.runtime.benchmark.machine import machine_info

__all__ = ["machine_info", "write_result"]

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write `results/<name>.json` beside this file, and give its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path
