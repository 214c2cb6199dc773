"""Has this checkout's C++ compiled by way of ccache: what its builds have in common is compiled once.

    python tools/get_ccache.py [FOLDER]

Writes FOLDER/ccache, a script that cmake/cxx_settings.cmake has each compiler started by; FOLDER is build/ccache unless
given. The system's ccache is taken, else Debian's or Ubuntu's package, which is unpacked there. The cache is
FOLDER/cache, or what CCACHE_DIR names. Returns 1, and says why, if ccache is not to be had: builds then do without.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from debian_packages import DebianPackages, NotAvailableError

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "build" / "ccache"
PACKAGE = "ccache"

# Depend mode asks the compiler which headers it read: a file that is not in the cache costs no run of the preprocessor.
SCRIPT = """#!/bin/sh
folder=$(dirname "$0")
export CCACHE_DIR="${{CCACHE_DIR:-$folder/cache}}" CCACHE_DEPEND=1
{environment}exec {program} "$@"
"""
UNPACKED = 'export LD_LIBRARY_PATH="$(echo "$folder"/usr/lib/*-linux-*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n'


def main() -> int:
    """Get it. Returns the exit status."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    unpacked = folder / "usr" / "bin" / PACKAGE
    system = shutil.which(PACKAGE)
    folder.mkdir(parents=True, exist_ok=True)
    if not system and not unpacked.is_file():
        try:
            _unpack(folder)
        except (NotAvailableError, OSError) as error:
            print(f"no ccache ({error}): tests that build a package compile everything again", file=sys.stderr)
            return 1
    script = folder / PACKAGE
    program = system or f'"$folder"/usr/bin/{PACKAGE}'
    script.write_text(SCRIPT.format(program=program, environment="" if system else UNPACKED), encoding="utf-8")
    script.chmod(0o755)
    return 0


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        unpacked = Path(temporary) / "unpacked"
        unpacked.mkdir()
        DebianPackages(Path(temporary)).program(PACKAGE, unpacked)
        shutil.rmtree(folder / "usr", ignore_errors=True)
        (unpacked / "usr").rename(folder / "usr")


if __name__ == "__main__":
    sys.exit(main())
