"""Runs mypy over the package and the scripts, with TensorRT's stubs mended so that mypy can read them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "build" / "typecheck"


def main() -> int:
    """Check the package, then the scripts. Returns mypy's exit status."""
    shutil.rmtree(STUBS, ignore_errors=True)
    _copy_tensorrt_stubs()
    environment = {**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{STUBS}"}
    scripts = [
        str(path)
        for folder in ("benchmarks", "benchmarks/quality", "examples", "tools")
        for path in (ROOT / folder).glob("*.py")
    ]
    runs = [["--package", "recblr"], scripts]
    return max(
        subprocess.run([sys.executable, "-m", "mypy", *run], cwd=ROOT, env=environment, check=False).returncode
        for run in runs
    )


def _copy_tensorrt_stubs() -> None:
    """Give mypy tensorrt-stubs, in whose signatures some names are keywords and some defaults come too early."""
    for file in importlib.metadata.distribution("tensorrt-stubs").files or []:
        if file.suffix == ".pyi":
            text = file.read_text(encoding="utf-8").replace(" in: list[", " in_: list[")
            (STUBS / file).parent.mkdir(parents=True, exist_ok=True)
            (STUBS / file).write_text(text.replace(", channel_axis: int)", ", channel_axis: int = 0)"))


if __name__ == "__main__":
    sys.exit(main())
