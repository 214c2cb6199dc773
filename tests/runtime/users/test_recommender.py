"""Users: answers equal those of the whole stored history, whatever was cached, lost, swapped or written meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recblr.errors import (
    BackendError,
    BundleError,
    ClosedError,
    ConfigError,
    ForkError,
    RecblrError,
    RequestError,
    StoreError,
)
from recblr.runtime import AllowList, Append, Engine, Event, Recommender, load, open_store
from recblr.runtime.users.stores import UserId

IDS = [10, 20, 30, 40, 50, 60, 70, 80, 2**63 - 1]


@pytest.fixture
def recommender(engine: Engine, store_address: str | None) -> Iterator[Recommender]:
    with Recommender(engine, store_address) as recommender:
        yield recommender


@pytest.fixture
def other_engine(toy: Any, tmp_path: Path, rewrite_manifest: Callable[..., None]) -> Engine:
    """Another model of the same sizes: its states are the negative of the first one's."""
    import shutil

    folder = tmp_path / "other"
    shutil.copytree(toy.path, folder)
    rewrite_manifest(folder, fingerprint="sha256:other")
    engine = load(folder, threads=1)
    inner = engine.backend

    assert inner is not None

    class Negated:
        description, max_k, limits = "negated", inner.max_k, inner.limits

        def run(self, items: Any, offsets: Any, state_in: Any, exclude: Any, k: int) -> Any:
            assert (state_in <= 0).all(), "a state of the first model"
            top, scores, states = inner.run(items, offsets, -state_in, exclude, k)
            return top, scores, -states

    return Engine(engine.bundle, Negated())


def same(ranking: Any, items: list[Any], scores: list[float]) -> bool:
    return bool(ranking.items == items and ranking.scores.tolist() == scores)


def check(recommender: Recommender, toy: Any, user: Any) -> None:
    history = recommender.history(user)
    ranking = recommender.recommend(user, k=5)
    if any(item in toy.ids for item in history):
        assert same(ranking, *toy.ranking(history, 5, exclude=history))
        assert not ranking.popular
    else:
        assert ranking.popular


def test_answers_follow_the_events(recommender: Recommender, toy: Any) -> None:
    assert recommender.recommend("u", k=2).items == [20, 30]
    assert recommender.recommend("u", k=2).popular
    for items in ([10], [20, 999, 30], [], [10]):
        assert recommender.add_events("u", items) == bool(items)
        check(recommender, toy, "u")
    assert recommender.history("u") == [10, 20, 999, 30, 10]
    assert len(recommender.recent_users(100)) == 1
    assert recommender.recommend("u", k=1).unknown == 0
    assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking([10, 20, 30, 10], 8))
    assert same(recommender.recommend("u", 8, False, [40, 77]), *toy.ranking([10, 20, 30, 10], 8, exclude=[40]))


def test_event_ids(recommender: Recommender) -> None:
    assert recommender.add_events("u", [10], "a")
    assert not recommender.add_events("u", [10], "a")
    assert recommender.add_events_many([("u", [20], "b"), ("v", []), ("v", [30]), ("u", [20], "b")]) == [
        *(True, False, True, False)
    ]
    assert recommender.history("u") == [10, 20]


@pytest.mark.parametrize("size", [0, 1, 2, 5, 9])
def test_only_ranks_an_allow_list_exactly(recommender: Recommender, toy: Any, size: int) -> None:
    recommender.add_events("u", [10, 20])
    only = np.random.default_rng(size).permutation(np.array(IDS, np.uint64))[:size]
    ranking = recommender.recommend("u", 8, exclude_seen=False, only=[*only.tolist(), 12345, "13"])
    left_out = [item for item in IDS if item not in only.tolist()]
    assert same(ranking, *toy.ranking([10, 20], 8, exclude=left_out))
    assert len(ranking.items) == min(size, 8)
    popular = recommender.recommend("new", 8, only=only)
    assert set(popular.items) <= set(only.tolist())
    assert popular.popular


def test_many_equal_one_by_one(recommender: Recommender, toy: Any) -> None:
    users: list[Any] = ["a", 1, "1", "new", "a"]
    recommender.add_events_many([("a", [10]), (1, [20, 30]), ("1", [80])])
    exclude = [[50], None, [], [20], [60]]
    only = [None, [40, 50], None, [20, 30, 40], None]
    many = recommender.recommend_many(users, 4, True, exclude, only)
    for user, ranking, out, choice in zip(users, many, exclude, only, strict=True):
        one = recommender.recommend(user, 4, True, out or (), choice)
        assert same(ranking, one.items, one.scores.tolist())
    assert recommender.recommend_many([], 3) == []
    assert len(recommender.recommend_many([f"user {n}" for n in range(2_500)], 1)) == 2_500


