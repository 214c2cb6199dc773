"""Gets what the C++ core is built with, and this system lacks, from its packages. Nothing is installed.

    python tools/get_native_dependencies.py [FOLDER] [--all]

FOLDER is build/dependencies unless given. The packages are unpacked; FOLDER/include then has their headers, FOLDER/lib
their static libraries, FOLDER/bin programs, and cmake/native_dependencies.cmake looks there first; FOLDER/src has
sources of what comes without a static library. What is there is not fetched, nor what the system has, unless with
--all. Returns 1, and says what to do, if something that the core cannot do without is not
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
    """A library, and the packages of Debian and Ubuntu that have its headers and its static library."""

    name: str
    packages: tuple[str, ...]
    header: str  # as it is included; of SOURCES its path in FOLDER
    without: str | None  # what the build does without it; None if the core needs it
    newer_release: bool = False  # Debian 13's will do, on an older one, too
    newer_packages: tuple[str, ...] = ()  # what they are called in newer releases
    left_out: tuple[str, ...] = ()  # folders of headers that are large and of no use here
    programs: tuple[str, ...] = ()  # that are needed, too; FOLDER/bin then has them, and their shared libraries
    program_packages: tuple[str, ...] = ()


NO_SERVER = "recblr-serve is not built"
NO_GRPC = "recblr-serve is built without gRPC"
DEPENDENCIES = (
    Dependency("nlohmann-json", ("nlohmann-json3-dev",), "nlohmann/json.hpp", None),
    Dependency("OpenSSL", ("libssl-dev",), "openssl/ssl.h", None),
    Dependency("SQLite", ("libsqlite3-dev",), "sqlite3.h", "the core is built without histories in SQLite"),
    # Debian 12's hiredis is of before TLS. The static library of Debian 13's has no symbol of a newer C library.
    Dependency(
        "hiredis",
        ("libhiredis-dev",),
        "hiredis/hiredis_ssl.h",
        "the core is built without histories in Redis",
        newer_release=True,
    ),
    # A header that tells 1.81, the first with it. Half of all is in libraries that Asio, Beast and JSON do without.
    Dependency(
        "Boost",
        ("libboost1.81-dev",),
        "boost/url.hpp",
        NO_SERVER,
        newer_release=True,
        newer_packages=("libboost1.83-dev",),
        left_out=tuple(
            f"boost/{name}"
            for name in (
                "compute",
                "fusion",
                "geometry",
                "gil",
                "graph",
                "hana",
                "log",
                "math",
                "multiprecision",
                "phoenix",
                "polygon",
                "proto",
                "python",
                "qvm",
                "spirit",
                "test",
                "typeof",
                "units",
                "wave",
                "xpressive",
            )
        ),
    ),
    Dependency("CLI11", ("libcli11-dev",), "CLI/CLI.hpp", NO_SERVER, newer_release=True),
    Dependency("toml++", ("libtomlplusplus-dev",), "toml++/toml.h", NO_SERVER, newer_release=True),
    Dependency("zlib", ("zlib1g-dev",), "zlib.h", NO_SERVER),
    Dependency(
        "gRPC",
        ("libgrpc++-dev", "libgrpc-dev", "libprotobuf-dev", "libabsl-dev", "libre2-dev", "libc-ares-dev"),
        "grpcpp/grpcpp.h",
        NO_GRPC,
        programs=("protoc", "grpc_cpp_plugin"),
        program_packages=("protobuf-compiler", "protobuf-compiler-grpc"),
    ),
)
# Debian's package has a shared library only, and recblr-serve is one file.
SOURCES = (
    Dependency(
        "prometheus-cpp", ("prometheus-cpp",), "src/prometheus-cpp/core/include/prometheus/registry.h", NO_SERVER
    ),
)
TEST_DEPENDENCIES = (
    Dependency("GoogleTest", ("libgtest-dev",), "gtest/gtest.h", "the core's own tests cannot be built"),
)
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
        get_native_dependencies(arguments.folder, (*DEPENDENCIES, *SOURCES, *TEST_DEPENDENCIES), system)
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
    wanted = [part for part in dependencies if not _is_there(part, folder, system)]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as temporary:
        packages = DebianPackages(Path(temporary))
        for part in wanted:
            try:
                if part in SOURCES:
                    _install_sources(packages.source(part.packages[0]), part, folder)
                else:
                    _install(_unpack(packages, part), part, folder)
            except (NotAvailableError, OSError) as error:
                if part.without is None:
                    raise MissingDependencyError(
                        f"{part.name} is missing and cannot be fetched ({error}): install its development files, on "
                        f"Debian and Ubuntu {part.packages[0]}, or unpack them elsewhere and name that in "
                        "CMAKE_PREFIX_PATH"
                    ) from error
                print(f"no {part.name} ({error}): {part.without}")


def _is_there(part: Dependency, folder: Path, system: Sequence[Path]) -> bool:
    """In `folder`, or in `system`, the folders of the system's headers."""
    if part in SOURCES:
        return (folder / part.header).is_file()
    if all((folder / path).is_file() for path in (f"include/{part.header}", *(f"bin/{p}" for p in part.programs))):
        return True
    return any((place / part.header).is_file() for place in system) and all(map(shutil.which, part.programs))


def _unpack(packages: DebianPackages, part: Dependency) -> Path:
    """The folder of the unpacked packages.

    Raises:
        NotAvailableError: they are not to be had, under either of their names.
    """
    names = part.packages
    if part.program_packages:
        libraries = packages.requirements(part.program_packages[-1], "lib(grpc|proto)")
        names = (*names, *part.program_packages, *libraries)
    try:
        return packages.unpack(names, part.header, newer_release=part.newer_release and not part.newer_packages)
    except NotAvailableError:
        if not part.newer_packages:
            raise
    return packages.unpack(part.newer_packages, part.header, newer_release=part.newer_release)


def system_folders() -> list[Path]:
    """Where CMake finds headers: the folders named in CMAKE_PREFIX_PATH, and the usual ones."""
    prefixes = [Path(prefix) for prefix in os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return [prefix / "include" for prefix in (*prefixes, Path("/usr/local"), Path("/usr"))]


def _install(contents: Path, part: Dependency, folder: Path) -> None:
    """Move a package's headers, static libraries and programs to their places; what tells it is there comes last."""
    headers, lib = contents / "usr" / "include", contents / "usr" / "lib"
    for configuration in headers.glob("*-linux-*"):  # headers of one architecture, as openssl/configuration.h
        shutil.copytree(configuration, headers, dirs_exist_ok=True)
        shutil.rmtree(configuration)
    for name in part.left_out:
        shutil.rmtree(headers / name, ignore_errors=True)
    libraries = [path for path in lib.rglob("*.a") if not path.is_symlink()]
    programs = [contents / "usr" / "bin" / name for name in part.programs]
    if programs:  # by the names that they look for
        programs += [path for path in lib.rglob("*.so.*") if path.is_symlink()]
    first = part.header.split("/")[0]
    entries = sorted(headers.iterdir(), key=lambda path: path.name == first)
    for paths, name in ((libraries, "lib"), (programs, "bin"), (entries, "include")):
        if not paths:
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in paths:
            _move(path.resolve(), folder / name / path.name)


def _install_sources(contents: Path, part: Dependency, folder: Path) -> None:
    """Move a package's sources to their place."""
    destination = folder / "src" / part.name
    destination.parent.mkdir(parents=True, exist_ok=True)
    _move(contents, destination)


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
