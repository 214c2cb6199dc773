"""What an engine's build needs of the machine, checked before anything slow begins, the import of PyTorch included."""

from __future__ import annotations

from pathlib import Path

from recblr.errors import ExportError
from recblr.export.tensorrt.settings import EngineSettings
from recblr.plugins import LIBRARY_NAME, PluginLibraryError, find_library
from recblr.runtime.gpu.trt_module import load_tensorrt, title


def require_tensorrt(settings: EngineSettings) -> Path:
    """Load TensorRT and its plugins, so that what is missing is said at once.

    Returns:
        The plugin library.

    Raises:
        MissingExtraError: TensorRT is missing, or of another major version.
        ExportError: the plugin library is missing.
        BundleError: TensorRT refuses the plugin library.
        ConfigError: compute capabilities that TensorRT-RTX does not build for.
    """
    load_tensorrt(settings.target)
    from recblr.export.tensorrt.compute_capabilities import compute_capability_kinds
    from recblr.runtime.gpu.trt_plugins import MessageLog, register_plugins

    try:
        library = find_library()
    except PluginLibraryError as error:
        raise ExportError(str(error)) from error
    if library is None:
        raise ExportError(
            f"{title(settings.target)} needs the plugin library {LIBRARY_NAME}, which is not installed: install a C++ "
            "compiler and reinstall recblr, or name a built one in RECBLR_PLUGINS_LIBRARY"
        )
    register_plugins(library, MessageLog())
    compute_capability_kinds(settings.compute_capabilities)
    return library
