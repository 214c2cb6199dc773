"""Gets what the C++ core is built with, and this system lacks, from its packages. Nothing is installed.

    python tools/get_native_dependencies.py [FOLDER] [--all]

FOLDER is build/dependencies unless given. The packages are unpacked; FOLDER/include then has their headers, FOLDER/lib
their static libraries, and cmake/native_dependencies.cmake looks there first. What is there is not fetched, nor what
the system has, unless with --all. Returns 1, and says what to do, if something that the core cannot do without is not
to be had; without the rest the core is built with fewer abilities.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debian_packages import DebianPackages, NotAvailableError


@dataclass(frozen=True)
class Dependency:
    """A library, and the package of Debian and Ubuntu that has its headers and its static library."""

    name: str
    package: str
    header: str  # as it is included
    without: str | None  # what the build does without it; None if the core needs it
    newer_release: bool = False  # Debian 13's will do, on an older one, too


DEPENDENCIES = (
    Dependency("nlohmann-json", "nlohmann-json3-dev", "nlohmann/json.hpp", None),
    Dependency("OpenSSL", "libssl-dev", "openssl/ssl.h", None),
    Dependency("SQLite", "libsqlite3-dev", "sqlite3.h", "the core is built without histories in SQLite"),
    # Debian 12's hiredis is of before TLS. The static library of Debian 13's has no symbol of a newer C library.
    Dependency(
        "hiredis", "libhiredis-dev", "hiredis/hiredis_ssl.h", "the core is built without histories in Redis", True
    ),
)
TEST_DEPENDENCIES = (Dependency("GoogleTest", "libgtest-dev", "gtest/gtest.h", "the core's own tests cannot be built"),)
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "build" / "dependencies"


class MissingDependencyError(Exception):
    """The core cannot be built; the message, of one line, says what is missing and what to do."""


def main() -> int:
    """Get all, tests' included. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Gets what the C++ core is built with, and this system lacks.")
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    parser.add_argument("--all", action="store_true", help="get what this system has, too")
    arguments = parser.parse_args()
    system = () if arguments.all else system_folders()
    try:
        get_native_dependencies(arguments.folder, (*DEPENDENCIES, *TEST_DEPENDENCIES), system)
    except MissingDependencyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def get_native_dependencies(folder: Path, dependencies: Sequence[Dependency], system: Sequence[Path]) -> None:
    """Put those of `dependencies` into `folder` whose headers are neither there nor in the folders `system`.

    Prints a line for each optional one that is not to be had.

    Raises:
        MissingDependencyError: One that the core needs is not to be had.
    """
    places = (folder / "include", *system)
    wanted = [part for part in dependencies if not any((place / part.header).is_file() for place in places)]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as temporary:
        packages = DebianPackages(Path(temporary))
        for part in wanted:
            try:
                _install(packages.unpack(part.package, part.header, newer_release=part.newer_release), part, folder)
            except (NotAvailableError, OSError) as error:
                if part.without is None:
                    raise MissingDependencyError(
                        f"{part.name} is missing and cannot be fetched ({error}): install its development files, on "
                        f"Debian and Ubuntu {part.package}, or unpack them elsewhere and name that in CMAKE_PREFIX_PATH"
                    ) from error
                print(f"no {part.name} ({error}): {part.without}")


def system_folders() -> list[Path]:
    """Where CMake finds headers: the folders named in CMAKE_PREFIX_PATH, and the usual ones."""
    prefixes = [Path(prefix) for prefix in os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return [prefix / "include" for prefix in (*prefixes, Path("/usr/local"), Path("/usr"))]


def _install(contents: Path, part: Dependency, folder: Path) -> None:
    """Move a package's headers and static libraries to their places; the header that tells it is there comes last."""
    headers, lib = contents / "usr" / "include", contents / "usr" / "lib"
    for configuration in headers.glob("*-linux-*"):  # headers of one architecture, as openssl/configuration.h
        shutil.copytree(configuration, headers, dirs_exist_ok=True)
        shutil.rmtree(configuration)
    libraries = [path for path in lib.rglob("*.a") if not path.is_symlink()]
    first = part.header.split("/")[0]
    entries = sorted(headers.iterdir(), key=lambda path: path.name == first)
    for paths, name in ((libraries, "lib"), (entries, "include")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            _move(path, folder / name / path.name)


def _move(path: Path, destination: Path) -> None:
    """Under a temporary name first: the two folders may be on different file systems."""
    unfinished = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.move(path, unfinished)
    try:
        unfinished.replace(destination)
    except OSError:  # a folder that another process moved there first
        shutil.rmtree(unfinished)


if __name__ == "__main__":
    sys.exit(main())
