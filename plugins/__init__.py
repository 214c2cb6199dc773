"""The native library: finds and loads `librecblr_plugins.so`, and moves user states with it.

Imports neither torch, onnx nor any other part of recblr, so that every part can use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._library import ABI_VERSION, LIBRARY_NAME, PluginLibrary, PluginLibraryError, find_library, load_library

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """What needs NumPy is imported where it is used."""
    if name in ("gather_state", "scatter_state"):
        return getattr(importlib.import_module(".state", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
