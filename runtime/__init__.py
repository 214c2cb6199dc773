"""The runtime: the best next items from a bundle, without PyTorch.

    engine = recblr.runtime.load("bundle/")
    engine.recommend([[1, 2, 3]], k=10)

Importing this package stays light, so that a module of it that only names things needs no NumPy: its public names are
imported when one of them is first asked for. ONNX Runtime comes with the first `load` that needs it.
"""

from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a checkout that is not installed, `_core` is in its `build` folder: the latest that was built there.
_names = [f"_core{suffix}" for suffix in EXTENSION_SUFFIXES]
_checkout = Path(__path__[0]).resolve().parent
if not any(Path(folder, name).is_file() for folder in __path__ for name in _names):
    _places = [f"build/{tag}runtime/src/python/{name}" for tag in ("", "cp3*/") for name in _names]
    _built = [path for place in _places for path in _checkout.glob(place) if (_checkout / "CMakeLists.txt").is_file()]
    if _built:
        __path__.append(str(max(_built, key=lambda path: path.stat().st_mtime).parent))

if TYPE_CHECKING:
    from recblr.runtime.api import *  # noqa: F403
else:

    def _load_core() -> Any:
        from recblr.errors import MissingExtraError

        try:
            return import_module("recblr.runtime._core")
        except ModuleNotFoundError as error:
            if error.name != "recblr.runtime._core":
                raise
            raise MissingExtraError(
                "recblr was installed without its library, which the runtime needs: install a C++ compiler and "
                "reinstall recblr"
            ) from error

    def __getattr__(name: str) -> Any:
        if name == "_core":
            return _load_core()
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        public = {name: value for name, value in vars(import_module("recblr.runtime.api")).items() if name[0] != "_"}
        if name == "__all__":
            return sorted(public)
        try:
            return public[name]
        except KeyError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
