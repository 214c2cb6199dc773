"""Runs mypy over the package and the scripts, with TensorRT's stubs mended so that mypy can read them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
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
    for name in ("tensorrt", "tensorrt_bindings"):
        (STUBS / name).mkdir(parents=True)
        for stub in (Path(sysconfig.get_path("purelib")) / name).glob("*.pyi"):
            text = stub.read_text(encoding="utf-8").replace(" in: list[", " in_: list[")
            (STUBS / name / stub.name).write_text(text.replace(", channel_axis: int)", ", channel_axis: int = 0)"))


if __name__ == "__main__":
    sys.exit(main())
