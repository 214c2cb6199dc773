"""The engine: rankings equal the model's, whatever the form and the size of the request."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from recblr.errors import ClosedError, ConfigError, RequestError
from recblr.runtime import AllowList, Backend, Batching, Engine, Limits, Ranking, load, loading, open_bundle

HISTORIES = [[10], [20, 30, 2**63 - 1], [], [40, 40, 80], [999], [10, 999, "x", 20], list(range(10, 90, 10))]


class Recorder:
    """A backend that notes what it is given, and hands it on."""

    description = "a recorder"

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        assert engine.backend is not None
        self.inner: Backend = engine.backend
        self.max_k = self.inner.max_k
        self.limits = limits or Limits()
        self.runs: list[tuple[int, int, int]] = []
        self.ranked: list[int] = []
        self.excluding: list[int] = []  # how many rows have exclusions

    def run(self, items: np.ndarray, offsets: np.ndarray, state_in: np.ndarray, exclude: np.ndarray, k: int) -> Any:
        assert [array.dtype for array in (items, offsets, state_in, exclude)] == ["i4", "i4", "f4", "i4"]
        assert offsets[0] == 0
        assert offsets[-1] == len(items)
        self.runs.append((len(offsets) - 1, len(items), len(exclude)))
        self.ranked.append(k)
        self.excluding.append(len(np.unique(exclude[:, 0])))
        return self.inner.run(items, offsets, state_in, exclude, k)


def equal(left: Sequence[Ranking], right: Sequence[Ranking]) -> bool:
    def plain(rankings: Sequence[Ranking]) -> list[Any]:
        return [(r.items, r.scores.tolist(), r.unknown, r.popular) for r in rankings]

    return plain(left) == plain(right)


def test_without_k_there_are_ten_results_or_all_items_of_a_smaller_catalogue(engine: Engine) -> None:
    assert engine.n_items == 9
    assert len(engine.recommend([[]])[0].items) == 9
    rankings, _ = engine.step(None, [[50]])
    assert sorted(rankings[0].items) == sorted(engine.bundle.item_ids())
    with pytest.raises(RequestError, match="k is 10, but the catalogue has 9 items"):
        engine.recommend([[]], k=10)


def test_rankings_are_the_models(engine: Engine, toy: Any) -> None:
    rankings = engine.recommend(HISTORIES, k=5)
    assert len(rankings) == len(HISTORIES)
    for history, ranking in zip(HISTORIES, rankings, strict=True):
        if ranking.popular:
            continue
        items, scores = toy.ranking(history, 5, exclude=history)
        assert ranking.items == items
        assert ranking.scores.tolist() == scores
        assert ranking.scores.dtype == np.float32
        assert all(type(item) is int for item in ranking.items)
    assert [ranking.popular for ranking in rankings] == [False, False, True, False, True, False, False]
    assert [ranking.unknown for ranking in rankings] == [0, 0, 0, 0, 1, 2, 0]


def test_equal_scores_keep_the_order_of_the_vocabulary(engine: Engine, toy: Any) -> None:
    assert (toy.embeddings[4] == toy.embeddings[8]).all()
    (ranking,) = engine.recommend([[10]], k=8)
    place = ranking.items.index(40)
    assert ranking.items[place + 1] == 80
    assert ranking.scores[place] == ranking.scores[place + 1]


def test_string_ids(text_engine: Engine, text_toy: Any) -> None:
    known, integer, unknown = text_engine.recommend([["b,c", "10"], ["b,c", 10], [11]], k=3)
    assert (known.items, known.scores.tolist()) == text_toy.ranking(["b,c", "10"], 3, exclude=["b,c", "10"])
    assert known.unknown == 0
    assert equal([integer], [known])
    assert unknown.unknown == 1
    assert unknown.popular


def test_the_type_of_ids_is_told(engine: Engine, text_engine: Engine) -> None:
    assert (engine.id_type, text_engine.id_type) == ("integer", "string")


def other_type(ids: Any) -> Any:
    return [other_type(row) for row in ids] if isinstance(ids, list) else None if ids is None else str(ids)


def test_ids_of_the_other_type_answer_as_those_of_the_models(
    engine: Engine, digits_engine: Engine, toy: Any, digits_toy: Any
) -> None:
    """An engine with integers and one with their digits, each asked in both types, in every argument."""
    histories = [[10, 20], [30, 999], [], [2**63 - 1], list(range(10, 90, 10)) * 3]
    exclude = [[50], None, [20, 7], [], [2**63 - 1]]
    for k, only in ((4, None), (9, None), (3, [80, 40, 60, 5]), (2, [[80, 70], None, [20], [10, 30], None])):
        expected = engine.recommend(histories, k, exclude=exclude, only=only)
        digits = digits_engine.recommend(other_type(histories), k, exclude=other_type(exclude), only=other_type(only))
        assert [ranking.items for ranking in digits] == [other_type(ranking.items) for ranking in expected]
        for asked, plain in ((engine, expected), (digits_engine, digits)):
            for form in (lambda ids: ids, other_type):
                arguments = {"k": k, "exclude": form(exclude), "only": form(only)}
                assert equal(asked.recommend(form(histories), **arguments), plain)
                rankings, states = asked.step(None, form(histories), **arguments)
                again, _ = asked.step(None, histories, **{**arguments, "only": only})
                assert equal(rankings, again)
                assert states.tobytes() == engine.step(None, histories, k)[1].tobytes()


FOREIGN: list[tuple[Any, str]] = [
    (["A-1"], "item id 'A-1' is of type str, the model's item ids are integers such as 10"),
    ([999, "007"], "item id '007' is of type str"),
    (np.array([10.0, 20.0]), r'item id 10.0 is of type float.*\.astype\("int64"\)'),
    (np.array([10, None], float), "item id 10.0 is of type float"),
    (np.array([None, None]), "item id None is of type NoneType"),
    ([True], "item id True is of type bool"),
]


@pytest.mark.parametrize(("ids", "reason"), FOREIGN)
def test_ids_of_another_catalogue_never_go_without_a_word(engine: Engine, ids: Any, reason: str) -> None:
    calls = [
        (r"histories\[1\]: ", lambda: engine.recommend([[10], ids], 2)),
        (r"new_items\[1\]: ", lambda: engine.step(None, [[10], ids], 2)),
        (r"exclude\[0\]: ", lambda: engine.recommend([[10]], 2, exclude=[ids])),
        (r"exclude\[0\]: ", lambda: engine.step(None, [[10]], 2, exclude=[ids])),
        ("only: ", lambda: engine.recommend([[10]], 2, only=ids)),
        (r"only\[1\]: ", lambda: engine.recommend([[10], [20]], 2, only=[None, ids])),
        ("the AllowList: ", lambda: engine.recommend([[10]], 2, only=AllowList(ids))),
        (r"histories\[0\]: ", lambda: asyncio.run(engine.arecommend([ids], 2))),
    ]
    for where, call in calls:
        with pytest.raises(RequestError, match=where + reason):
            call()


def test_arrays_of_other_libraries(engine: Engine) -> None:
    torch, pa = pytest.importorskip("torch"), pytest.importorskip("pyarrow")
    expected = engine.recommend([[10, 20], [30, 40]], k=3, exclude=[[50], [60]], only=[10, 20, 70, 80])
    for form in (torch.tensor, pa.array, lambda ids: pa.chunked_array([ids])):
        only, exclude = form([10, 20, 70, 80]), [form([50]), form([60])]
        for allowed in (only, AllowList(only), [only, only]):
            assert equal(engine.recommend([form([10, 20]), form([30, 40])], 3, True, exclude, allowed), expected)
    for scalar, matrix in ((torch.tensor(10), torch.tensor([[10]])), (np.array(10), np.array([[10]]))):
        for histories in (scalar, [scalar], [matrix]):
            with pytest.raises(RequestError, match=r"histories(\[0\])? is (tensor|array)\(.*: give"):
                engine.recommend(histories, 3)
    assert equal(engine.recommend(torch.tensor([[10, 20], [30, 40]]), 3), engine.recommend([[10, 20], [30, 40]], 3))


def test_popular_items_for_users_of_whom_nothing_is_known(engine: Engine) -> None:
    (ranking,) = engine.recommend([[7, 8, "9"]], k=4, exclude=[[30, 7]])
    assert ranking.items == [20, 50, 2**63 - 1, 10]
    assert ranking.scores.tolist() == [7, 5, 4, 3]
    assert ranking.scores.dtype == np.float32
    assert ranking.popular
    assert ranking.unknown == 3


def test_seen_items_and_exclusions(engine: Engine, toy: Any) -> None:
    history = [10, 20, 10, 20]
    (seen_too,) = engine.recommend([history], k=8, exclude_seen=False)
    assert seen_too.items == toy.ranking(history, 8)[0]
    assert {10, 20} & set(seen_too.items)
    (both,) = engine.recommend([history], k=8, exclude=[[10, 30, 30, 12345, None]])
    assert both.items == toy.ranking(history, 8, exclude=[10, 20, 30])[0]
    first, second = engine.recommend([history, history], k=3, exclude_seen=False, exclude=[None, [20]])
    assert first.items == toy.ranking(history, 3)[0]
    assert second.items == toy.ranking(history, 3, exclude=[20])[0]


def test_fewer_items_than_k_are_left(engine: Engine, toy: Any) -> None:
    one_left, none_left, none_popular = engine.recommend([toy.ids[:8], toy.ids, []], k=3, exclude=[[], [], toy.ids])
    assert one_left.items == [toy.ids[8]]
    assert len(one_left.scores) == 1
    assert none_left.items == []
    assert none_left.scores.shape == (0,)
    assert none_popular.items == []
    assert none_popular.popular


def test_forms_of_a_request(engine: Engine) -> None:
    expected = engine.recommend([[10, 20], [30, 40]], k=3, exclude=[[50], [60]])
    array = np.array([[10, 20], [30, 40]])
    for histories in (((10, 20), (30, 40)), array, list(array), [np.uint8([10, 20]), [30, np.int64(40)]]):
        for exclude in (([50], [60]), np.array([[50], [60]]), [{50}, np.array([60])]):
            assert equal(engine.recommend(histories, k=np.int64(3), exclude=exclude), expected)


def test_no_rows(engine: Engine) -> None:
    assert engine.recommend([], k=3) == []
    assert engine.recommend(np.zeros((0, 4), np.int64), k=3, exclude=[]) == []


@pytest.mark.parametrize(
    "limits",
    [
        Limits(rows=1),
        Limits(rows=3),
        Limits(tokens=1),
        Limits(tokens=3),
        Limits(exclusions=1),
        Limits(2, 4, 4),
    ],
)
def test_results_do_not_depend_on_the_split(engine: Engine, limits: Limits) -> None:
    rng = np.random.default_rng(3)
    histories = [rng.choice([10, 20, 30, 77], size=length).tolist() for length in (0, 9, 1, 4, 3, 0, 7, 2)]
    recorder = Recorder(engine, limits)
    split = Engine(engine.bundle, recorder)
    assert equal(split.recommend(histories, k=6), engine.recommend(histories, k=6))
    assert len(recorder.runs) > 1
    for (rows, tokens, exclusions), excluding in zip(recorder.runs, recorder.excluding, strict=True):
        assert rows <= limits.rows
        assert tokens <= limits.tokens
        assert exclusions <= limits.exclusions or excluding == 1

    states = engine.step(None, histories[::-1], k=6)[1]
    kept = states.copy()
    rankings, new_states = split.step(states, histories, k=6, exclude=histories)
    expected, expected_states = engine.step(states, histories, k=6, exclude=histories)
    assert equal(rankings, expected)
    assert new_states.tolist() == expected_states.tolist()
    assert states.tolist() == kept.tolist()


def test_one_user_is_answered_as_among_others(engine: Engine) -> None:
    """One user takes a shorter way."""
    excluded = [[20], [30, 40], [], [50], [10], [], [60]]
    for exclude in (None, excluded):
        for seen in (True, False):
            together = engine.recommend(HISTORIES, 5, seen, exclude)
            for b, history in enumerate(HISTORIES):
                assert equal(engine.recommend([history], 5, seen, exclude and [exclude[b]]), [together[b]])
        rankings, states = engine.step(None, HISTORIES, 5, exclude)
        again, new_states = engine.step(states, [[], *HISTORIES[:-1]], 5, exclude)
        for b, history in enumerate(HISTORIES):
            ranking, state = engine.step(None, [history], 5, exclude and [exclude[b]])
            assert equal(ranking, [rankings[b]])
            assert state.tobytes() == states[b].tobytes()
            ranking, state = engine.step(states[b : b + 1], [[], *HISTORIES][b : b + 1], 5, exclude and [exclude[b]])
            assert equal(ranking, [again[b]])
            assert state.tobytes() == new_states[b].tobytes()


@pytest.mark.parametrize("batching", [None, Batching()])
def test_no_more_results_are_ranked_than_are_asked_for(engine: Engine, batching: Batching | None) -> None:
    states = engine.step(None, [[10]], k=3)[1]
    recorder = Recorder(engine)
    with Engine(engine.bundle, recorder, batching=batching) as recorded:
        assert equal(recorded.recommend([[10], [20, 30]], k=2), engine.recommend([[10], [20, 30]], k=2))
        assert len(recorded.step(states, [[20]], k=1)[0][0].items) == 1
    assert recorder.ranked == [2, 1]


def test_a_small_request_is_one_run_and_a_long_history_is_fed_in_pieces(engine: Engine, toy: Any) -> None:
    recorder = Recorder(engine)
    Engine(engine.bundle, recorder).recommend(HISTORIES, k=3)
    assert recorder.runs == [(7, 17, 16)]

    recorder = Recorder(engine, Limits(tokens=4))
    (ranking,) = Engine(engine.bundle, recorder).recommend([[10, 20, 30] * 4], k=3)
    assert recorder.runs == [(1, 4, 0), (1, 4, 0), (1, 4, 3)]
    assert ranking.items == toy.ranking([10, 20, 30] * 4, 3, exclude=[10, 20, 30])[0]


def test_more_than_the_real_limits(engine: Engine, toy: Any) -> None:
    rankings = engine.recommend([[10]] * 300 + [[20, 30] * 40_000], k=2)
    assert len(rankings) == 301
    assert equal(rankings[:1], rankings[299:300])
    assert rankings[300].items == toy.ranking([20, 30] * 40_000, 2, exclude=[20, 30])[0]


@pytest.mark.parametrize("k", [0, -1, 10, 10**20, 2.0, "3", True])
def test_k_out_of_range(engine: Engine, k: Any) -> None:
    for ask in (lambda: engine.recommend([[10]], k=k), lambda: engine.step(None, [[10]], k=k)):
        with pytest.raises(RequestError, match=rf"k is '?{k}"):
            ask()


def test_k_beyond_the_catalogue_says_so(engine: Engine) -> None:
    with pytest.raises(RequestError, match="the catalogue has 9 items"):
        engine.recommend([[10]], k=10)


@pytest.mark.parametrize("limits", [Limits(), Limits(rows=2, tokens=3)])
def test_more_results_than_the_graph_ranks(engine: Engine, toy: Any, limits: Limits) -> None:
    recorder = Recorder(engine, limits)
    rankings = Engine(engine.bundle, recorder).recommend(HISTORIES, k=9, exclude_seen=False, exclude=None)
    assert engine.max_k == 8
    for history, ranking in zip(HISTORIES, rankings, strict=True):
        if ranking.popular:
            assert ranking.items == toy.ids_by_popularity()
        else:
            assert (ranking.items, ranking.scores.tolist()) == toy.ranking(history, 9)
    # Nothing is left for the graph to exclude, since it does not rank.
    assert all(exclusions == 0 for _, _, exclusions in recorder.runs)


@pytest.mark.parametrize("k", [3, 9])
def test_an_allow_list_is_ranked_exactly(engine: Engine, toy: Any, k: int) -> None:
    for only in ([80, 40, 10, 40, 12345, True], (), np.array([60, 70]), {20, 30}):
        left_out = [item for item in toy.ids if item not in set(only)]
        rankings = engine.recommend(HISTORIES, k, only=only)
        for history, ranking in zip(HISTORIES, rankings, strict=True):
            assert ranking.popular == (not any(item in toy.ids for item in history))
            expected = [item for item in toy.ids_by_popularity() if item not in left_out][:k]
            if not ranking.popular:
                expected, scores = toy.ranking(history, k, [*left_out, *history])
                assert ranking.scores.tolist() == scores
            assert ranking.items == expected


def test_an_allow_list_per_row(engine: Engine, toy: Any) -> None:
    lists = [[80, 40], None, [], [30], None, np.array([20]), [70, 60, 50]]
    states = engine.step(None, HISTORIES, k=1)[1]
    for k in (2, 9):
        rankings, _ = engine.step(states, [[]] * len(HISTORIES), k, only=lists)
        for b, ranking in enumerate(rankings):
            (alone,), _ = engine.step(states[b : b + 1], [[]], k, only=None if lists[b] is None else lists[b])
            assert equal([ranking], [alone])


@pytest.mark.parametrize(
    ("only", "reason"),
    [
        ("10", "only is '10': give a sequence of item ids, or one per row"),
        (10, "only is 10"),
        ([[10], [20]], "only has 2 rows for 1"),
        ([[10], 20], r"only\[1\] is 20"),
    ],
)
def test_allow_lists_of_another_form(engine: Engine, only: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        engine.recommend([[10]], k=2, only=only)


def test_a_large_catalogue_is_not_ranked_by_the_graph(
    engine: Engine, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LARGE_CATALOGUE", engine.n_items)
    large = load(toy.path, threads=1)
    assert large.backend is not None
    assert large.backend.max_k == 0
    for options in ({"k": 5}, {"k": 9}, {"k": 4, "exclude_seen": False}, {"k": 3, "only": [10, 80, 40]}):
        assert equal(large.recommend(HISTORIES, **options), engine.recommend(HISTORIES, **options))


@pytest.mark.parametrize("batching", [None, Batching(max_batch_rows=3, max_batch_tokens=4)])
def test_asyncio_gives_the_same(engine: Engine, toy: Any, batching: Batching | None) -> None:
    requests = [(history, k, only) for history in HISTORIES for k, only in ((3, None), (9, None), (2, [40, 80, 10]))]

    async def ask(asked: Engine) -> list[list[Ranking]]:
        return await asyncio.gather(*(asked.arecommend([history], k, only=only) for history, k, only in requests))

    expected = [engine.recommend([history], k, only=only) for history, k, only in requests]
    with load(toy.path, threads=1, batching=batching) as asked:
        answers = asyncio.run(ask(asked))
    assert all(equal(answer, right) for answer, right in zip(answers, expected, strict=True))


@pytest.mark.parametrize("batching", [None, Batching(max_batch_rows=3, max_batch_tokens=5, max_queue=7)])
def test_an_engine_is_closed(toy: Any, batching: Batching | None) -> None:
    with load(toy.path, threads=1, batching=batching) as engine:
        assert engine.recommend([[10, 20]], k=1)[0].items
        metrics = engine.metrics()
        assert (metrics is None) == (batching is None)
        assert metrics is None or metrics.answered == 1
        assert "1 thread" in engine.description
    with pytest.raises(ClosedError):
        engine.recommend([[10]], k=1)
    with pytest.raises(ClosedError):
        asyncio.run(engine.arecommend([[10]], k=1))
    engine.close()


def test_an_engine_is_neither_copied_nor_pickled(engine: Engine) -> None:
    for refused in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="load it in the process that uses it"):
            refused(engine)


def test_batching_out_of_range(toy: Any) -> None:
    for batching in (Batching(max_batch_rows=0), Batching(max_delay_ms=-1), Batching(max_queue=0), Batching(timeout=0)):
        with pytest.raises(ConfigError, match="give"):
            load(toy.path, threads=1, batching=batching)


@pytest.mark.parametrize(
    ("histories", "reason"),
    [
        ("10,20", "histories is '10,20': give one sequence"),
        ([10, 20], r"histories\[0\] is 10: give a sequence"),
        (np.array([10, 20]), r"histories\[0\] is .*10"),
        (np.array(10), "histories is "),
        ([[10], "20"], r"histories\[1\] is '20'"),
        ([[10], None], r"histories\[1\] is None"),
        (np.zeros((1, 2, 2), int), r"histories\[0\] is "),
        ([(item for item in [10])], r"histories\[0\] is <generator"),
        (None, "histories is None"),
        ({"a": [1]}, "histories is "),
    ],
)
def test_histories_of_another_form(engine: Engine, histories: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        engine.recommend(histories, k=3)


def test_exclusions_of_another_form(engine: Engine) -> None:
    with pytest.raises(RequestError, match="exclude has 2 rows for 1"):
        engine.recommend([[10]], k=3, exclude=[[1], [2]])
    with pytest.raises(RequestError, match=r"exclude\[0\] is 20"):
        engine.recommend([[10]], k=3, exclude=[20])
    with pytest.raises(RequestError, match="exclude is 20"):
        engine.recommend([[10]], k=3, exclude=20)


def test_threads_may_share_an_engine(engine: Engine) -> None:
    requests = [[HISTORIES[j], HISTORIES[-1 - j]] for j in range(len(HISTORIES))]
    expected = [engine.recommend(request, k=4) for request in requests]
    wrong: list[int] = []

    def ask(seed: int) -> None:
        for j in np.random.default_rng(seed).integers(len(requests), size=40).tolist():
            if not equal(engine.recommend(requests[j], k=4), expected[j]):
                wrong.append(j)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_limits_of_an_engine(engine: Engine) -> None:
    assert (engine.n_items, engine.max_k, engine.state_size, engine.fingerprint) == (9, 8, 5, "sha256:toy")


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_out_of_range(toy: Any, threads: Any) -> None:
    with pytest.raises(ConfigError, match="threads is"):
        load(toy.path, threads)


def test_all_cpus_by_default(toy: Any) -> None:
    engine = load(str(toy.path / "model.onnx"))
    assert engine.bundle.path == open_bundle(toy.path).path
    assert engine.recommend([[10]], k=1)[0].items == toy.ranking([10], 1, exclude=[10])[0]
