"""The runtime: the best next items from a bundle, without PyTorch.

    engine = recblr.runtime.load("bundle/")
    engine.recommend([[1, 2, 3]], k=10)

Importing this package stays light: ONNX Runtime comes with the first `load`.
"""

from recblr.runtime.backend import Backend, Limits
from recblr.runtime.batch_metrics import BatcherMetrics
from recblr.runtime.batcher import Batcher
from recblr.runtime.bundle import Bundle, Manifest, is_bundle, open_bundle
from recblr.runtime.catalogue import Catalogue
from recblr.runtime.engine import Engine, Ranking
from recblr.runtime.loading import Batching, load
from recblr.runtime.recommender import Recommender
from recblr.runtime.state_cache import StateCache
from recblr.runtime.stores import Append, Event, Store, open_store

__all__ = [
    "Append",
    "Backend",
    "Batcher",
    "BatcherMetrics",
    "Batching",
    "Bundle",
    "Catalogue",
    "Engine",
    "Event",
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
