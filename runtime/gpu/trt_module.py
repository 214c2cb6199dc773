"""TensorRT's Python module, imported late: `tensorrt`, or TensorRT-RTX. A process uses one of the two.

`recblr.runtime.gpu.trt_plugins` and what builds on it are written against whichever `load_tensorrt` loaded.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from recblr.errors import ConfigError, MissingExtraError, short_reason
from recblr.runtime.bundle.plan_section import Target

_MODULES: dict[Target, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),  # the second where only the bindings' wheel is there
}
_TITLES: dict[Target, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_MAJOR_VERSIONS: dict[Target, tuple[int, ...]] = {"tensorrt": (10, 11), "tensorrt-rtx": (1,)}
_HOW_TO_INSTALL: dict[Target, str] = {
    "tensorrt": "pip install 'recblr[tensorrt]' (PyPI's tensorrt is a stub, which fetches the libraries from NVIDIA's "
    "own host: that must be reachable)",
    "tensorrt-rtx": "pip install 'recblr[tensorrt-rtx]'",
}

_RTX_LIBRARY = "libtensorrt_rtx.so"
_RTX_LIBRARIES = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")

_loaded: dict[Target, ModuleType] = {}


def load_tensorrt(target: Target) -> ModuleType:
    """Import a target's module.

    Raises:
        ConfigError: the process already uses the other target.
        MissingExtraError: not installed, without its libraries, or of a version that recblr does not know.
    """
    if target in _loaded:
        return _loaded[target]
    for other in _loaded:
        raise ConfigError(
            f"this process uses {_TITLES[other]} already, and one can't hold {_TITLES[target]} besides: start another"
        )
    module = _import(target)
    version = str(module.__version__)
    if version.partition(".")[0] not in map(str, _MAJOR_VERSIONS[target]):
        supported = " and ".join(f"{major}.x" for major in _MAJOR_VERSIONS[target])
        raise MissingExtraError(
            f"{_TITLES[target]} {version} is installed, recblr knows {supported}: {_HOW_TO_INSTALL[target]}"
        )
    _loaded[target] = module
    return module


def tensorrt_in_use() -> ModuleType:
    """The module that `load_tensorrt` gave.

    Raises:
        ConfigError: it was not called.
    """
    for module in _loaded.values():
        return module
    raise ConfigError("no TensorRT is loaded: call recblr.runtime.gpu.trt_module.load_tensorrt first")


def title(target: Target) -> str:
    """A target's name in messages."""
    return _TITLES[target]


def _import(target: Target) -> ModuleType:
    if target == "tensorrt-rtx" and sys.platform == "linux":
        _give_rtx_its_library_name()
    reason = "is not installed"
    for name in _MODULES[target]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                reason = f"cannot be imported ({short_reason(error)})"
        except Exception as error:  # the stub packages raise what they like where the libraries are not there
            reason = f"cannot be imported ({short_reason(error)})"
        else:
            if hasattr(module, "Builder"):
                return module
            reason = "is installed without its libraries"  # a stub, or type stubs alone
    raise MissingExtraError(f"{_TITLES[target]} {reason}: {_HOW_TO_INSTALL[target]}")


def _give_rtx_its_library_name() -> None:
    """Load the wheel's libraries from a folder where they have the name that they look for, too.

    As soon as its parser meets a plugin, TensorRT-RTX loads `libtensorrt_rtx.so` by that name and, not finding it,
    aborts the process. The wheel holds `libtensorrt_rtx.so.1` alone. Its libraries search the folder that they were
    loaded from (RPATH $ORIGIN), so they are loaded through links in a folder that has all names.

    Raises:
        ConfigError: the libraries were loaded before, from where the name is missing.
    """
    loaded_from = _folder_of_loaded(_RTX_LIBRARY)
    if loaded_from is not None:
        if not (loaded_from / _RTX_LIBRARY).exists():
            raise ConfigError(
                f"TensorRT-RTX was imported before recblr, and would abort: it looks for {_RTX_LIBRARY}, and "
                f"{loaded_from} lacks that name; use recblr first, or make it a link to {_RTX_LIBRARIES[0]}"
            )
        return
    found = importlib.util.find_spec("tensorrt_rtx_libs")
    if found is None or found.origin is None:
        return  # libraries of the system, if any
    wheel = Path(found.origin).parent
    if not all((wheel / name).exists() for name in _RTX_LIBRARIES):
        return
    folder = Path(tempfile.mkdtemp(prefix="recblr-tensorrt-rtx-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / _RTX_LIBRARY).symlink_to(wheel / _RTX_LIBRARIES[0])
    for name in _RTX_LIBRARIES:
        (folder / name).symlink_to(wheel / name)
        ctypes.CDLL(str(folder / name))


def _folder_of_loaded(name: str) -> Path | None:
    """Where this process has loaded a library from whose name starts so."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    paths = (Path(line.split(maxsplit=5)[5]) for line in lines if len(line.split(maxsplit=5)) == 6)
    return next((path.parent for path in paths if path.name.startswith(name)), None)
