"""Files of Debian's and Ubuntu's packages, without root: apt downloads a package, and nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
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
        self._sources: list[str] | None = None

    def unpack(self, packages: Sequence[str], header: str, *, newer_release: bool = False) -> Path:
        """The folder that the packages are unpacked to, together, in which usr/include holds `header`.

        The packages are of the system's own release. With `newer_release` they are Debian 13's where that has none with
        such a header: right for headers alone, and for libraries that need no newer C library.

        Raises:
            NotAvailableError: apt is missing, cannot reach the packages, or they lack the header.
        """
        _check_apt()
        try:
            return self._extract(self._download_of_own_release(packages), header)
        except NotAvailableError:
            if not newer_release:
                raise
        if self._newer_release is None:
            self._newer_release = self._lists_of_newer_release(packages[0])
        return self._extract(self._download(packages, self._newer_release), header)

    def requirements(self, package: str, pattern: str) -> list[str]:
        """The names of the packages that one of the system's own release depends on, those that begin like `pattern`.

        Raises:
            NotAvailableError: apt is missing or does not know the package.
        """
        _check_apt()
        lines = self._of_own_release("apt-cache", "depends", package).splitlines()
        names = [line.partition("Depends: ")[2].strip() for line in lines if line.startswith("  Depends: ")]
        return [name for name in names if re.match(pattern, name)]

    def source(self, package: str) -> Path:
        """The folder that a package's sources are unpacked to, without the changes of Debian's or Ubuntu's.

        Raises:
            NotAvailableError: apt is missing or cannot reach the sources.
        """
        _check_apt()
        if self._sources is None:
            self._sources = self._lists_of_sources(package)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        _apt("source", "--download-only", package, options=self._sources, cwd=folder)
        archive = next(folder.glob("*.orig.tar.*"), None)
        if archive is None:
            raise NotAvailableError(f"the sources of {package} are not in an archive of their own")
        (folder / "contents").mkdir()
        _run(["tar", "--extract", "--file", str(archive), "--directory", str(folder / "contents")], self._folder)
        return next((folder / "contents").iterdir())

    def program(self, package: str, destination: Path) -> None:
        """Unpack a package of the system's own release into `destination`, with those that it needs and are missing.

        Raises:
            NotAvailableError: apt is missing, or cannot reach the packages.
        """
        _check_apt()
        planned = self._of_own_release("apt-get", "install", "--simulate", "--no-install-recommends", package)
        missing = re.findall(r"^Inst (\S+)", planned, flags=re.MULTILINE)
        for file in self._download_of_own_release(missing or [package]):
            _run(["dpkg-deb", "--extract", str(file), str(destination)], self._folder)

    def _download_of_own_release(self, packages: Sequence[str]) -> list[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        self._of_own_release("apt-get", "download", *packages, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def _of_own_release(self, program: str, command: str, *arguments: str, cwd: Path | None = None) -> str:
        if self._own_release is None:
            try:
                return _apt(command, *arguments, program=program, cwd=cwd or self._folder)
            except NotAvailableError:  # the system's lists are missing or old: images of containers have none
                self._own_release = self._lists("own")
                _apt("update", options=self._own_release, cwd=self._folder)
        return _apt(command, *arguments, program=program, options=self._own_release, cwd=cwd or self._folder)

    def _download(self, packages: Sequence[str], options: list[str]) -> list[Path]:
        """The packages' files."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        _apt("download", *packages, options=options, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def _extract(self, files: Sequence[Path], header: str) -> Path:
        contents = files[0].with_suffix("")
        for file in files:
            _run(["dpkg-deb", "--extract", str(file), str(contents)], self._folder)
        if not any((contents / "usr" / "include").rglob(header)):
            raise NotAvailableError(f"{files[0].name} has no {header}")
        return contents

    def _lists_of_sources(self, package: str) -> list[str]:
        """Options by which apt knows the sources of the system's own release only."""
        query = ("--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
        targets = [line.split() for line in _apt("indextargets", *query, cwd=self._folder).splitlines()]
        # Not those of corrections, which come in repositories of their own, or releases with a dash in their names.
        mirrors = {tuple(target) for target in targets if len(target) == 3 and "-" not in target[1]}
        mirrors = {target for target in mirrors if re.search(r"/(debian|ubuntu)/?$", target[0])}
        if not mirrors:
            raise NotAvailableError(f"the sources of {package} are on a mirror of Debian or Ubuntu, and apt knows none")
        sources = self._folder / "own.sources"
        keyrings = " ".join(map(str, Path("/usr/share/keyrings").glob("*-archive-keyring.gpg")))
        signed = f"Signed-By: {keyrings}\n" if keyrings else ""
        sources.write_text(
            "\n".join(
                f"Types: deb-src\nURIs: {uri}\nSuites: {release}\nComponents: {component}\n{signed}"
                for uri, release, component in sorted(mirrors)
            ),
            encoding="utf-8",
        )
        return self._update(sources, "sources")

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
        return self._update(sources, NEWER_RELEASE)

    def _update(self, sources: Path, name: str) -> list[str]:
        """Options by which apt knows what the file `sources` names, and nothing else."""
        options = [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null", *self._lists(name)]
        _apt("update", options=options, cwd=self._folder)
        return options

    def _lists(self, name: str) -> list[str]:
        """Options by which apt keeps its lists and all other files in a folder of that name."""
        lists, cache = self._folder / name / "lists", self._folder / name / "cache"
        for part in (lists, cache / "archives"):
            (part / "partial").mkdir(parents=True, exist_ok=True)
        return [f"Dir::State::Lists={lists}", f"Dir::Cache={cache}"]


def _check_apt() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotAvailableError("there is no apt here")


def _apt(command: str, *arguments: str, cwd: Path, options: list[str] | None = None, program: str = "apt-get") -> str:
    settings = [word for option in (*_OPTIONS, *(options or [])) for word in ("-o", option)]
    # Its own user, to which it changes where it can, may not write to a temporary folder.
    user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    return _run([program, "--quiet", *settings, *user, command, *arguments], cwd)


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
