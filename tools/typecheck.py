"""Runs mypy over the whole package.

The package's parts lie in top-level folders and meet as `recblr.*` only when installed; mypy does not see through an
editable install's import hook, so it is given a tree of links with the installed shape.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "typecheck"


def main() -> int:
    """Check the package, then the scripts. Returns mypy's exit status."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "recblr"
    package.mkdir(parents=True)
    for source in (ROOT / "recblr").iterdir():
        (package / source.name).symlink_to(source)
    for room in ("plugins", "runtime", "export"):
        (package / room).symlink_to(ROOT / room)
    _copy_tensorrt_stubs()
    environment = {**os.environ, "MYPYPATH": str(TREE)}
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    scripts = [
        str(path)
        for folder in ("benchmarks", "benchmarks/quality", "examples", "tools")
        for path in (ROOT / folder).glob("*.py")
    ]
    runs = [["--package", "recblr"], scripts]
    return max(
        subprocess.run([sys.executable, "-m", "mypy", *config, *run], cwd=TREE, env=environment, check=False).returncode
        for run in runs
    )


def _copy_tensorrt_stubs() -> None:
    """Give mypy tensorrt-stubs, in whose signatures some names are keywords and some defaults come too early."""
    for name in ("tensorrt", "tensorrt_bindings"):
        (TREE / name).mkdir()
        for stub in (Path(sysconfig.get_path("purelib")) / name).glob("*.pyi"):
            text = stub.read_text(encoding="utf-8").replace(" in: list[", " in_: list[")
            (TREE / name / stub.name).write_text(text.replace(", channel_axis: int)", ", channel_axis: int = 0)"))


if __name__ == "__main__":
    sys.exit(main())
