"""Allow-lists that are looked up once: they answer as the lists of ids do."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from recblr.errors import RequestError
from recblr.runtime import AllowList, Engine, Recommender

IDS = [80, 40, 10, 40, 12345]


def same(one: Any, other: Any) -> None:
    assert [ranking.items for ranking in one] == [ranking.items for ranking in other]
    assert [ranking.scores.tolist() for ranking in one] == [ranking.scores.tolist() for ranking in other]
    assert [ranking.popular for ranking in one] == [ranking.popular for ranking in other]


@pytest.mark.parametrize("ids", [IDS, tuple(IDS), np.array(IDS), ()])
def test_it_answers_as_its_ids(engine: Engine, ids: Any) -> None:
    allowed = AllowList(ids)
    assert len(allowed) == len(ids)
    histories = [[10, 20], [999], [30]]
    for _ in range(2):
        same(engine.recommend(histories, 5, only=allowed), engine.recommend(histories, 5, only=ids))
    mixed = [None, allowed, [20, 50]]
    same(engine.recommend(histories, 5, only=mixed), engine.recommend(histories, 5, only=[None, ids, [20, 50]]))
    same(engine.recommend(histories, 5, only=[allowed] * 3), engine.recommend(histories, 5, only=ids))


def test_what_was_given_may_change(engine: Engine) -> None:
    ids = np.array([10, 20])
    allowed = AllowList(ids)
    ids[:] = 80
    assert sorted(engine.recommend([[30]], 5, only=allowed)[0].items) == [10, 20]


def test_another_model_has_other_items(engine: Engine, digits_engine: Engine, text_engine: Engine) -> None:
    allowed = AllowList([10, "b,c", "c", 30])
    for _ in range(2):
        for asked, ids in ((engine, {10, 30}), (text_engine, {"b,c", "10"}), (digits_engine, {"10", "30"})):
            assert set(asked.recommend([[]], 5, only=allowed)[0].items) == ids


def test_users(engine: Engine) -> None:
    recommender = Recommender(engine)
    users = ["u", "v", "new"]
    recommender.add_events_many([("u", [10]), ("v", [20, 30])])
    allowed = AllowList([10, 40, 50, 60])
    expected = recommender.recommend_many(users, 3, only=[[10, 40, 50, 60]] * 3)
    same(recommender.recommend_many(users, 3, only=allowed), expected)
    same(recommender.recommend_many(users, 3, only=[allowed] * 3), expected)
    same([recommender.recommend("u", 3, only=allowed)], expected[:1])


def test_threads_share_one(engine: Engine) -> None:
    allowed, failures = AllowList(IDS), []
    expected = engine.recommend([[10]], 3, only=IDS)

    def ask() -> None:
        try:
            for _ in range(20):
                same(engine.recommend([[10]], 3, only=allowed), expected)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("ids", ["10", {"10": 1}, np.ones((2, 2)), 10])
def test_errors(ids: Any) -> None:
    with pytest.raises(RequestError, match="(?s)ids is .*: give a sequence of item ids"):
        AllowList(ids)


def test_it_is_no_list_of_exclusions(engine: Engine) -> None:
    for ask in (engine.recommend, Recommender(engine).recommend_many):
        with pytest.raises(RequestError, match=r"exclude\[0\] is <.*AllowList"):
            ask([[10]] if ask == engine.recommend else ["u"], 3, exclude=[AllowList([10])])
