"""Finds, loads and checks the one native library."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

LIBRARY_NAME = "librecblr_plugins.so"
ABI_VERSION = 7
ENVIRONMENT_VARIABLE = "RECBLR_PLUGINS_LIBRARY"


class PluginLibraryError(RuntimeError):
    """The native library is missing, cannot be loaded, or is of another ABI."""


@dataclass(frozen=True)
class PluginLibrary:
    """A loaded library: its path, its version, and the ctypes handle."""

    path: Path
    version: str
    handle: ctypes.CDLL

    @property
    def has_onnxruntime_ops(self) -> bool:
        """Whether ONNX Runtime can register the library: it was built with ONNX Runtime's headers."""
        return hasattr(self.handle, "RegisterCustomOps")

    @property
    def cuda_architectures(self) -> str:
        """The GPU architectures it has code for; empty in a build without CUDA."""
        function = self.handle.recblr_cuda_architectures
        function.restype = ctypes.c_char_p
        architectures: bytes = function()
        return architectures.decode()

    @property
    def last_error(self) -> str:
        """What was wrong with this thread's last call that failed."""
        function = self.handle.recblr_plugins_last_error
        function.restype = ctypes.c_char_p
        message: bytes = function()
        return message.decode()


def find_library() -> Path | None:
    """Return the library's path, or None where it was not built.

    `RECBLR_PLUGINS_LIBRARY` names a file that goes before the installed one. In a checkout that is not installed, the
    latest that was built in its `build` folder is taken.

    Raises:
        PluginLibraryError: the variable names a file that is not there.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        path = Path(named)
        if not path.is_file():
            raise PluginLibraryError(f"{ENVIRONMENT_VARIABLE} names {named!r}, which is no file: unset or correct it")
        return path
    # An editable install has two folders here: the sources', and the one the library is installed to.
    folders = [Path(folder) for folder in sys.modules[__package__].__path__]
    installed = [path for folder in folders if (path := folder / LIBRARY_NAME).is_file()]
    built = [path for folder in folders for path in _built(folder.resolve().parent)]
    return installed[0] if installed else max(built, key=lambda path: path.stat().st_mtime, default=None)


def _built(checkout: Path) -> list[Path]:
    """The libraries in a checkout's `build` folder: CMake's own, and those for editable installs."""
    if not (checkout / "plugins" / "CMakeLists.txt").is_file():
        return []
    patterns = ("plugins", "cp3*/plugins", "py3*/plugins")
    return [path for pattern in patterns for path in checkout.glob(f"build/{pattern}/{LIBRARY_NAME}")]


@functools.cache
def load_library() -> PluginLibrary:
    """Load the library once for the process.

    Raises:
        PluginLibraryError: not built, not loadable, or of another ABI version.
    """
    path = find_library()
    if path is None:
        raise PluginLibraryError(
            f"{LIBRARY_NAME} is not installed: install a C++ compiler and reinstall recblr, "
            f"or name a built library in {ENVIRONMENT_VARIABLE}"
        )
    if _is_truncated(path):
        raise PluginLibraryError(f"{path} cannot be loaded as {LIBRARY_NAME}: it is cut off; copy or build it again")
    try:
        handle = ctypes.CDLL(str(path))
        handle.recblr_plugins_abi_version.restype = ctypes.c_int
        handle.recblr_plugins_version.restype = ctypes.c_char_p
        abi = int(handle.recblr_plugins_abi_version())
    except (OSError, AttributeError) as error:
        raise PluginLibraryError(f"{path} cannot be loaded as {LIBRARY_NAME}: {error}") from error
    if abi != ABI_VERSION:
        raise PluginLibraryError(f"{path} has ABI version {abi}, this recblr needs {ABI_VERSION}: reinstall recblr")
    return PluginLibrary(path=path, version=handle.recblr_plugins_version().decode(), handle=handle)


def is_available() -> bool:
    """Whether there is a library that can be loaded, of this ABI version."""
    try:
        load_library()
    except PluginLibraryError:
        return False
    return True


def _is_truncated(path: Path) -> bool:
    """Whether an ELF file ends before its table of sections, which comes last; dlopen would end the process."""
    with path.open("rb") as file:
        header = file.read(64)
        size = file.seek(0, os.SEEK_END)
    if not header.startswith(b"\x7fELF\x02\x01"):  # 64 bits, little-endian: all that this is built for
        return False
    if len(header) < 64:
        return True
    start = int.from_bytes(header[40:48], "little")
    entry, count = (int.from_bytes(header[at : at + 2], "little") for at in (58, 60))
    return start + entry * count > size
