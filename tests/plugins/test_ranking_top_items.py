"""The native ranking of a catalogue against NumPy's, on scores that float32 holds exactly."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.plugins import find_library
from recblr.plugins.top_items import FEWEST_INDEXED, is_available, top_items

pytestmark = pytest.mark.skipif(find_library() is None, reason="librecblr_plugins.so was not built")

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")  # a machine without one takes the next best


def brute_force(queries, embedding, k, exclude=(), only=None):
    """`top_items` by sorting all scores."""
    items = np.zeros((len(queries), k), np.int32)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        found = queries @ embedding.T
    for b in range(len(queries)):
        allowed = only[b] if isinstance(only, list) else only
        left = set(range(1, len(embedding))) if allowed is None else set(np.asarray(allowed).tolist())
        left -= {item for row, item in np.asarray(exclude).tolist() if row == b} | {0}
        left = [item for item in left if found[b, item] != -np.inf]
        best = sorted(left, key=lambda item: (not np.isnan(found[b, item]), -found[b, item], item))[:k]
        items[b, : len(best)], scores[b, : len(best)] = best, found[b, best]
    return items, scores


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])


def whole_numbers(generator, *shape):
    """Small ones, so that any order of summation is exact and ties are many."""
    return generator.integers(-3, 4, shape).astype(np.float32)


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request, monkeypatch):
    monkeypatch.setenv("RECBLR_CPU_ISA", request.param)


@st.composite
def requests(draw):
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_rows, n_items = draw(st.integers(1, 70)), draw(st.integers(0, 400))
    dim = draw(st.sampled_from([1, 3, 16, 17, 64]))
    queries, embedding = whole_numbers(generator, n_rows, dim), whole_numbers(generator, n_items + 1, dim)
    k = draw(st.one_of(st.integers(1, 12), st.just(max(1, n_items)), st.integers(1, 450)))
    m = draw(st.sampled_from([0, 5, 500, 5000]))
    exclude = np.stack([generator.integers(0, n_rows, m), generator.integers(0, n_items + 1, m)], axis=1)

    def some_items():
        return generator.integers(0, n_items + 1, generator.integers(0, 300)).astype(np.int32)

    form = draw(st.sampled_from(["all", "one list", "a list per row"]))
    only = None if form == "all" else some_items() if form == "one list" else [some_items() for _ in range(n_rows)]
    return queries, embedding, k, exclude.astype(np.int32), only


@settings(max_examples=60, deadline=None)
@given(requests(), st.integers(1, 3))
def test_equal_to_sorting_all_scores(request_, threads):
    queries, embedding, k, exclude, only = request_
    expected = brute_force(queries, embedding, k, exclude, only)
    with pytest.MonkeyPatch.context() as patch:
        for name in INSTRUCTION_SETS:
            patch.setenv("RECBLR_CPU_ISA", name)
            assert_same(top_items(queries, embedding, k, exclude, only, threads), expected)


def test_rows_threads_and_lists_change_no_bit(instruction_set):
    generator = np.random.default_rng(1)
    queries = generator.standard_normal((70, 50)).astype(np.float32)
    embedding = generator.standard_normal((30_000, 50)).astype(np.float32)
    exclude = np.stack([generator.integers(0, 70, 500), generator.integers(1, 30_000, 500)], axis=1).astype(np.int32)
    items, scores = top_items(queries, embedding, 40, exclude, threads=1)
    np.testing.assert_allclose(scores, brute_force(queries, embedding, 40, exclude)[1], rtol=1e-4)
    assert_same(top_items(queries, embedding, 40, exclude, threads=3), (items, scores))
    everything = np.arange(30_000, dtype=np.int32)[::-1].copy()
    assert_same(top_items(queries, embedding, 40, exclude, everything, threads=2), (items, scores))
    for start, stop in ((0, 1), (1, 9), (9, 42), (42, 70)):
        inside = exclude[(exclude[:, 0] >= start) & (exclude[:, 0] < stop)] - np.array([start, 0], np.int32)
        assert_same(top_items(queries[start:stop], embedding, 40, inside), (items[start:stop], scores[start:stop]))


def test_candidates_that_need_several_passes_over_the_catalogue():
    generator = np.random.default_rng(2)
    queries, embedding = whole_numbers(generator, 40, 2), whole_numbers(generator, 150_001, 2)
    items, scores = top_items(queries, embedding, 150_000, threads=2)  # 3.6 MB of candidates for a row and a thread
    found = queries @ embedding.T
    for b in (0, 17, 39):
        order = np.argsort(-found[b, 1:], kind="stable") + 1
        np.testing.assert_array_equal(items[b], order)
        np.testing.assert_array_equal(scores[b], found[b, order])


@pytest.mark.parametrize("descending", [False, True])
def test_a_catalogue_in_the_order_of_its_scores(instruction_set, descending):
    embedding = np.arange(20_000, dtype=np.float32)[:, None]
    queries = np.array([[-1 if descending else 1]], np.float32)
    assert_same(top_items(queries, embedding, 7), brute_force(queries, embedding, 7))


def test_everything_excluded_and_empty_lists():
    embedding = np.ones((5, 3), np.float32)
    queries = np.ones((2, 3), np.float32)
    exclude = np.array([[0, item] for item in (4, 2, 1, 3, 3)], np.int32)
    items, scores = top_items(queries, embedding, 2, exclude)
    assert items.tolist() == [[0, 0], [1, 2]]
    assert scores.tolist() == [[-np.inf, -np.inf], [3, 3]]
    nothing = np.empty(0, np.int32)
    for only in (nothing, [nothing, nothing]):
        assert top_items(queries, embedding, 2, only=only)[0].tolist() == [[0, 0], [0, 0]]
    assert top_items(queries[:0], embedding, 2)[0].shape == (0, 2)
    assert top_items(queries, embedding[:1], 2)[0].tolist() == [[0, 0], [0, 0]]


def test_values_that_are_not_finite(instruction_set):
    generator = np.random.default_rng(3)
    embedding = whole_numbers(generator, 3_000, 8)
    embedding[[5, 900, 2_999]] = np.nan
    embedding[[7, 1_000]] = np.inf
    embedding[[8, 1_001]] = -np.inf
    queries = whole_numbers(generator, 6, 8)
    queries[1] = np.nan
    queries[2] = np.inf
    queries[3] = -np.inf
    queries[4] = 0.0
    for threads in (1, 2):
        assert_same(top_items(queries, embedding, 20, threads=threads), brute_force(queries, embedding, 20))
    items, scores = top_items(queries, embedding, 20)
    assert np.isnan(scores[:, 0]).all()
    assert items[1].tolist() == list(range(1, 21))


def test_minus_zero_equals_zero(instruction_set):
    embedding = np.array([[0], [-0.0], [0.0], [-0.0]], np.float32)
    assert top_items(np.ones((1, 1), np.float32), embedding, 3)[0].tolist() == [[1, 2, 3]]


def test_an_embedding_at_any_address(instruction_set):
    generator = np.random.default_rng(4)
    embedding, queries = whole_numbers(generator, 500, 20), whole_numbers(generator, 3, 20)
    buffer = np.frombuffer(b"?" + embedding.tobytes(), np.uint8)[1:]
    shifted = buffer.view(np.float32).reshape(embedding.shape)
    assert not shifted.flags.aligned
    assert_same(top_items(queries, shifted, 10), top_items(queries, embedding, 10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.ones((2, 4), np.float32)}, r"queries has shape \(2, 4\), embedding \(6, 3\)"),
        ({"queries": np.ones((2, 3))}, r"queries is float64 \(2, 3\): give a NumPy array of float32"),
        ({"queries": [[1.0]]}, "queries is list: give a NumPy array"),
        ({"embedding": np.ones((0, 3), np.float32)}, r"embedding has shape \(0, 3\)"),
        ({"embedding": np.ones((3, 6), np.float32).T}, "embedding is not contiguous"),
        ({"k": 0}, "k is 0: give a whole number from 1"),
        ({"k": 2.5}, "k is 2.5"),
        ({"k": True}, "k is True"),
        ({"threads": 0}, "threads is 0"),
        ({"exclude": np.array([[2, 1]], np.int32)}, "a row of exclude is 2: it must be from 0 to 1"),
        ({"exclude": np.array([[-1, 1]], np.int32)}, "a row of exclude is -1"),
        ({"exclude": np.array([[0, 6]], np.int32)}, "an item of exclude is 6: it must be from 0 to 5"),
        ({"exclude": np.array([[1, 2, 3]], np.int32)}, r"exclude has shape \(1, 3\): give pairs"),
        ({"only": np.array([6], np.int32)}, "an item of only is 6: it must be from 0 to 5"),
        ({"only": [np.array([1], np.int32)]}, "only has 1 lists for 2 rows"),
        ({"only": [np.array([1], np.int32), [2]]}, r"only\[1\] is list"),
    ],
)
def test_errors(change, message):
    arguments = {"queries": np.ones((2, 3), np.float32), "embedding": np.ones((6, 3), np.float32), "k": 2}
    with pytest.raises(ValueError, match=message):
        top_items(**(arguments | change))


def test_an_instruction_set_of_another_name(monkeypatch):
    monkeypatch.setenv("RECBLR_CPU_ISA", "mmx")
    with pytest.raises(RuntimeError, match="RECBLR_CPU_ISA names no instruction set"):
        top_items(np.ones((1, 1), np.float32), np.ones((2, 1), np.float32), 1)


def test_the_library_has_it():
    assert is_available()


def test_pythons_copy_of_a_crossover_is_the_librarys():
    header = Path(__file__).parents[2] / "plugins" / "src" / "cpu" / "crossovers.h"
    found = re.search(r"constexpr int64_t kFewestRankedByIndex = (\d+);", header.read_text())
    assert found is not None
    assert int(found[1]) == FEWEST_INDEXED
