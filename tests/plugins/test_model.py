"""The native library's forward pass of few items, and its ranking, against the model in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from recblr.plugins import find_library
from recblr.plugins.model import NativeModel
from recblr.plugins.top_items import top_items as exact_top_items

torch = pytest.importorskip("torch", reason="the model is computed in PyTorch as well")
pytestmark = pytest.mark.skipif(find_library() is None, reason="librecblr_plugins.so was not built")

SETTINGS = [
    {"n_items": 500},
    {"n_items": 77, "dim": 24, "expansion": 1.5, "layers": 3, "conv_width": 1},
    {"n_items": 30, "dim": 17, "conv_width": 2, "layers": 1, "initial_state": True},
    {"n_items": 1, "dim": 1, "expansion": 1.0, "conv_width": 5},
]


@pytest.fixture(params=["baseline", "avx2", "avx512"])  # a machine without one takes the next best
def instruction_set(request, monkeypatch):
    monkeypatch.setenv("RECBLR_CPU_ISA", request.param)


def torch_model(settings):
    from recblr.config import RecBLRConfig
    from recblr.model import RecBLR

    torch.manual_seed(3)
    model = RecBLR(RecBLRConfig(**settings)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    return model


def native_model(model, ranks=True):
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return NativeModel(weights, model.config.layers, 1e-12, ranks)


def batch(config, rows=37, seed=0):
    generator = np.random.default_rng(seed)
    # Several times the items that the kernels take at once, too.
    lengths = np.where(generator.random(rows) < 0.2, generator.integers(10, 60, rows), generator.integers(0, 6, rows))
    offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    items = generator.integers(1, config.n_items + 1, offsets[-1]).astype(np.int32)
    states = (0.3 * generator.standard_normal((rows, config.state_size))).astype(np.float32)
    return items, offsets, states


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_computes_what_the_model_computes(settings, instruction_set):
    model = torch_model(settings)
    items, offsets, states = batch(model.config)
    k = min(10, model.config.n_items)
    with torch.no_grad():
        queries, expected = model.query(*(torch.from_numpy(a) for a in (items, offsets, states)))
        scores = model.scores(queries)
    top_items, top_scores, new_states = native_model(model).run(items, offsets, states, k=k)
    np.testing.assert_allclose(new_states, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(top_scores, scores.topk(k).values.numpy(), atol=1e-5)
    of_items = scores.gather(1, torch.from_numpy(top_items).long()).numpy()
    np.testing.assert_allclose(of_items, top_scores, atol=1e-5)


def test_a_row_alone_and_any_number_of_threads_give_the_same_bits(instruction_set):
    model = torch_model(SETTINGS[0])
    native = native_model(model)
    items, offsets, states = batch(model.config, rows=300)
    together = native.run(items, offsets, states, k=20)
    for mine, theirs in zip(native.run(items, offsets, states, k=20, threads=2), together, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    for b in range(0, 300, 7):
        row = slice(offsets[b], offsets[b + 1])
        alone = native.run(items[row], np.array([0, row.stop - row.start], np.int32), states[b : b + 1], k=20)
        assert all(mine[0].tobytes() == theirs[b].tobytes() for mine, theirs in zip(alone, together, strict=True))


def test_split_and_resumed_rows_end_in_the_same_state(instruction_set):
    model = torch_model(SETTINGS[0])
    native = native_model(model, ranks=False)
    items, _, states = batch(model.config)
    whole = native.run(items, np.array([0, len(items)], np.int32), states[:1])[2]
    state = states[:1]
    for piece in np.array_split(items, 11):
        state = native.run(piece, np.array([0, len(piece)], np.int32), state)[2]
    assert state.tobytes() == whole.tobytes()


def test_exclusions_and_more_results_than_items():
    model = torch_model(SETTINGS[2])
    native = native_model(model)
    offsets, states = np.zeros(3, np.int32), batch(model.config, rows=2)[2]
    exclude = np.array([[0, 3], [0, 3], [1, 0], [1, 30], [1, 1]], np.int32)
    top_items, top_scores, new_states = native.run(np.empty(0, np.int32), offsets, states, exclude, k=40)
    assert new_states.tobytes() == states.tobytes()
    assert sorted(top_items[0].tolist()) == sorted([0] * 11 + [item for item in range(1, 31) if item != 3])
    assert sorted(top_items[1].tolist()) == sorted([0] * 12 + list(range(2, 30)))
    assert np.all(np.diff(top_scores[0][:29]) <= 0)
    assert np.all(np.isneginf(top_scores[0][29:]))


def test_a_catalogue_that_is_ranked_by_an_index(instruction_set):
    model = torch_model({"n_items": 9000, "dim": 24})
    native = native_model(model)
    items, offsets, states = batch(model.config)
    exclude = np.array([[0, 8999], [3, 5], [3, 6]], np.int32)
    top_items, top_scores, new_states = native.run(items, offsets, states, exclude, k=10)
    embedding = model.embedding.weight.detach().numpy()
    expected = exact_top_items(new_states[:, -24:], embedding, 10, exclude)
    np.testing.assert_array_equal(top_items, expected[0])
    np.testing.assert_allclose(top_scores, expected[1], rtol=1e-6)  # without fused products, two orders of rounding
    in_threads = native.run(items, offsets, states, exclude, k=10, threads=3)
    alone = native.run(items[: offsets[1]], offsets[:2], states[:1], exclude[:1], k=10)
    for part, of_alone, of_threads in zip((top_items, top_scores), alone, in_threads, strict=False):
        np.testing.assert_array_equal(of_threads, part)
        np.testing.assert_array_equal(of_alone, part[:1])


@pytest.mark.parametrize("n_rows", [1, 3])
def test_few_rows_are_ranked_by_an_index_as_many_are_by_all_scores(n_rows, instruction_set):
    model = torch_model({"n_items": 5000, "dim": 20})
    native = native_model(model)
    items, offsets, states = batch(model.config, rows=12)
    generator = np.random.default_rng(1)
    exclude = np.stack([np.sort(generator.integers(0, 12, 400)), generator.integers(0, 5001, 400)], 1).astype(np.int32)
    top_items, top_scores, _ = native.run(items, offsets, states, exclude, k=100)
    few_items, few_scores, _ = native.run(
        items[: offsets[n_rows]], offsets[: n_rows + 1], states[:n_rows], exclude[exclude[:, 0] < n_rows], k=100
    )
    np.testing.assert_array_equal(few_items, top_items[:n_rows])
    assert few_scores.tobytes() == top_scores[:n_rows].tobytes()
    for row in range(n_rows):
        assert not np.isin(few_items[row], exclude[exclude[:, 0] == row, 1]).any()


def test_ties_rank_by_item_and_nan_first():
    model = torch_model({"n_items": 300, "dim": 8})
    with torch.no_grad():
        model.embedding.weight[1:] = 1.0
        model.embedding.weight[200] = torch.nan
    native = native_model(model)
    states = np.ones((1, model.config.state_size), np.float32)
    top_items, top_scores, _ = native.run(np.empty(0, np.int32), np.zeros(2, np.int32), states, k=4)
    assert top_items[0].tolist() == [200, 1, 2, 3]
    assert np.isnan(top_scores[0, 0])
    assert top_scores[0, 1:].tolist() == [8.0, 8.0, 8.0]


@pytest.mark.parametrize(
    "kind", ["plain", "ties", "zeros", "subnormal", "large", "infinite", "not numbers", "excluded"]
)
@pytest.mark.parametrize("n_items", [1023, 1024, 2048, 3416])
def test_few_results_are_the_first_of_all(n_items, kind, instruction_set):
    """A threshold is sought for few results only; with all of them there is none."""
    model = torch_model({"n_items": n_items, "dim": 8, "layers": 1})
    generator = np.random.default_rng(n_items)
    embedding = generator.standard_normal((n_items + 1, 8)).astype(np.float32)
    n_rows, exclude = 3, np.empty((0, 2), np.int32)
    if kind == "ties":
        embedding = np.round(embedding)
    elif kind == "zeros":
        embedding[1:] = 0
    elif kind == "subnormal":
        embedding *= np.float32(1e-42)
    elif kind == "large":
        embedding *= np.float32(5e37)
    elif kind == "infinite":
        embedding[generator.integers(1, n_items, 300)] = [np.inf, *[0] * 7]
        embedding[generator.integers(1, n_items, 300)] = [-np.inf, *[0] * 7]
    elif kind == "not numbers":
        embedding[generator.integers(1, n_items, 60)] = np.nan
    elif kind == "excluded":
        excluded = np.arange(1, n_items - 30, dtype=np.int32)[:: 2 if n_items % 2 else 1]
        exclude = np.stack([np.repeat(np.arange(n_rows, dtype=np.int32), len(excluded)), np.tile(excluded, n_rows)], 1)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(embedding))
    native = native_model(model)
    states = generator.standard_normal((n_rows, model.config.state_size)).astype(np.float32)
    no_items, offsets = np.empty(0, np.int32), np.zeros(n_rows + 1, np.int32)
    all_items, all_scores, _ = native.run(no_items, offsets, states, exclude, k=n_items)
    for row in range(n_rows):
        ranked = all_items[row][all_items[row] > 0]
        assert len(set(ranked.tolist())) == len(ranked) > 30
        scores = all_scores[row][: len(ranked)]
        assert not np.any(scores[1:] > scores[:-1])
        assert not np.isin(ranked, exclude[:, 1]).any()
    for k in (1, 10, 128):
        top_items, top_scores, _ = native.run(no_items, offsets, states, exclude, k=k)
        np.testing.assert_array_equal(top_items, all_items[:, :k])
        np.testing.assert_array_equal(top_scores, all_scores[:, :k])


def test_wrong_arguments_are_refused():
    model = torch_model(SETTINGS[0])
    native = native_model(model)
    items, offsets, states = batch(model.config)
    wrong = items.copy()
    wrong[3] = 501
    with pytest.raises(ValueError, match=r"items\[3\] is 501: it must be from 1 to 500"):
        native.run(wrong, offsets, states)
    with pytest.raises(ValueError, match="offsets fall after row 1"):
        native.run(items, np.array([0, 5, 2, len(items)], np.int32), states[:3])
    with pytest.raises(ValueError, match=r"states \(36, 1088\)"):
        native.run(items, offsets, states[1:])
    with pytest.raises(ValueError, match="it must be of float32"):
        native.run(items, offsets, states.astype(np.float64))
    with pytest.raises(ValueError, match=r"exclude\[1\] is \(0, 1\)"):
        native.run(items, offsets, states, np.array([[1, 1], [0, 1]], np.int32), k=5)
    with pytest.raises(ValueError, match="made without `ranks`"):
        native_model(model, ranks=False).run(items, offsets, states, k=5)


def test_wrong_weights_are_refused():
    model = torch_model(SETTINGS[0])
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="it must be contiguous float32 of shape"):
        NativeModel({**weights, "blocks.1.recurrent.decay": np.zeros(5, np.float32)}, 2, 1e-12, True)
    del weights["blocks.0.recurrent.out_proj.weight"]
    with pytest.raises(ValueError, match="weights are missing: blocks.0.recurrent.out_proj.weight"):
        NativeModel(weights, 2, 1e-12, True)
