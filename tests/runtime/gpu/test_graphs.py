from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recblr.runtime import Limits
from recblr.runtime.gpu.graphs import Sizes, check_buckets, choose_bucket, default_buckets, fill, fits

LIMITS = Limits(rows=256, tokens=65_536, exclusions=65_536)
SIZES = st.builds(Sizes, st.integers(1, 12), st.integers(0, 40), st.integers(0, 20))


def test_a_step_and_a_history_have_a_graph() -> None:
    buckets = default_buckets(LIMITS)
    assert choose_bucket(buckets, Sizes(1, 1, 0)) == Sizes(2, 1, 256)
    assert choose_bucket(buckets, Sizes(1, 0, 3)) == Sizes(2, 1, 256)
    assert choose_bucket(buckets, Sizes(1, 100, 100)) == Sizes(2, 128, 256)
    assert choose_bucket(buckets, Sizes(64, 64, 64 * 200)) == Sizes(65, 64, 64 * 256)
    assert choose_bucket(buckets, Sizes(1, 60_000, 0)) is None
    assert choose_bucket(buckets, Sizes(200, 1, 0)) is None
    assert choose_bucket(buckets, Sizes(1, 1, 65_536)) is None


@pytest.mark.parametrize("limits", [Limits(1, 1, 1), Limits(2, 1, 0), Limits(5, 40, 7), LIMITS])
def test_default_buckets_are_within_the_limits(limits: Limits) -> None:
    buckets = default_buckets(limits)
    assert check_buckets(buckets, limits) == sorted(buckets, key=lambda b: (b.tokens, b.rows, b.exclusions))
    assert len(set(buckets)) == len(buckets)


@pytest.mark.parametrize("bucket", [(0, 1, 0), (257, 1, 0), (1, 70_000, 0), (1, 1, 70_000), (1, -1, 0)])
def test_buckets_beyond_the_limits_are_refused(bucket: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not within"):
        check_buckets([Sizes(*bucket)], LIMITS)


def test_spare_tokens_need_a_spare_row() -> None:
    assert fits(Sizes(2, 5, 0), Sizes(2, 5, 0))
    assert not fits(Sizes(2, 5, 0), Sizes(2, 4, 0))
    assert fits(Sizes(3, 5, 0), Sizes(2, 4, 0))


@given(st.lists(SIZES, max_size=6), SIZES)
def test_the_cheapest_that_fits_is_chosen(buckets: list[Sizes], request: Sizes) -> None:
    chosen = choose_bucket(buckets, request)
    fitting = [bucket for bucket in buckets if fits(bucket, request)]
    assert (chosen is None) == (not fitting)
    if chosen is not None:
        assert chosen in fitting
        assert chosen.tokens == min(bucket.tokens for bucket in fitting)


@given(SIZES, SIZES, st.randoms(use_true_random=False))
def test_a_filled_request_is_valid_and_keeps_its_rows(bucket: Sizes, request: Sizes, random: object) -> None:
    if not fits(bucket, request):
        return
    cuts = sorted(random.randint(0, request.tokens) for _ in range(request.rows - 1))  # type: ignore[attr-defined]
    own = np.array([0, *cuts, request.tokens], np.int32)
    items, offsets = np.full(bucket.tokens, 7, np.int32), np.full(bucket.rows + 1, -9, np.int32)
    exclude = np.full((bucket.exclusions, 2), 3, np.int32)
    offsets[: request.rows + 1] = own
    fill(bucket, request, items, offsets, exclude)

    assert offsets[: request.rows + 1].tolist() == own.tolist()
    assert offsets[-1] == bucket.tokens
    assert (np.diff(offsets) >= 0).all()
    assert (items[: request.tokens] == 7).all()
    assert (items >= 1).all()
    assert (exclude[: request.exclusions] == 3).all()
    assert (exclude[request.exclusions :, 1] == 0).all()  # item 0 is never ranked
    assert (exclude[:, 0] < max(bucket.rows, 4)).all()
