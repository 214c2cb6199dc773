"""What building and running a plan share: TensorRT's messages, kept, and the plugin library.

Importing this module needs `recblr.runtime.gpu.trt_module.load_tensorrt` to have been called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recblr.errors import BundleError, short_reason
from recblr.runtime.gpu.trt_module import tensorrt_in_use

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()

PLUGIN_NAMESPACE = "recblr"
PLUGINS = ("CausalConv1d", "GatedScan")
PLUGIN_VERSION = "1"
_NAMES = [f"{PLUGIN_NAMESPACE}::{name}" for name in PLUGINS]

_OUT_OF_MEMORY = ("outofmemory", "out of memory", "mem_alloc_failed", "cudaerror 2)", "bad_alloc")


class MessageLog(trt.ILogger):
    """Keeps what TensorRT says, and prints nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.infos: list[str] = []
        self.problems: list[str] = []

    def log(self, severity: trt.ILogger.Severity, message: str) -> None:
        """Called by TensorRT, from any thread; must not raise."""
        levels = trt.ILogger.Severity
        if severity in (levels.INTERNAL_ERROR, levels.ERROR):
            self.problems.append(message)
        elif severity == levels.INFO:
            self.infos.append(message)

    def reason(self) -> str:
        """The first error since the last `clear`, in one line."""
        return short_reason(RuntimeError(self.problems[0])) if self.problems else "TensorRT gave no reason"

    @property
    def out_of_memory(self) -> bool:
        """Whether one of the errors says that memory ran out."""
        text = " ".join(self.problems).lower()
        return any(sign in text for sign in _OUT_OF_MEMORY)

    def clear(self) -> None:
        """Forget the errors."""
        self.problems.clear()


def missing_plugins() -> list[str]:
    """The recblr plugins that TensorRT's registry lacks, as recblr::Name."""
    registry = trt.get_plugin_registry()
    found = {
        f"{creator.plugin_namespace}::{creator.name}"
        for creator in registry.all_creators
        if creator.plugin_namespace == PLUGIN_NAMESPACE and creator.plugin_version == PLUGIN_VERSION
    }
    return [name for name in _NAMES if name not in found]


def register_plugins(library: Path, log: MessageLog) -> None:
    """Load the plugin library into TensorRT's registry, unless its plugins are registered already.

    Raises:
        BundleError: the file is missing, is no plugin library, or has not all plugins, or another library has
            registered some of them.
    """
    missing = missing_plugins()
    if not missing:
        return
    if len(missing) < len(_NAMES):  # TensorRT refuses a library of which it knows a plugin
        registered = ", ".join(name for name in _NAMES if name not in missing)
        raise BundleError(
            f"{library} cannot be loaded: another library of this process has registered {registered}, and not "
            f"{', '.join(missing)}; use a process without that library"
        )
    if not library.is_file():
        raise BundleError(f"the plugin library {library} does not exist: reinstall recblr, or export the bundle again")
    # None where TensorRT refuses the library.
    handle = trt.get_plugin_registry().load_library(str(library))
    missing = missing_plugins()
    if missing:
        advice = "is it librecblr_plugins.so of this recblr, built for this machine? Reinstall recblr"
        said = log.reason() if log.problems else "loaded" if handle is not None else "refused"
        raise BundleError(f"{library} does not give TensorRT {', '.join(missing)} ({said}): {advice}")
