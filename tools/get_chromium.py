"""Gets a headless Chromium for tests of pages, from Debian's packages, where the system has none. Nothing is installed.

    python tools/get_chromium.py [FOLDER]

FOLDER is build/chromium unless given; what is there is not fetched. Returns 1, and says why, if it is not to be had.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from debian_packages import DebianPackages, NotAvailableError

PACKAGE = "chromium-headless-shell"
PROGRAM = Path("usr", "lib", "chromium", "chromium-headless-shell")
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "build" / "chromium"


def main() -> int:
    """Get it. Returns the exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    if (folder / PROGRAM).is_file() or shutil.which(PACKAGE) or shutil.which("chromium"):
        return 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        try:
            DebianPackages(Path(temporary)).program(PACKAGE, unpacked)
        except (NotAvailableError, OSError) as error:
            print(f"no Chromium ({error}): tests of pages are skipped", file=sys.stderr)
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
