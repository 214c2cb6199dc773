"""The runtime: the best next items from a bundle, without PyTorch.

    engine = recblr.runtime.load("bundle/")
    engine.recommend([[1, 2, 3]], k=10)

Importing this package stays light, so that a module of it that only names things needs no NumPy: its public names are
imported when one of them is first asked for. ONNX Runtime comes with the first `load` that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recblr.runtime.api import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        public = {name: value for name, value in vars(import_module("recblr.runtime.api")).items() if name[0] != "_"}
        if name == "__all__":
            return sorted(public)
        try:
            return public[name]
        except KeyError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
