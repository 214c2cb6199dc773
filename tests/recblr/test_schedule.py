"""The learning rate's course."""

from __future__ import annotations

import math

import pytest

from recblr.schedule import learning_rate_factor


def test_constant_after_the_warmup():
    factors = [learning_rate_factor("constant", epoch, 10, 2.0) for epoch in (0.5, 1.0, 2.0, 9.0)]
    assert factors == [0.25, 0.5, 1.0, 1.0]


def test_cosine_falls_to_zero():
    factors = [learning_rate_factor("cosine", epoch, 12, 2.0) for epoch in (1.0, 2.0, 7.0, 12.0)]
    assert factors == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-12)
    quarter = learning_rate_factor("cosine", 4.5, 12, 2.0)
    assert quarter == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_a_warmup_of_the_whole_run():
    assert [learning_rate_factor("cosine", epoch, 4, 4.0) for epoch in (1.0, 4.0)] == [0.25, 1.0]
