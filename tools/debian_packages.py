"""Files of Debian's and Ubuntu's packages, without root: apt downloads a package, and nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

NEWER_RELEASE = "trixie"  # Debian 13
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_TIMEOUT_SECONDS = 120
_OPTIONS = ("Acquire::http::Timeout=20", "Acquire::https::Timeout=20", "Acquire::Retries=1", "Acquire::Languages=none")


class NotAvailableError(Exception):
    """A package cannot be had here; the message says why."""


class DebianPackages:
    """Unpacks packages into `folder`, an existing, temporary one, where apt's own files go, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own_release: list[str] | None = None  # apt's options, once its lists are there
        self._newer_release: list[str] | None = None

    def unpack(self, package: str, header: str, *, newer_release: bool = False) -> Path:
        """The folder of the unpacked package, in which usr/include holds `header`.

        The package is of the system's own release. With `newer_release` it is Debian 13's where that has none with
        such a header: right for headers alone, and for libraries that need no newer C library.

        Raises:
            NotAvailableError: apt is missing, cannot reach the package, or the package lacks the header.
        """
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NotAvailableError("there is no apt here")
        try:
            return self._extract(self._download_of_own_release(package), header)
        except NotAvailableError:
            if not newer_release:
                raise
        if self._newer_release is None:
            self._newer_release = self._lists_of_newer_release(package)
        return self._extract(self._download(package, self._newer_release), header)

    def _download_of_own_release(self, package: str) -> Path:
        if self._own_release is None:
            try:
                return self._download(package, [])
            except NotAvailableError:  # the system's lists are missing or old: images of containers have none
                self._own_release = self._lists("own")
                _apt("update", options=self._own_release, cwd=self._folder)
        return self._download(package, self._own_release)

    def _download(self, package: str, options: list[str]) -> Path:
        """The package's file."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        _apt("download", package, options=options, cwd=folder)
        return next(folder.glob("*.deb"))

    def _extract(self, file: Path, header: str) -> Path:
        contents = file.with_suffix("")
        _run(["dpkg-deb", "--extract", str(file), str(contents)], self._folder)
        if not any((contents / "usr" / "include").rglob(header)):
            raise NotAvailableError(f"{file.name} has no {header}")
        return contents

    def _lists_of_newer_release(self, package: str) -> list[str]:
        """Options by which apt knows Debian 13 only, at the system's own mirror."""
        query = ("--no-release-info", "--format", "$(REPO_URI)", "Created-By: Packages")
        uris = _apt("indextargets", *query, cwd=self._folder).split()
        mirror = next((uri for uri in uris if re.search(r"/debian/?$", uri)), None)
        if mirror is None or not KEYRING.is_file():
            raise NotAvailableError(f"this system's release has no {package} that will do, and it is not Debian")
        sources = self._folder / "debian.sources"
        sources.write_text(
            f"Types: deb\nURIs: {mirror}\nSuites: {NEWER_RELEASE}\nComponents: main\nSigned-By: {KEYRING}\n",
            encoding="utf-8",
        )
        options = [
            f"Dir::Etc::SourceList={sources}",
            "Dir::Etc::SourceParts=/dev/null",
            *self._lists(NEWER_RELEASE),
        ]
        _apt("update", options=options, cwd=self._folder)
        return options

    def _lists(self, name: str) -> list[str]:
        """Options by which apt keeps its lists and all other files in a folder of that name."""
        lists, cache = self._folder / name / "lists", self._folder / name / "cache"
        for part in (lists, cache / "archives"):
            (part / "partial").mkdir(parents=True, exist_ok=True)
        return [f"Dir::State::Lists={lists}", f"Dir::Cache={cache}"]


def _apt(command: str, *arguments: str, cwd: Path, options: list[str] | None = None) -> str:
    settings = [word for option in (*_OPTIONS, *(options or [])) for word in ("-o", option)]
    # Its own user, to which it changes where it can, may not write to a temporary folder.
    user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    return _run(["apt-get", "--quiet", *settings, *user, command, *arguments], cwd)


def _run(command: list[str], cwd: Path) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailableError(f"{command[0]} took longer than {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise NotAvailableError(f"{command[0]}: {lines[-1]}")
    return done.stdout
