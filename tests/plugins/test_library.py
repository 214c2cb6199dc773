"""Finding and loading the native library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recblr
from recblr import plugins
from recblr.plugins import _library, abi

HEADER = Path(__file__).parents[2] / "plugins" / "include" / "recblr" / "plugins.h"

needs_library = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)


@pytest.fixture(autouse=True)
def _load_anew():
    _library.load_library.cache_clear()
    yield
    _library.load_library.cache_clear()


def test_the_library_is_built_where_there_is_a_compiler():
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    assert plugins.find_library() is not None


@needs_library
def test_the_library_is_of_this_version():
    library = plugins.load_library()
    assert library.version == recblr.__version__
    assert library.handle.recblr_plugins_abi_version() == plugins.ABI_VERSION


@needs_library
def test_a_library_named_by_the_environment_goes_first(monkeypatch, tmp_path):
    other = tmp_path / "other.so"
    shutil.copy(plugins.find_library(), other)
    monkeypatch.setenv(_library.ENVIRONMENT_VARIABLE, str(other))
    assert plugins.load_library().path == other


def test_a_named_library_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv(_library.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere.so"))
    with pytest.raises(plugins.PluginLibraryError, match="nowhere.so.*unset or correct it"):
        plugins.load_library()


def test_a_file_that_is_no_library(monkeypatch, tmp_path):
    text = tmp_path / "text.so"
    text.write_text("no library")
    monkeypatch.setenv(_library.ENVIRONMENT_VARIABLE, str(text))
    with pytest.raises(plugins.PluginLibraryError, match="cannot be loaded"):
        plugins.load_library()


@needs_library
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_library_that_is_cut_off(monkeypatch, tmp_path, kept):
    whole = plugins.find_library().read_bytes()
    part = tmp_path / "part.so"
    part.write_bytes(whole[: int(kept * len(whole))])
    monkeypatch.setenv(_library.ENVIRONMENT_VARIABLE, str(part))
    with pytest.raises(plugins.PluginLibraryError, match=r"part\.so cannot be loaded.*it is cut off"):
        plugins.load_library()


def test_no_library(monkeypatch):
    monkeypatch.delenv(_library.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(plugins, "__path__", [])
    with pytest.raises(plugins.PluginLibraryError, match="not installed: install a C\\+\\+ compiler"):
        plugins.load_library()


@needs_library
def test_another_abi_version_is_refused(monkeypatch):
    monkeypatch.setattr(_library, "ABI_VERSION", 99)
    with pytest.raises(plugins.PluginLibraryError, match=f"ABI version {plugins.ABI_VERSION}, this recblr needs 99"):
        plugins.load_library()


def test_importing_plugins_loads_nothing_heavy():
    code = "import sys, recblr.plugins; sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_library
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm here")
def test_nothing_but_the_c_abi_and_the_entry_points_leaves_the_library():
    """What else left it, such as the standard library's templates, might take the place of another library's."""
    command = ["nm", "-D", "--defined-only", "--format=posix", str(plugins.find_library())]
    names = {line.split()[0] for line in subprocess.check_output(command, text=True).splitlines()}
    assert {"recblr_plugins_abi_version", "recblr_plugins_last_error", "getCreators", "setLoggerFinder"} <= names
    entry_points = {"RegisterCustomOps", "getCreators", "setLoggerFinder"}
    assert {name for name in names - entry_points if not name.startswith("recblr_")} == set()
    declared = set(re.findall(r"^RECBLR_API .*?(recblr_\w+)\(", HEADER.read_text(), re.MULTILINE))
    assert names - entry_points == declared


@needs_library
def test_the_structures_are_those_of_the_header():
    """Every field of every structure, in order."""
    structures = re.findall(r"^typedef struct (\w+) \{(.*?)^\} \1;", HEADER.read_text(), re.MULTILINE | re.DOTALL)
    assert len(structures) == 5
    for name, body in structures:
        without_comments = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
        fields = re.findall(r"^ *(?:const )?\w+(?: |\* ?)\*?(\w+);", without_comments, re.MULTILINE)
        python_name = "".join(part.capitalize() for part in name.removeprefix("recblr_").split("_"))
        python = getattr(abi, {"CausalConv1D": "CausalConv1d"}.get(python_name, python_name))
        assert [field for field, _ in python._fields_] == fields, name


# What each folder of the library's sources may include of the others.
FOLDERS = {
    "abi": set(),
    "cpu": set(),
    "sequence": {"abi", "cpu"},
    "cuda": {"abi", "cpu"},
    "tensorrt": set(),
    "onnxruntime": {"cpu", "sequence"},
}


def test_the_folders_of_the_library_build_on_one_another_in_one_direction():
    sources = HEADER.parents[2] / "src"
    assert {path.name for path in sources.iterdir()} == FOLDERS.keys()
    for folder, below in FOLDERS.items():
        files = [path for path in (sources / folder).iterdir() if path.suffix in {".h", ".cpp", ".cu"}]
        assert files
        included = {name for file in files for name in re.findall(r'^#include "(\w+)/', file.read_text(), re.MULTILINE)}
        assert included - {folder, "recblr"} <= below
