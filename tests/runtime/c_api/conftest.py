"""librecblr built and installed for consumer projects, and a bundle for them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import filelock
import pytest

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

ROOT = Path(__file__).resolve().parents[3]
CONSUMERS = ROOT / "tests" / "runtime" / "native" / "consumers"


def call(*command: object, text: str = "", **options: object) -> str:
    """What a command prints, once it succeeded."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    output: str = done.stdout
    return output


def cmake(source: Path, build: Path, *arguments: object) -> Path:
    """Configure and build a project. Returns the build folder."""
    call("cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *arguments)
    call("cmake", "--build", build, "--parallel", 2)
    return build


@dataclass(frozen=True)
class Library:
    """librecblr in a build folder, and installed under a prefix."""

    build: Path
    prefix: Path

    @property
    def shared(self) -> Path:
        """The shared library in the install tree."""
        (path,) = self.prefix.glob("lib*/librecblr.so.*.*.*")
        return path

    @property
    def package(self) -> Path:
        """The folder of the installed CMake package."""
        (path,) = self.prefix.glob("lib*/cmake/recblr")
        return path


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """librecblr, built anew only where sources changed."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler here")
    build = ROOT / "build" / "consumers"
    build.parent.mkdir(exist_ok=True)
    prefix = tmp_path_factory.mktemp("prefix")
    with filelock.FileLock(build.with_suffix(".lock")):  # pytest-xdist runs several processes
        call("cmake", "-S", ROOT, "-B", build, "-DRECBLR_CUDA=OFF")
        call("cmake", "--build", build, "--parallel", 2, "--target", "recblr", "recblr_static")
        call("cmake", "--install", build, "--prefix", prefix, "--component", "recblr")
    return Library(build, prefix)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model whose item ids are 100 to 129."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    model = RecBLR(RecBLRConfig(n_items=30, dim=8))
    export_bundle(Checkpoint(model, ItemVocabulary(list(range(100, 130)), list(range(30)))), folder)
    return folder
