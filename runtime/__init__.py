"""The runtime: the best next items from a bundle, without PyTorch.

    engine = recblr.runtime.load("bundle/")
    engine.recommend([[1, 2, 3]], k=10)

Importing this package stays light: ONNX Runtime comes with the first `load`.
"""

from recblr.runtime.backend import Backend, Limits
from recblr.runtime.batch_metrics import BatcherMetrics
from recblr.runtime.batcher import Batcher
from recblr.runtime.bundle import Bundle, Manifest, is_bundle, open_bundle
from recblr.runtime.engine import Engine, Ranking
from recblr.runtime.loading import load

__all__ = [
    "Backend",
    "Batcher",
    "BatcherMetrics",
    "Bundle",
    "Engine",
    "Limits",
    "Manifest",
    "Ranking",
    "is_bundle",
    "load",
    "open_bundle",
]
