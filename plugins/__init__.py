"""The native library: finds and loads `librecblr_plugins.so`, and moves user states with it.

Imports neither torch, onnx nor any other part of recblr, so that every part can use it.
"""

from __future__ import annotations

from ._library import ABI_VERSION, LIBRARY_NAME, PluginLibrary, PluginLibraryError, find_library, load_library
from .state import gather_state, scatter_state

__all__ = [
    "ABI_VERSION",
    "LIBRARY_NAME",
    "PluginLibrary",
    "PluginLibraryError",
    "find_library",
    "gather_state",
    "load_library",
    "scatter_state",
]
