"""The native library: finds and loads `librecblr_plugins.so`.

`recblr.plugins.abi` has the structures of its C ABI. Imports neither torch, onnx nor any other part of recblr, so that
every part can use it.
"""

from __future__ import annotations

from ._library import (
    ABI_VERSION,
    LIBRARY_NAME,
    PluginLibrary,
    PluginLibraryError,
    find_library,
    is_available,
    load_library,
)

__all__ = [
    "ABI_VERSION",
    "LIBRARY_NAME",
    "PluginLibrary",
    "PluginLibraryError",
    "find_library",
    "is_available",
    "load_library",
]
