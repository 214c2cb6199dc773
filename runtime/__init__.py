"""The runtime: the best next items from a bundle, without PyTorch.

    engine = recblr.runtime.load("bundle/")
    engine.recommend([[1, 2, 3]], k=10)

Importing this package stays light: what it names is imported when it is first asked for, NumPy and all, so that a
module of it that only names things needs none of that. ONNX Runtime comes with the first `load`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recblr.runtime.allow_list import AllowList
    from recblr.runtime.backends.base import Backend, Limits
    from recblr.runtime.backends.catalogue import Catalogue
    from recblr.runtime.batching.batcher import Batcher
    from recblr.runtime.batching.metrics import BatcherMetrics
    from recblr.runtime.bundle.opening import Bundle, Manifest, is_bundle, open_bundle
    from recblr.runtime.engine import Engine
    from recblr.runtime.loading import Batching, load
    from recblr.runtime.ranking import Ranking
    from recblr.runtime.request import LeasedStates
    from recblr.runtime.users.cache import StateCache
    from recblr.runtime.users.recommender import Recommender
    from recblr.runtime.users.stores import Append, Event, Store, open_store

__all__ = [
    "AllowList",
    "Append",
    "Backend",
    "Batcher",
    "BatcherMetrics",
    "Batching",
    "Bundle",
    "Catalogue",
    "Engine",
    "Event",
    "LeasedStates",
    "Limits",
    "Manifest",
    "Ranking",
    "Recommender",
    "StateCache",
    "Store",
    "is_bundle",
    "load",
    "open_bundle",
    "open_store",
]

_HOMES = {
    "AllowList": "allow_list",
    "Backend": "backends.base",
    "Limits": "backends.base",
    "BatcherMetrics": "batching.metrics",
    "Batcher": "batching.batcher",
    "Bundle": "bundle.opening",
    "Manifest": "bundle.opening",
    "is_bundle": "bundle.opening",
    "open_bundle": "bundle.opening",
    "Catalogue": "backends.catalogue",
    "Engine": "engine",
    "LeasedStates": "request",
    "Ranking": "ranking",
    "Batching": "loading",
    "load": "loading",
    "Recommender": "users.recommender",
    "StateCache": "users.cache",
    "Append": "users.stores",
    "Event": "users.stores",
    "Store": "users.stores",
    "open_store": "users.stores",
}


if not TYPE_CHECKING:  # or mypy would believe that every name is here

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
