"""A result in a batch is that of the same request alone, bit for bit, on a model of the paper's size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recblr import plugins
from recblr.runtime import Batcher, Engine, Limits, Ranking, load
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend

pytest.importorskip("torch", reason="the model is exported here")
pytest.importorskip("onnx", reason="the model is exported here")

N_ITEMS = 500


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    if plugins.find_library() is None or not plugins.load_library().has_onnxruntime_ops:
        pytest.skip("librecblr_plugins.so was built without ONNX Runtime's headers")
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    path = tmp_path_factory.mktemp("batched") / "bundle"
    export_bundle(Checkpoint(model, ItemVocabulary(list(range(1, N_ITEMS + 1)), [1] * N_ITEMS)), path)
    return path


Answer = tuple[list[Ranking], np.ndarray]


def same(left: Answer, right: Answer) -> bool:
    rankings = zip(left[0], right[0], strict=True)
    return left[1].tobytes() == right[1].tobytes() and all(
        a.items == b.items and a.scores.tobytes() == b.scores.tobytes() for a, b in rankings
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("limits", [Limits(32, 512), Limits(5, 40)])
def test_a_batch_changes_no_bit(bundle: Path, threads: int, limits: Limits) -> None:
    bare = load(bundle, threads, native_ops=True)
    generator = np.random.default_rng(0)
    lengths = [0, 1, 1, 1, 2, 7, 15, 16, 17, 39, 40, 41, 130, 511, 512, 513, 700, *generator.integers(1, 60, 20)]
    histories = [generator.integers(1, N_ITEMS + 1, length).tolist() for length in lengths]
    with Batcher(bare.backend, limits, max_delay=0.002) as batcher, ThreadPoolExecutor(24) as pool:
        engine = Engine(bare.bundle, batcher)
        alone = [engine.step(None, [history], k=20) for history in histories]
        before = batcher.metrics().batch_rows
        together = [pool.submit(engine.step, None, [history], 20) for history in histories * 3]
        assert all(same(alone[n % len(alone)], future.result(60)) for n, future in enumerate(together))
        after = batcher.metrics().batch_rows
        assert after.total - before.total > sum(after.counts) - sum(before.counts)  # they did share runs
    for history, answer in zip(histories, alone, strict=True):
        if len(history) <= limits.tokens:  # what is fed in pieces is equal to what is fed in the same pieces
            assert same(bare.step(None, [history], k=20), answer)


@pytest.mark.parametrize("native_ops", [True, False])
def test_states_without_the_ranking_are_the_same(bundle: Path, native_ops: bool) -> None:
    whole, pruned = (
        OnnxRuntimeBackend(bundle / "model.onnx", 1, native_ops=native_ops, ranking=ranking)
        for ranking in (True, False)
    )
    items = np.arange(1, 41, dtype=np.int32)
    states, exclude = np.tile(load(bundle).bundle.initial_state, (3, 1)), np.empty((0, 2), np.int32)
    arguments = items, np.array([0, 30, 30, 40], np.int32), states, exclude
    np.testing.assert_array_equal(pruned.run(*arguments)[2], whole.run(*arguments)[2])
