"""How the build finds ONNX Runtime's headers, and how the set-up gets them. Nothing is compiled here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "get_onnxruntime_headers.py"
SYSTEM_HEADER = Path("/usr/include/onnxruntime/onnxruntime_c_api.h")


def find_headers(root: object) -> subprocess.CompletedProcess[str]:
    """The finder alone, as a script of CMake's."""
    command = ["cmake", f"-DONNXRUNTIME_ROOT={root}", "-P", str(ROOT / "cmake" / "onnxruntime_headers.cmake")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_header(folder: Path, version: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "onnxruntime_c_api.h").write_text(f"#define ORT_API_VERSION {version}\n")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no CMake here")
class TestBuild:
    """ONNXRUNTIME_ROOT and what follows from it."""

    @pytest.mark.parametrize("place", ["include", "include/onnxruntime", "include/onnxruntime/core/session", "."])
    def test_a_folder_that_is_given(self, tmp_path: Path, place: str) -> None:
        write_header(tmp_path / place, 17)
        done = find_headers(tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"built with the headers in {tmp_path}" in done.stdout

    def test_a_folder_without_headers_is_an_error(self, tmp_path: Path) -> None:
        done = find_headers(tmp_path)
        assert done.returncode != 0
        assert "which has no onnxruntime_c_api.h" in " ".join(done.stderr.split())

    def test_headers_that_are_too_old(self, tmp_path: Path) -> None:
        write_header(tmp_path / "include", 16)
        done = find_headers(tmp_path)
        assert done.returncode == 0
        assert "are of API version '16', 17 or newer is needed" in " ".join(done.stderr.split())
        assert "operators for ONNX Runtime: not built" in done.stdout

    def test_switched_off(self) -> None:
        done = find_headers("OFF")
        assert done.returncode == 0, done.stderr
        assert "operators for ONNX Runtime: not built" in done.stdout


# In place of apt-get: this release has no package, Debian 13 has one. Notes how it was called.
APT_GET = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *indextargets*) echo "$MIRROR" ;;
  *debian.sources*update*) exit "${UPDATE_STATUS:-0}" ;;
  *debian.sources*download*) touch libonnxruntime-dev_13.deb ;;
  *) echo "E: Unable to locate package libonnxruntime-dev" >&2; exit 100 ;;
esac
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/include/onnxruntime"
echo "#define ORT_API_VERSION 21" > "$3/usr/include/onnxruntime/onnxruntime_c_api.h"
"""


@pytest.mark.skipif(SYSTEM_HEADER.exists(), reason="this system has the headers, and none are fetched")
class TestGettingThem:
    """The script of the set-up, with stand-ins for apt-get and dpkg-deb."""

    def run(self, tmp_path: Path, **variables: str) -> str:
        environment = {**os.environ, "PATH": str(tmp_path / "bin"), "CALLS": str(tmp_path / "calls"), **variables}
        command = [sys.executable, str(SCRIPT), str(tmp_path / "headers")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @pytest.fixture
    def apt(self, tmp_path: Path) -> Path:
        """The file that holds apt-get's calls."""
        (tmp_path / "bin").mkdir()
        for name in ("sh", "touch", "mkdir"):
            (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
        for name, content in (("apt-get", APT_GET), ("dpkg-deb", DPKG_DEB)):
            (tmp_path / "bin" / name).write_text(content)
            (tmp_path / "bin" / name).chmod(0o755)
        return tmp_path / "calls"

    @pytest.mark.skipif(
        not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists(), reason="no keys of Debian's archive here"
    )
    def test_from_debian_13(self, tmp_path: Path, apt: Path) -> None:
        assert self.run(tmp_path, MIRROR="file:/mirror/debian") == ""
        assert (tmp_path / "headers" / "include" / "onnxruntime_c_api.h").is_file()
        calls = apt.read_text()
        assert self.run(tmp_path, MIRROR="file:/mirror/debian") == ""
        assert apt.read_text() == calls  # the second time there was nothing to do

    @pytest.mark.parametrize(
        ("variables", "reason"),
        [
            ({"MIRROR": ""}, "it is not Debian"),
            ({"MIRROR": "file:/mirror/ubuntu"}, "it is not Debian"),
            ({"MIRROR": "file:/mirror/debian", "UPDATE_STATUS": "100"}, "apt-get: status 100|it is not Debian"),
        ],
    )
    def test_where_they_are_not_to_be_had(
        self, tmp_path: Path, apt: Path, variables: dict[str, str], reason: str
    ) -> None:
        message = self.run(tmp_path, **variables)
        assert message.startswith("no headers of ONNX Runtime (")
        assert message.endswith("the native library is built without its operators\n")
        assert any(part in message for part in reason.split("|"))
        assert not (tmp_path / "headers").exists()
        assert apt.is_file()

    def test_without_apt(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        assert "there is no apt here" in self.run(tmp_path)
