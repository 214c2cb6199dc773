"""Gets ONNX Runtime's C headers where apt can: from this system's release, or from Debian 13's libonnxruntime-dev.

    python tools/get_onnxruntime_headers.py [FOLDER]

The native library needs them, and nothing else, to carry operators for ONNX Runtime; its Python packages lack them.
Nothing is installed: the package is unpacked, and its headers are put into FOLDER/include. Where that fails, it says so
and the build goes on without them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from debian_packages import DebianPackages, NotAvailableError

PACKAGE = "libonnxruntime-dev"
HEADER = "onnxruntime_c_api.h"
SYSTEM_FOLDERS = (Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime"), Path("/usr/local/include"))
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "build" / "onnxruntime"


def main() -> int:
    """Get the headers unless they are there. Returns 0: they are optional."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    if any((place / HEADER).is_file() for place in (folder / "include", *SYSTEM_FOLDERS)):
        return 0
    try:
        with tempfile.TemporaryDirectory() as temporary:
            contents = DebianPackages(Path(temporary)).unpack([PACKAGE], HEADER, newer_release=True)
            _install(next(contents.rglob(HEADER)).parent, folder / "include")
    except (NotAvailableError, OSError) as error:
        print(f"no headers of ONNX Runtime ({error}): the native library is built without its operators")
    return 0


def _install(headers: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = destination.with_name(f"{destination.name}.{os.getpid()}")
    shutil.copytree(headers, unfinished)
    try:
        unfinished.rename(destination)
    except OSError:  # another process was first
        shutil.rmtree(unfinished)


if __name__ == "__main__":
    sys.exit(main())
