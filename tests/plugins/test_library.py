"""Finding and loading the native library."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

import recblr
from recblr import plugins
from recblr.plugins import _library

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
    assert library.handle.recblr_abi_version() == plugins.ABI_VERSION


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
