"""Gets ONNX Runtime's C headers where apt can: from this system's release, or from Debian 13's libonnxruntime-dev.

    python tools/get_onnxruntime_headers.py [FOLDER]

The native library needs them, and nothing else, to carry operators for ONNX Runtime; its Python packages lack them.
Nothing is installed: the package is unpacked, and its headers are put into FOLDER/include. Where that fails, it says so
and the build goes on without them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "libonnxruntime-dev"
RELEASE = "trixie"  # Debian 13, the first to have the package
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HEADER = "onnxruntime_c_api.h"
SYSTEM_FOLDERS = (Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime"), Path("/usr/local/include"))
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "build" / "onnxruntime"

_TIMEOUT_SECONDS = 120
_OPTIONS = ("Acquire::http::Timeout=20", "Acquire::https::Timeout=20", "Acquire::Retries=1", "Acquire::Languages=none")


class NotAvailableError(Exception):
    """The headers cannot be had here; the message says why."""


def main() -> int:
    """Get the headers unless they are there. Returns 0: they are optional."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    if any((place / HEADER).is_file() for place in (folder / "include", *SYSTEM_FOLDERS)):
        return 0
    try:
        with tempfile.TemporaryDirectory() as temporary:
            headers = _unpack(_download(Path(temporary)), Path(temporary))
            _install(headers, folder / "include")
    except (NotAvailableError, OSError) as error:
        print(f"no headers of ONNX Runtime ({error}): the native library is built without its operators")
    return 0


def _download(folder: Path) -> Path:
    """The package's file in `folder`, from the system's own release or from Debian 13."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotAvailableError("there is no apt here")
    packages = folder / "packages"
    packages.mkdir()
    try:
        _apt("download", PACKAGE, cwd=packages)
    except NotAvailableError:
        options = _debian_13(folder)
        _apt("update", options=options, cwd=folder)
        _apt("download", PACKAGE, options=options, cwd=packages)
    return next(packages.glob("*.deb"))


def _debian_13(folder: Path) -> list[str]:
    """Options by which apt knows Debian 13 only, at the system's own mirror, and keeps all its files in `folder`."""
    query = ("--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages")
    uris = _apt("indextargets", *query, cwd=folder).split()
    mirror = next((uri for uri in uris if re.search(r"/debian/?$", uri)), None)
    if mirror is None or not KEYRING.is_file():
        raise NotAvailableError(f"this system's release has no {PACKAGE}, and it is not Debian")
    sources, lists, cache = folder / "debian.sources", folder / "lists", folder / "cache"
    sources.write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {RELEASE}\nComponents: main\nSigned-By: {KEYRING}\n", encoding="utf-8"
    )
    for part in (lists, cache / "archives"):
        (part / "partial").mkdir(parents=True)
    return [
        f"Dir::Etc::SourceList={sources}",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={lists}",
        f"Dir::Cache={cache}",
    ]


def _unpack(package: Path, folder: Path) -> Path:
    """The folder of headers of an unpacked package."""
    contents = folder / "contents"
    _run(["dpkg-deb", "--extract", str(package), str(contents)], folder)
    return next(contents.rglob(HEADER)).parent


def _install(headers: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    unfinished = destination.with_name(f"{destination.name}.{os.getpid()}")
    shutil.copytree(headers, unfinished)
    try:
        unfinished.rename(destination)
    except OSError:  # another process was first
        shutil.rmtree(unfinished)


def _apt(command: str, *arguments: str, cwd: Path, options: list[str] | None = None) -> str:
    settings = [word for option in (*_OPTIONS, *(options or [])) for word in ("-o", option)]
    # Its own user, to which it changes where it can, may not write to a temporary folder.
    user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    return _run(["apt-get", "--quiet", *settings, *user, command, *arguments], cwd)


def _run(command: list[str], cwd: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailableError(f"{command[0]} took longer than {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise NotAvailableError(f"{command[0]}: {lines[-1]}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


if __name__ == "__main__":
    sys.exit(main())
