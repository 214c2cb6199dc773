"""tools/get_ccache.py: the script by which compilers are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "get_ccache.py"


def get_ccache(folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), str(folder)]
    environment = {**os.environ, "PATH": str(path)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("variables", [{}, {"CCACHE_DIR": "/elsewhere"}])
def test_the_systems_ccache_gets_the_command_and_a_folder_for_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.delenv("CCACHE_DIR", raising=False)
    program = tmp_path / "bin" / "ccache"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$CCACHE_DIR" "$CCACHE_DEPEND" "$@"\n')
    program.chmod(0o755)
    assert get_ccache(tmp_path / "folder", program.parent).returncode == 0
    command = [str(tmp_path / "folder" / "ccache"), "c++", "-c", "a b.cpp"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    cache = variables.get("CCACHE_DIR", f"{tmp_path}/folder/cache")
    assert done.stdout == f"{cache} 1 c++ -c a b.cpp\n"


def test_without_ccache_and_apt_builds_do_without(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = get_ccache(tmp_path / "folder", tmp_path / "empty")
    assert done.returncode == 1
    assert done.stderr == "no ccache (there is no apt here): tests that build a package compile everything again\n"
    assert not (tmp_path / "folder" / "ccache").exists()
