"""A bundle's catalogue: its embedding read from the graph's file, and its rankings."""

from __future__ import annotations

import numpy as np
import pytest

from recblr.errors import RequestError
from recblr.plugins import top_items as native
from recblr.runtime import open_bundle
from recblr.runtime.backends.catalogue import Catalogue
from recblr.runtime.bundle.weights import read_weight

RANKERS = ["native", "numpy"]


@pytest.fixture(params=RANKERS)
def ranker(request, monkeypatch):
    """Every test of rankings runs with the native library and with NumPy."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "is_available", lambda: False)
    elif not native.is_available():
        pytest.skip("librecblr_plugins.so was not built")
    return request.param


def test_the_embedding_is_the_graphs(toy):
    embedding = Catalogue.of_bundle(open_bundle(toy.path)).embedding
    np.testing.assert_array_equal(embedding, toy.embeddings)
    assert not embedding.flags.writeable


def test_an_exported_model_scores_as_in_onnx_runtime(tmp_path, ranker):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from recblr.config import RecBLRConfig
    from recblr.export.onnx.graph import build_graph
    from recblr.export.onnx.weights import weight_places
    from recblr.model import RecBLR

    torch.manual_seed(0)
    # 256 rows x 64: the shape of other weights, too.
    model = RecBLR(RecBLRConfig(n_items=255, dim=64)).eval()
    path = tmp_path / "model.onnx"
    path.write_bytes(build_graph(model, 20, "sha256:test").SerializeToString())
    embedding = read_weight(tmp_path, weight_places(tmp_path, model)["embedding.weight"])
    np.testing.assert_array_equal(embedding, model.embedding.weight.detach().numpy())
    items, offsets = np.array([3, 1, 200, 17, 5], np.int32), np.array([0, 2, 5], np.int32)
    exclude = np.array([[0, 3], [0, 1], [1, 200]], np.int32)
    states = np.tile(model.initial_state().detach().numpy().astype(np.float32), (2, 1))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"items": items, "offsets": offsets, "state_in": states, "exclude": exclude}
    top_items, top_scores, state_out = session.run(["top_items", "top_scores", "state_out"], inputs)
    actual = Catalogue(embedding).top_items(state_out[:, -64:], 20, exclude)
    np.testing.assert_allclose(actual[1], top_scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actual[0], top_items)


def test_rankings_of_a_bundle(toy, ranker):
    catalogue = Catalogue.of_bundle(open_bundle(toy.path))
    histories = [[10, 20], [30]]
    queries = np.stack([toy.query(history) for history in histories])
    items, scores = catalogue.top_items(queries, 9, np.array([[0, 1], [0, 1]], np.int32))
    for b, exclude in enumerate(([10], [])):
        ids, expected = toy.ranking(histories[b], 9, exclude)
        ranked = items[b] > 0
        assert [toy.ids[item - 1] for item in items[b][ranked]] == ids
        assert scores[b][ranked].tolist() == expected
    assert scores[0, -1] == -np.inf


def test_both_rankers_agree(monkeypatch):
    if not native.is_available():
        pytest.skip("librecblr_plugins.so was not built")
    generator = np.random.default_rng(0)
    embedding = generator.integers(-3, 4, (5_000, 6)).astype(np.float32)
    embedding[[4, 4_000]] = np.nan
    queries = generator.integers(-3, 4, (300, 6)).astype(np.float32)  # several blocks of NumPy's ranking
    queries[7], queries[8] = np.inf, 0
    exclude = np.stack([generator.integers(0, 300, 900), generator.integers(0, 5_000, 900)], axis=1).astype(np.int32)
    one_list = generator.integers(0, 5_000, 700).astype(np.int32)
    lists = [one_list[: 2 * b] for b in range(300)]
    from_native = Catalogue(embedding)
    monkeypatch.setattr(native, "is_available", lambda: False)
    from_numpy = Catalogue(embedding)
    for only in (None, one_list, one_list[:0], lists):
        expected = from_native.top_items(queries, 30, exclude, only)
        actual = from_numpy.top_items(queries, 30, exclude, only)
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1], expected[1])


def test_no_rows(ranker):
    items, scores = Catalogue(np.ones((4, 2), np.float32)).top_items(np.empty((0, 2), np.float32), 3)
    assert items.shape == scores.shape == (0, 3)


def test_errors_are_those_of_requests(toy, ranker):
    catalogue = Catalogue.of_bundle(open_bundle(toy.path))
    with pytest.raises(RequestError, match="k is 0: give a whole number"):
        catalogue.top_items(np.ones((1, 4), np.float32), 0)
    with pytest.raises(RequestError, match="an item of only is 10: it must be from 0 to 9"):
        catalogue.top_items(np.ones((1, 4), np.float32), 1, only=np.array([10], np.int32))
