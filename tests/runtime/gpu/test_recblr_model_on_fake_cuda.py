"""A real RecBLR graph through the TensorRT backend on the fake of CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.runtime import Engine, load, open_bundle

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

LIMITS = (24, 2048, 512)
GRAPHS = [(2, 1, 64), (9, 8, 64), (25 - 1, 1300, 400), (3, 64, 64)]


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model in which nothing is zero or as it was at first."""
    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    model = RecBLR(RecBLRConfig(n_items=60, dim=12, initial_state=True)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("decay"):
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator) + name.endswith("norm.weight"))
    path = tmp_path_factory.mktemp("recblr") / "bundle"
    vocabulary = ItemVocabulary(list(range(60)), list(range(60)))
    export_bundle(Checkpoint(model=model, vocabulary=vocabulary, data={}, metrics={}), path, max_k=20)
    return path


@pytest.mark.parametrize("graphs", [False, GRAPHS])
def test_every_case_of_the_export_check(open_fake: Callable[..., Any], bundle_path: Path, graphs: Any) -> None:
    from recblr.export.checks.comparison import TOLERANCE, compare
    from recblr.export.checks.verify import bundle_reference

    backend = open_fake(bundle_path, LIMITS, graphs=graphs)
    report = compare(backend, bundle_reference(open_bundle(bundle_path)), "the fake", TOLERANCE, backend.limits)
    assert report["cases"].keys() >= {"cold", "incremental", "empty", "exclusions", "largest"}
    assert report["top_k_agreement"] == 1


def test_pooled_steps_equal_the_whole_history(open_fake: Callable[..., Any], bundle_path: Path, moves: Any) -> None:
    backend = open_fake(bundle_path, LIMITS, graphs=GRAPHS)
    states = backend.device_states(2**16, moves)
    random = np.random.default_rng(0)
    histories = [random.integers(1, 61, size).astype(np.int32) for size in (4, 9, 1)]
    none = np.empty((0, 2), np.int32)
    for step in range(9):
        parts = [history[step : step + 1] for history in histories]
        offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
        with states.lease(range(3)) as lease:
            _, scores, _ = backend.run_leased(np.concatenate(parts), offsets, states, lease, none)
    engine = Engine(open_bundle(bundle_path), backend)
    reference = load(bundle_path, threads=1)
    whole = [[int(item) - 1 for item in history] for history in histories]
    for one in (engine, reference):
        for b, ranking in enumerate(one.recommend(whole, k=20, exclude_seen=False)):
            np.testing.assert_allclose(scores[b], ranking.scores, rtol=1e-4, atol=1e-4)