EVENTS = st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from([10, 20, 30, 99]), max_size=3))
CALLS = st.lists(EVENTS | st.sampled_from(["ask a", "ask b", "ask c", "forget a", "forget b", "some"]), max_size=25)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS, cache_bytes=st.sampled_from([0, 60, 120, 10_000]))
def test_any_order_of_calls_equals_the_histories(
    engine: Engine, toy: Any, store_address: str | None, calls: list[Any], cache_bytes: int
) -> None:
    store = open_store(store_address)
    # Two that share a store, as two processes would: what one caches, the other changes.
    both = [Recommender(engine, store, cache_bytes=cache_bytes) for _ in range(2)]
    model: dict[str, list[int]] = {user: [] for user in "abc"}
    for user in model:
        store.forget(user)
    for turn, call in enumerate(calls):
        one = both[turn % 3 % 2]
        if isinstance(call, tuple):
            one.add_events(*call)
            model[call[0]] += call[1]
        elif call == "some":
            for seen, ranking in zip((True,) * 3, one.recommend_many(["a", "b", "c"], 3, False), strict=True):
                assert seen
                assert len(ranking.items) == 3
        elif call.startswith("forget"):
            one.forget(call[-1])
            model[call[-1]] = []
        else:
            assert one.history(call[-1]) == model[call[-1]]
            check(one, toy, call[-1])
    for one in both:
        for user, history in model.items():
            assert one.history(user) == history
            ranking = one.recommend(user, 8, exclude_seen=False)
            if not ranking.popular:
                assert same(ranking, *toy.ranking(history, 8))
    store.close()


def test_states_equal_the_stored_history_under_contention(
    recommender: Recommender, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = ["u", "v"]
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        try:
            for j in range(40):
                user = users[int(generator.integers(2))]
                recommender.add_events(user, [int(generator.choice(IDS[:8]))], f"{seed} {j}")
                recommender.add_events(user, [10], f"of all {j}")
                recommender.recommend_many(users, 3, exclude_seen=bool(j % 2))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    histories = [recommender.history(user) for user in users]
    assert 4 * 40 + 40 <= sum(map(len, histories)) <= 4 * 40 + 2 * 40
    given, run = list[np.ndarray](), recommender.engine.backend.run
    monkeypatch.setattr(recommender.engine.backend, "run", lambda *rows: given.append(rows[2].copy()) or run(*rows))
    for user, history in zip(users, histories, strict=True):
        assert same(recommender.recommend(user, 8, exclude_seen=False), *toy.ranking(history, 8))
        # Nothing is new, so the run is given the state that the cache holds.
        assert given.pop().tolist() == [[len(history), *toy.query(history)]]


WRITER = """
import sys
from recblr.runtime import Recommender
recommender = Recommender(sys.argv[1], sys.argv[2])
for j in range(40):
    recommender.add_events("u", [20 if j % 2 else 30], f"{sys.argv[3]} {j}")
    recommender.recommend("u", 3)
"""


def test_processes_share_users(engine: Engine, toy: Any, shared_store_address: str) -> None:
    command = [sys.executable, "-c", WRITER, str(toy.path), shared_store_address]
    with Recommender(engine, shared_store_address) as recommender:
        writers = [subprocess.Popen([*command, str(n)]) for n in range(2)]
        while any(writer.poll() is None for writer in writers):
            recommender.add_events("u", [10])
            recommender.recommend("u", 3)
        assert [writer.returncode for writer in writers] == [0, 0]
        history = recommender.history("u")
        assert (history.count(20), history.count(30)) == (40, 40)
        assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking(history, 8))


