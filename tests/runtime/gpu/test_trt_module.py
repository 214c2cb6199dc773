"""Finding TensorRT's module, or saying what is missing. The modules are made up, but for the last test's."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from recblr.errors import ConfigError, MissingExtraError

needs_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None,
    reason="TensorRT-RTX is not installed: pip install 'recblr[tensorrt-rtx]'",
)

PIP = (
    "pip install 'recblr[tensorrt]' (PyPI's tensorrt is a stub, which fetches the libraries from NVIDIA's own host: "
    "that must be reachable)",
    "pip install 'recblr[tensorrt-rtx]'",
)


@pytest.fixture
def trt_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as in a process that has asked for no TensorRT yet; and the real libraries are left alone."""
    monkeypatch.setattr(sys, "platform", "win32")  # the libraries of a wheel are loaded early on Linux alone
    spec = importlib.util.find_spec("recblr.runtime.gpu.trt_module")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module


def test_tensorrt_is_missing(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt")
    assert str(caught.value) == f"TensorRT is not installed: {PIP[0]}"


def test_tensorrt_rtx_is_missing(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt-rtx")
    assert str(caught.value) == f"TensorRT-RTX is not installed: {PIP[1]}"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('the wheels are not on\\\\nthis index')", "the wheels are not on this index"),
        ("import tensorrt_libs_cu99", "No module named 'tensorrt_libs_cu99'"),
        ("raise OSError('libnvinfer.so.10: cannot open shared object file')", "libnvinfer.so.10: cannot open shared"),
    ],
    ids=["a stub", "no libraries", "libraries that do not load"],
)
def test_its_libraries_are_missing(
    trt_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    """What its packages do where NVIDIA's host was not reachable at the installation."""
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text(source.replace("\\\\", "\\"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt")
    assert str(caught.value).startswith(f"TensorRT cannot be imported ({reason}")
    assert str(caught.value).endswith(f"): {PIP[0]}")
    assert "\n" not in str(caught.value)


def test_an_empty_shell_of_it(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as type stubs alone."""
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt"))
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt")
    assert str(caught.value) == f"TensorRT is installed without its libraries: {PIP[0]}"


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0.post12.dev1", "12.0.0", "unknown", ""])
def test_another_major_version(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", _module("tensorrt", Builder=object, __version__=version))
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt")
    assert str(caught.value) == f"TensorRT {version} is installed, recblr knows 10.x and 11.x: {PIP[0]}"
    with pytest.raises(ConfigError, match="no TensorRT is loaded"):
        trt_module.tensorrt_in_use()


def test_another_major_version_of_tensorrt_rtx(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module("tensorrt_rtx", Builder=object, __version__="2.0.0.1")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    with pytest.raises(MissingExtraError) as caught:
        trt_module.load_tensorrt("tensorrt-rtx")
    assert str(caught.value) == f"TensorRT-RTX 2.0.0.1 is installed, recblr knows 1.x: {PIP[1]}"


@pytest.mark.parametrize("version", ["10.0.1", "10.16.1.11", "11.1.0"])
def test_a_process_uses_one(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    module = _module("tensorrt", Builder=object, __version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert trt_module.load_tensorrt("tensorrt") is module
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert trt_module.load_tensorrt("tensorrt") is module  # asked for again, it is not imported again
    assert trt_module.tensorrt_in_use() is module
    with pytest.raises(ConfigError) as caught:
        trt_module.load_tensorrt("tensorrt-rtx")
    assert str(caught.value) == (
        "this process uses TensorRT already, and one can't hold TensorRT-RTX besides: start another"
    )


def test_the_bindings_alone_are_enough(trt_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    module = _module("tensorrt_rtx_bindings", Builder=object, __version__="1.2.0")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", module)
    assert trt_module.load_tensorrt("tensorrt-rtx") is module


def test_none_is_loaded(trt_module: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"no TensorRT is loaded: call .*\.load_tensorrt first"):
        trt_module.tensorrt_in_use()


def test_titles(trt_module: ModuleType) -> None:
    assert (trt_module.title("tensorrt"), trt_module.title("tensorrt-rtx")) == ("TensorRT", "TensorRT-RTX")


@needs_tensorrt_rtx
def test_tensorrt_rtx_gets_its_library_name_and_leaves_nothing(tmp_path: Path) -> None:
    """In a process of its own: the libraries are loaded through links, which are gone when it ends."""
    program = """
from pathlib import Path
from recblr.runtime.gpu.trt_module import load_tensorrt
load_tensorrt("tensorrt-rtx")
loaded = {Path(line.split(maxsplit=5)[5].strip()) for line in open("/proc/self/maps") if "libtensorrt_rtx.so" in line}
print(len(loaded), *(path.name for path in loaded))
import tempfile
(folder,) = Path(tempfile.gettempdir()).glob("recblr-tensorrt-rtx-*")
print(*sorted(path.name for path in folder.iterdir()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"TMPDIR": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, links = done.stdout.splitlines()
    assert loaded.startswith("1 libtensorrt_rtx.so")
    assert links.split() == ["libtensorrt_onnxparser_rtx.so.1", "libtensorrt_rtx.so", "libtensorrt_rtx.so.1"]
    assert not list(tmp_path.iterdir())
