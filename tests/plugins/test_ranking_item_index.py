"""Rankings with an index against the same rankings without one, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.plugins import find_library
from recblr.plugins.item_index import ItemIndex
from recblr.plugins.top_items import top_items

pytestmark = pytest.mark.skipif(find_library() is None, reason="librecblr_plugins.so was not built")

HAS_AVX2 = " avx2 " in Path("/proc/cpuinfo").read_text()


@pytest.fixture(params=["avx2", "avx512"])  # a machine without one takes the next best
def instruction_set(request, monkeypatch):
    monkeypatch.setenv("RECBLR_CPU_ISA", request.param)


def assert_same_with_index(queries, embedding, k, exclude=None, only=None, threads=(1, 2, 3)):
    index = ItemIndex(embedding)
    expected = top_items(queries, embedding, k, exclude, only, threads=1)
    for n in threads:
        actual = top_items(queries, embedding, k, exclude, only, threads=n, index=index)
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1].view(np.int32), expected[1].view(np.int32))


def normal(generator, *shape):
    return generator.standard_normal(shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_rows=st.integers(1, 40),
    n_items=st.integers(0, 9_000),
    dim=st.sampled_from([1, 3, 16, 17, 64]),
    k=st.integers(1, 60),
    whole=st.booleans(),
    isa=st.sampled_from(["avx2", "avx512"]),
)
def test_no_bit_changes(seed, n_rows, n_items, dim, k, whole, isa):
    generator = np.random.default_rng(seed)
    queries, embedding = normal(generator, n_rows, dim), normal(generator, n_items + 1, dim)
    if whole:  # equal scores, many
        queries, embedding = np.rint(2 * queries), np.rint(2 * embedding)
    exclude = np.stack([generator.integers(0, n_rows, 200), generator.integers(0, n_items + 1, 200)], axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECBLR_CPU_ISA", isa)
        assert_same_with_index(queries, embedding, k, exclude.astype(np.int32), threads=(1, 2))


@pytest.mark.parametrize("n_rows", [1, 2, 4, 5, 8, 9, 33])
@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_batches_and_depths(instruction_set, n_rows, k):
    generator = np.random.default_rng(n_rows)
    assert_same_with_index(normal(generator, n_rows, 48), normal(generator, 40_000, 48), k)


def test_rankings_deeper_than_the_catalogue(instruction_set):
    generator = np.random.default_rng(1)
    assert_same_with_index(normal(generator, 3, 8), normal(generator, 700, 8), 900)


@pytest.mark.parametrize("order", [1, -1])
def test_a_catalogue_in_the_order_of_its_scores(instruction_set, order):
    # Ascending, every item is better than all before it, and none can be left out.
    embedding = (np.arange(20_000, dtype=np.float32) * order)[:, None] * np.ones((1, 8), np.float32)
    assert_same_with_index(np.ones((3, 8), np.float32), embedding, 7)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.999])
def test_allow_lists(instruction_set, share):
    generator = np.random.default_rng(6)
    queries, embedding = normal(generator, 9, 32), normal(generator, 30_000, 32)
    exclude = np.stack([generator.integers(0, 9, 300), generator.integers(1, 30_000, 300)], axis=1).astype(np.int32)

    def some(of=share):
        return generator.permutation(30_000)[: int(of * 30_000)].astype(np.int32)

    assert_same_with_index(queries, embedding, 20, exclude, some())
    assert_same_with_index(queries[:1], embedding, 20, exclude[exclude[:, 0] == 0], some())
    assert_same_with_index(queries, embedding, 20, exclude, [some() for _ in range(9)])
    # Long and short lists side by side, and an empty one.
    mixed = [some(of) for of in (0.5, 0.9, 0.01, 0.0, share, 0.5, 0.01, share, 0.9)]
    assert_same_with_index(queries, embedding, 20, exclude, mixed)
    assert_same_with_index(queries, embedding, 2_000, exclude, mixed)


def test_scores_closer_than_8_bits_tell_apart(instruction_set):
    generator = np.random.default_rng(2)
    embedding = 1 + 1e-6 * normal(generator, 20_000, 32)
    assert_same_with_index(1 + 1e-6 * normal(generator, 9, 32), embedding, 20)


def test_items_and_queries_of_all_magnitudes(instruction_set):
    generator = np.random.default_rng(3)
    for low, high in ((-3, 3), (-20, 18), (-45, -30), (-44, 38)):
        with np.errstate(over="ignore", under="ignore"):
            embedding = normal(generator, 20_000, 16) * 10.0 ** generator.uniform(low, high, (20_000, 1))
            queries = normal(generator, 12, 16) * 10.0 ** generator.uniform(low, high, (12, 1))
            embedding, queries = embedding.astype(np.float32), queries.astype(np.float32)
        assert_same_with_index(queries, embedding, 10)


def test_one_large_component(instruction_set):
    generator = np.random.default_rng(4)
    embedding = normal(generator, 20_000, 64)
    embedding[:, 0] *= 1e4  # of the other components 8 bits keep little
    queries = normal(generator, 9, 64)
    queries[:, 0] = 0
    assert_same_with_index(queries, embedding, 10)


def test_zeros_and_values_that_are_not_finite(instruction_set):
    generator = np.random.default_rng(5)
    embedding, queries = normal(generator, 20_000, 8), normal(generator, 9, 8)
    embedding[3000:3100] = 0
    embedding[[5, 9_000, 19_999]] = np.nan
    embedding[[7, 10_000], 2] = np.inf
    embedding[[8, 10_001], 3] = -np.inf
    queries[1] = np.nan
    queries[2] = 0
    queries[3, 2] = np.inf
    assert_same_with_index(queries, embedding, 10)
    assert_same_with_index(queries, np.zeros_like(embedding), 10)


def test_an_index_needs_instructions(monkeypatch):
    generator = np.random.default_rng(7)
    embedding, queries = normal(generator, 20_000, 16), normal(generator, 3, 16)
    best = ItemIndex(embedding)
    assert (best.handle is not None) == HAS_AVX2
    monkeypatch.setenv("RECBLR_CPU_ISA", "avx2")
    small = ItemIndex(embedding)
    monkeypatch.setenv("RECBLR_CPU_ISA", "baseline")
    assert ItemIndex(embedding).handle is None
    # One may be used where other instructions are allowed than where it was made.
    for isa in ("baseline", "avx2", "avx512"):
        monkeypatch.setenv("RECBLR_CPU_ISA", isa)
        expected = top_items(queries, embedding, 10)
        for index in (best, small):
            for one, other in zip(top_items(queries, embedding, 10, index=index), expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_errors(monkeypatch):
    embedding = np.ones((5, 4), np.float32)
    with pytest.raises(ValueError, match=r"index is of an embedding \(5, 4\), not \(6, 4\)"):
        top_items(np.ones((1, 4), np.float32), np.ones((6, 4), np.float32), 1, index=ItemIndex(embedding))
    with pytest.raises(ValueError, match="embedding is not contiguous"):
        ItemIndex(np.ones((4, 5), np.float32).T)
    with pytest.raises(ValueError, match=r"embedding is float64 \(5, 4\)"):
        ItemIndex(embedding.astype(np.float64))
    monkeypatch.setenv("RECBLR_CPU_ISA", "mmx")
    with pytest.raises(RuntimeError, match="RECBLR_CPU_ISA names no instruction set"):
        ItemIndex(embedding)