def test_forgetting_leaves_nothing_even_under_way(recommender: Recommender) -> None:
    ended = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not ended.is_set():
                recommender.recommend_many(["u", "v"], 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for j in range(40):
        recommender.add_events("u", [10], "once")
        if j % 2:
            recommender.recommend("u", 2)
        assert recommender.forget("u")
        assert not recommender.forget("u")
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert recommender.history("u") == []
    assert len(recommender.recent_users(100)) == 0
    assert recommender.recommend("u", 2).popular


def test_swap_under_load_mixes_no_models(
    recommender: Recommender, engine: Engine, other_engine: Engine, toy: Any
) -> None:
    history = [10, 20, 30]
    recommender.add_events_many([(f"user {n}", history) for n in range(20)])
    allowed = [toy.ranking(history, 8), other_engine.recommend([history], 8, False)[0]]
    assert allowed[0][1] == allowed[1].scores.tolist()
    ended = threading.Event()
    failures: list[BaseException] = []
    answers = [0]

    def ask(seed: int) -> None:
        generator = np.random.default_rng(seed)
        try:
            while not ended.is_set():
                users = [f"user {n}" for n in generator.integers(20, size=3).tolist()]
                for ranking in recommender.recommend_many(users, 8, exclude_seen=False):
                    assert same(ranking, *allowed[0])
                answers[0] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        recommender.swap((other_engine, engine)[turn % 2], rebuild=turn)
        before = answers[0]
        while answers[0] == before and not failures:
            time.sleep(0.001)
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert recommender.engine is engine


def test_swap_rebuilds_the_latest_users_and_keeps_the_old_model_on_failure(
    engine: Engine, other_engine: Engine, new_toy: Any
) -> None:
    recommender = Recommender(engine)
    recommender.add_events_many([(n, [10]) for n in range(10)])
    recommender.recommend_many(list(range(10)), 1)
    (new_toy.path / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        recommender.swap(new_toy.path)
    assert recommender.engine is engine
    assert len(recommender.recent_users(100)) == 10
    recommender.swap(other_engine, rebuild=4)
    assert recommender.engine is other_engine
    assert recommender.recent_users(10) == [9, 8, 7, 6]


def text(ids: Any) -> list[str]:
    return [str(item_id) for item_id in ids]


def test_stored_ids_of_the_other_type_are_read_by_either_model(
    engine: Engine, digits_engine: Engine, store_address: str | None
) -> None:
    """Histories of integers, of strings and of both; the first model leaves the store, a second opens it."""
    histories: dict[Any, list[Any]] = {"i": [30, 40, 50], "s": ["30", "40", "50"], "both": [30, "40", 50], "new": []}
    store = open_store(store_address)
    for asked in (digits_engine, engine):
        form = text if asked is digits_engine else list
        with Recommender(asked, store) as users:
            users.add_events_many([(user, items, "once") for user, items in histories.items()])
            for seen in (True, False):
                for _ in range(2):  # rebuilt, and from the cache
                    expected = asked.recommend([form([30, 40, 50])], 5, seen)[0]
                    for ranking in users.recommend_many(["i", "s", "both"], 5, seen):
                        assert same(ranking, expected.items, expected.scores.tolist())
            options = {"exclude": [10, "20"], "only": ["60", 20, 70]}
            assert users.recommend("s", 5, **options).items == users.recommend("i", 5, **options).items
            assert len(users.recommend("i", 5, **options).items) == 2
            for user, items in histories.items():
                assert users.history(user) == items
                assert list(map(type, users.history(user))) == list(map(type, items))
    store.close()


def test_a_swap_to_ids_of_another_type_is_asked_for(engine: Engine, digits_toy: Any, store_address: str | None) -> None:
    with Recommender(engine, store_address) as users:
        users.add_events_many([("u", [30, 40, 50]), ("v", [10])])
        before = users.recommend_many(["u", "v"], 5)
        with pytest.raises(ConfigError, match=r"the item ids of .* are strings, .* allow_id_type_change=True"):
            users.swap(digits_toy.path)
        assert users.engine is engine
        assert len(users.recent_users(100)) == 2
        users.swap(digits_toy.path, rebuild=1, allow_id_type_change=True)
        assert users.engine.id_type == "string"
        assert len(users.recent_users(100)) == 1
        after = users.recommend_many(["u", "v"], 5)
        expected = users.engine.recommend([["30", "40", "50"], ["10"]], 5)
        for ranking, old, right in zip(after, before, expected, strict=True):
            assert same(ranking, right.items, right.scores.tolist())
            assert same(ranking, text(old.items), old.scores.tolist())
        users.add_events("u", ["60"])
        assert users.history("u") == [30, 40, 50, "60"]
        with pytest.raises(ConfigError, match="are integers, those of the model in place strings"):
            users.swap(engine)
        users.engine.close()


def test_stored_ids_that_the_model_cannot_know_are_skipped_with_a_word(
    engine: Engine, toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    users = Recommender(engine)
    users.add_events_many([("u", [10, "A-1"]), ("v", ["A-1", "B-2"]), ("w", [20])])
    for _ in range(2):
        known, unknown, other = users.recommend_many(["u", "v", "w"], 5)
        assert same(known, *toy.ranking([10], 5, exclude=[10]))
        assert same(other, *toy.ranking([20], 5, exclude=[20]))
        assert unknown.popular
    users.add_events("u", ["C-3"])  # alone in what is new
    assert same(users.recommend("u", 5, exclude_seen=False), *toy.ranking([10], 5))
    (record,) = caplog.records
    assert "item ids that are text, which the model in place cannot know, as its ids are integers" in record.message
    assert users.history("v") == ["A-1", "B-2"]


def test_an_engine_that_fails_harms_nothing(engine: Engine, toy: Any) -> None:
    assert engine.backend is not None
    run = engine.backend.run

    class Failing:
        description, max_k, limits = "failing", engine.backend.max_k, engine.backend.limits
        fails = False

        def run(self, *arguments: Any) -> Any:
            if self.fails:
                raise RuntimeError("out of luck")
            return run(*arguments)

    backend = Failing()
    recommender = Recommender(Engine(engine.bundle, backend))
    recommender.add_events("u", [10])
    check(recommender, toy, "u")
    recommender.add_events("u", [20])
    backend.fails = True
    with pytest.raises(BackendError, match="RuntimeError: out of luck"):
        recommender.recommend("u", 2)
    backend.fails = False
    check(recommender, toy, "u")


class DictStore:
    """A store of one's own, without event ids."""

    max_history = None

    def __init__(self) -> None:
        self.logs: dict[Any, list[Event]] = {}
        self.asked: list[list[int]] = []
        self.failure: Exception | None = None

    def append(self, appends: Sequence[Append]) -> list[bool]:
        if self.failure is not None:
            raise self.failure
        for append in appends:
            log = self.logs.setdefault(append.user, [])
            log.append(Event(len(log) + 1, len(self.logs), append.items))
        return [True] * len(appends)

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        self.asked.append(list(since))
        return [self.logs.get(user, [])[max(first - 1, 0) :] for user, first in zip(users, since, strict=True)]

    def forget(self, user: UserId) -> bool:
        return self.logs.pop(user, None) is not None

    def close(self) -> None:
        raise AssertionError("a store that was given stays open")


def test_a_store_of_ones_own_is_read_from_where_the_state_ends(engine: Engine, toy: Any) -> None:
    store = DictStore()
    with Recommender(engine, store) as users:
        assert users.add_events(7, [10, "20", 2**70], "id")
        assert same(users.recommend(7, 5), *toy.ranking([10, 20], 5, exclude=[10, 20]))
        assert users.history(7) == [10, "20", 2**70]
        users.add_events(7, [30])
        assert same(users.recommend(7, 5), *toy.ranking([10, 20, 30], 5, exclude=[10, 20, 30]))
        assert store.asked == [[0], [0], [1]]
        store.failure = StoreError("out of luck; nothing was stored")
        with pytest.raises(StoreError, match="out of luck; nothing was stored") as caught:
            users.add_events(7, [40])
        assert caught.value is store.failure
        store.failure = KeyError("what")
        with pytest.raises(StoreError, match="the store failed .KeyError: 'what'.: check the store") as caught:
            users.add_events(7, [40])
        assert caught.value.__cause__ is store.failure
        assert users.forget(7)
        assert users.recommend(7, 2).popular


def test_redis_gone_and_back(engine: Engine, toy: Any, new_redis_server: Any) -> None:
    with Recommender(engine, new_redis_server.address) as recommender:
        recommender.add_events("u", [10, 20], "a")
        check(recommender, toy, "u")
        new_redis_server.kill()
        for call in (lambda: recommender.recommend("u", 2), lambda: recommender.add_events("u", [30], "b")):
            with pytest.raises(StoreError, match="check the server"):
                call()
        new_redis_server.start()
        recommender.add_events("u", [30], "b")
        assert recommender.history("u") == [10, 20, 30]
        check(recommender, toy, "u")


def test_a_store_that_lost_its_end_rebuilds_the_state(engine: Engine, toy: Any, redis_server: Any) -> None:
    with Recommender(engine, redis_server.address) as recommender:
        recommender.add_events_many([("u", [10]), ("u", [20])])
        check(recommender, toy, "u")
        redis_server.client().rpop("recblr:{su}:events")
        recommender.add_events("u", [30])
        assert recommender.history("u") == [10, 30]
        check(recommender, toy, "u")
        assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking([10, 30], 8))


def test_clock_jumps_change_nothing(recommender: Recommender, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for item, clock in ((10, 2e9), (20, 0.0), (30, -1e9), (40, 4e9)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        monkeypatch.setattr(time, "time_ns", lambda clock=clock: int(clock * 1e9))
        recommender.add_events("u", [item], item)
        assert not recommender.add_events("u", [item], item)
        check(recommender, toy, "u")
    assert recommender.history("u") == [10, 20, 30, 40]


def test_max_history(engine: Engine, toy: Any, store_address: str | None) -> None:
    with Recommender(engine, store_address, max_history=3, cache_bytes=0) as recommender:
        for item in IDS[:7]:
            recommender.add_events("u", [item])
        recommender.add_events("v", IDS)
        assert recommender.history("u") == [50, 60, 70]
        assert recommender.history("v") == [70, 80, 2**63 - 1]
        check(recommender, toy, "u")
        check(recommender, toy, "v")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda r: r.add_events(True, [10]), "user is True: give an integer or a string"),
        (lambda r: r.add_events("u", [10, 1.0]), r"items\[1\] is 1.0: give an integer or a string"),
        (lambda r: r.add_events("u", "10"), "items is '10': give a sequence"),
        (lambda r: r.add_events("u", [np.timedelta64(10)]), r"items\[0\] is np.timedelta64\(10\)"),
        (lambda r: r.add_events("u", np.array([10.0])), r"items\[0\] is 10.0: give an integer or a string"),
        (lambda r: r.add_events("u", (item for item in [10])), "items is <generator"),
        (lambda r: r.add_events("u", [10], b"x"), "event_id is b'x'"),
        (lambda r: r.add_events("\ud800", [10]), "no valid Unicode"),
        (lambda r: r.add_events("u" * 1025, [10]), "user has 1,025 characters"),
        (lambda r: r.add_events("u", [10**100]), r"items\[0\] is a number of more than 100 digits"),
        (lambda r: r.add_events_many([("u", [10]), ("u",)]), r"an event is \('u',\)"),
        (lambda r: r.recommend("u", k=0), "k is 0"),
        (lambda r: r.recommend("u", 2, only="10"), r"only\[0\] is '10'"),
        (lambda r: r.recommend("u", 2, exclude=5), r"exclude\[0\] is 5"),
        (lambda r: r.recommend("u", 2, exclude=["x"]), r"exclude\[0\]: item id 'x' is of type str"),
        (lambda r: r.recommend("u", 2, only=np.array([10.0])), r"only\[0\]: item id 10.0 is of type float"),
        (lambda r: r.recommend("u", 2, only=AllowList(["x"])), "the AllowList: item id 'x' is of type str"),
        (lambda r: r.recommend_many("uv", 2), "users is 'uv'"),
        (lambda r: r.recommend_many(["u"], 2, only=[[1], [2]]), "for 1 users"),
        (lambda r: r.history(None), "user is None"),
        (lambda r: r.forget([]), r"user is \[\]"),
    ],
)
def test_malformed_calls_change_nothing(engine: Engine, call: Callable[[Recommender], object], reason: str) -> None:
    recommender = Recommender(engine)
    with pytest.raises(RequestError, match=reason):
        call(recommender)
    assert recommender.history("u") == []


def test_closed(engine: Engine, store_address: str | None) -> None:
    with Recommender(engine, store_address) as recommender:
        pass
    with pytest.raises(ClosedError, match="the Recommender is closed: make a new one"):
        recommender.recommend("u", 2)
    with pytest.raises(ClosedError, match="the Recommender is closed"):
        recommender.recent_users(3)
    store = open_store(None)
    Recommender(engine, store).close()
    assert store.read(["u"], [0]) == [[]]  # one that was given stays open


def test_a_fork_says_so(engine: Engine) -> None:
    recommender = Recommender(engine)
    child = os.fork()
    if child == 0:
        try:
            recommender.recommend("u", 2)
        except ForkError as error:
            os._exit(7 if "make the Recommender after the fork" in str(error) else 1)
        except RecblrError:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
