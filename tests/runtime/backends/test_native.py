"""Bundles computed by the native library: the graph's answers, whatever is computed beside them."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recblr import plugins
from recblr.errors import ConfigError
from recblr.runtime import load, loading
from recblr.runtime.backends.native import NativeBackend, native_model
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.manifest import write_manifest
from recblr.runtime.bundle.opening import open_bundle

pytest.importorskip("torch", reason="the model is exported here")
pytest.importorskip("onnx", reason="the model is exported here")
pytestmark = pytest.mark.skipif(plugins.find_library() is None, reason="librecblr_plugins.so was not built")

N_ITEMS = 300


@pytest.fixture(scope="module", params=[4, 1], ids="conv width {}".format)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS, conv_width=request.param)).eval()
    path = tmp_path_factory.mktemp("native") / "bundle"
    export_bundle(Checkpoint(model, ItemVocabulary(list(range(1, N_ITEMS + 1)), [1] * N_ITEMS)), path)
    return path


@pytest.fixture(scope="module")
def backends(bundle: Path) -> tuple[NativeBackend, OnnxRuntimeBackend]:
    opened = open_bundle(bundle)
    graph = OnnxRuntimeBackend(opened.model_path, 1)
    return NativeBackend(native_model(opened, ranks=True), 100, threads=1), graph


@pytest.fixture(scope="module")
def batch(bundle: Path) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Makes rows of these lengths: items, offsets, states and exclusions."""
    state_size = len(np.load(bundle / "initial_state.npy"))

    def make(lengths: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        items = generator.integers(1, N_ITEMS + 1, offsets[-1]).astype(np.int32)
        states = (0.3 * generator.standard_normal((len(lengths), state_size))).astype(np.float32)
        exclude = np.stack([generator.integers(0, len(lengths), 50), generator.integers(1, N_ITEMS + 1, 50)], axis=1)
        return items, offsets, states, exclude.astype(np.int32)

    return make


@pytest.mark.parametrize("lengths", [[1], [0], [15, 16, 17, 33], [1, 40, 0, 200, 3, 9], [700]])
def test_it_computes_what_the_graph_computes(backends, lengths, batch):
    native, graph = backends
    arguments = batch(lengths)
    for mine, theirs in zip(native.run(*arguments)[1:], graph.run(*arguments)[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_a_rows_result_does_not_depend_on_the_batch(backends, batch):
    native, _ = backends
    lengths = [1, 40, 0, 200, 3, 9, 1, 8]
    items, offsets, states, _ = batch(lengths)
    none = np.empty((0, 2), np.int32)
    together = native.run(items, offsets, states, none)
    for b in range(len(lengths)):
        row = items[offsets[b] : offsets[b + 1]]
        alone = native.run(row, np.array([0, len(row)], np.int32), states[b : b + 1], none)
        assert all(mine[0].tobytes() == theirs[b].tobytes() for mine, theirs in zip(alone, together, strict=True))


@pytest.mark.parametrize("k", [1, 7, 100, 200])
def test_fewer_results_are_the_first_of_all(backends, k, batch):
    native, _ = backends
    arguments = batch([3, 0, 40])
    whole, best = native.run(*arguments), native.run_best(*arguments, k)
    assert best[0].shape == (3, min(k, 100))
    for of_best, of_whole in zip(best[:2], whole[:2], strict=True):
        assert of_best.tobytes() == of_whole[:, :k].tobytes()
    assert best[2].tobytes() == whole[2].tobytes()


def test_states_alone_are_the_same(backends, batch):
    native, _ = backends
    for lengths in ([1, 2], [30, 40], [1, 30]):
        items, offsets, states, exclude = batch(lengths)
        assert (
            native.advance(items, offsets, states).tobytes() == native.run(items, offsets, states, exclude)[2].tobytes()
        )


def test_threads_share_it(backends, batch):
    native, _ = backends
    requests = [batch([1, 12, 2], seed) for seed in range(40)]
    expected = [native.run(*request)[1].tobytes() for request in requests]
    with ThreadPoolExecutor(4) as pool:
        found = [result[1].tobytes() for result in pool.map(lambda request: native.run(*request), requests)]
    assert found == expected


def test_a_row_in_pieces_ends_in_the_same_state(backends, batch):
    native, _ = backends
    items, _, states, _ = batch([203])
    whole = native.advance(items, np.array([0, 203], np.int32), states)
    state = states
    for piece in np.split(items, [1, 2, 17, 34, 100]):
        state = native.advance(piece, np.array([0, len(piece)], np.int32), state)
    assert state.tobytes() == whole.tobytes()


def test_threads_do_not_change_results(bundle, batch):
    opened = open_bundle(bundle)
    one, many = (NativeBackend(native_model(opened, ranks=True), 100, threads) for threads in (1, 3))
    arguments = batch([300, 2, 500, 1, 90, 0, 40])
    for mine, theirs in zip(one.run(*arguments), many.run(*arguments), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_it_is_the_engine_on_a_cpu_unless_another_is_asked_for(bundle):
    own = "recblr's own kernels on the CPU, 1 thread"
    assert load(bundle, threads=1).description == own
    assert load(bundle, threads=1, backend="native").description == own
    assert load(bundle, threads=1, backend="onnxruntime").description.startswith("ONNX Runtime")
    assert load(bundle, threads=1, native_ops=False).description.endswith("the ops as ONNX functions")


def test_wide_models_are_for_onnx_runtime(bundle, monkeypatch, caplog):
    monkeypatch.setattr(loading, "WIDEST_NATIVE_DIM", 63)
    with caplog.at_level(logging.INFO):
        assert load(bundle, threads=1).description.startswith("ONNX Runtime")
    assert "ONNX Runtime computes: the model is 64 wide" in caplog.text
    assert load(bundle, threads=1, backend="native").description.startswith("recblr's own kernels")


def test_what_it_cannot_do_is_refused_when_it_is_asked_for(bundle):
    with pytest.raises(ConfigError, match="backend is 'native', but it has no device"):
        load(bundle, device="cuda", backend="native")
    with pytest.raises(ConfigError, match="threads is 0"):
        load(bundle, threads=0)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("weights", "the bundle has no weights norm.bias"),
        ("model", "the bundle does not say how many layers the model has"),
    ],
)
def test_a_bundle_of_another_model_is_computed_by_the_graph(bundle, tmp_path, caplog, missing, reason):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    manifest = open_bundle(copy).manifest
    without = {"weights": "norm.bias", "model": "layers"}[missing]
    rest = {name: value for name, value in getattr(manifest, missing).items() if name != without}
    write_manifest(copy, dataclasses.replace(manifest, **{missing: rest}))
    with caplog.at_level(logging.INFO):
        engine = load(copy, threads=1)
    assert engine.description.startswith("ONNX Runtime")
    assert f"ONNX Runtime computes: {reason}" in caplog.text
    with pytest.raises(ConfigError, match=f"backend is 'native', but {reason}"):
        load(copy, backend="native")
    (ranking,) = engine.recommend([[1, 2, 3]])
    assert len(ranking.items) == 10
