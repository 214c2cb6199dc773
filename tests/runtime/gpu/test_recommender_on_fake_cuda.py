"""Users whose states stay on the GPU, on a fake of CUDA: answers equal those of the whole stored history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recblr.errors import BackendError, ConfigError, RequestError, StoreError
from recblr.plugins import PluginLibrary
from recblr.runtime import Batching, Engine, LeasedStates, Recommender, load, open_store
from recblr.runtime.gpu import state_pool as pool_module
from recblr.runtime.gpu.backend import TensorRTBackend

S = 5
STATE_BYTES = 4 * S
IDS = [10, 20, 30, 40, 50, 60, 70, 80]


@pytest.fixture
def gpu_engine(
    open_fake: Callable[..., TensorRTBackend], moves: PluginLibrary, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """An engine on the fake, of 8 rows, 64 items and 48 exclusions at most."""
    monkeypatch.setattr(pool_module, "load_library", lambda: moves)
    backend = open_fake(graphs=False)
    return Engine(backend.bundle, backend)


def same(ranking: Any, items: list[Any], scores: list[float]) -> bool:
    return bool(ranking.items == items and ranking.scores.tolist() == scores)


@pytest.mark.parametrize("slots", [1, 2, 4, 100])
def test_answers_equal_the_histories(gpu_engine: Engine, toy: Any, slots: int) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=slots * STATE_BYTES, cache_device="gpu")
    random = np.random.default_rng(slots)
    histories: dict[str, list[int]] = {user: [] for user in "abcdef"}
    for turn in range(60):
        user = str(random.choice(list(histories)))
        if turn % 17 == 16:
            recommender.forget(user)
            histories[user] = []
        items = [int(item) for item in random.choice([*IDS, 99], random.integers(0, 4))]
        recommender.add_events(user, items)
        histories[user] += items
        users = [str(u) for u in random.choice(list(histories), random.integers(1, 9))]  # some twice
        seen = bool(turn % 2)
        for asked, ranking in zip(users, recommender.recommend_many(users, 5, exclude_seen=seen), strict=True):
            known = [item for item in histories[asked] if item != 99]
            assert ranking.popular == (not known)
            if known:
                assert same(ranking, *toy.ranking(known, 5, exclude=known if seen else ()))
    assert len(recommender.recent_users(100)) <= slots


def test_allow_lists_long_histories_and_deep_rankings(gpu_engine: Engine, toy: Any) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=100 * STATE_BYTES, cache_device="gpu")
    history = [IDS[n % 8] for n in range(200)]  # the profile takes 64 items at once
    recommender.add_events("long", history)
    recommender.add_events("short", [10])
    only = [None, [30, 40, 50], [60]]
    rankings = recommender.recommend_many(["long", "short", "new"], 8, exclude_seen=False, only=only)
    assert same(rankings[0], *toy.ranking(history, 8))
    left_out = [item for item in toy.ids if item not in (30, 40, 50)]
    assert same(rankings[1], *toy.ranking([10], 8, exclude=left_out))
    assert rankings[2].popular
    assert rankings[2].items == [60]
    assert len(recommender.recent_users(100)) == 2  # nothing is known of the third
    recommender.add_events("long", [20])
    assert same(recommender.recommend("long", 8, exclude_seen=False), *toy.ranking([*history, 20], 8))


def test_a_user_of_unknown_items_gets_the_popular_ones_until_one_is_known(gpu_engine: Engine, toy: Any) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=4 * STATE_BYTES, cache_device="gpu")
    recommender.add_events("u", [99, 98])
    for _ in range(2):
        assert recommender.recommend("u", 5).popular
    recommender.add_events("u", [30])
    assert same(recommender.recommend("u", 4, exclude_seen=False), *toy.ranking([30], 4))
    assert not recommender.recommend("u", 5).popular


def test_threads_that_ask_for_the_same_users(gpu_engine: Engine, toy: Any) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=3 * STATE_BYTES, cache_device="gpu")
    users, failures = ["u", "v", "w", "x"], []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for j in range(30):
                recommender.add_events(str(random.choice(users)), [int(random.choice(IDS))], f"{seed} {j}")
                recommender.recommend_many([str(user) for user in random.permutation(users)], 3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for user in users:
        history = recommender.history(user)
        assert same(recommender.recommend(user, 8, exclude_seen=False), *toy.ranking(history, 8))


def test_a_failure_loses_states_and_no_answers(gpu_engine: Engine, toy: Any, fake_cuda: Any) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=4 * STATE_BYTES, cache_device="gpu")
    recommender.add_events_many([("u", [10]), ("v", [20])])
    recommender.recommend_many(["u", "v"], 5)
    recommender.add_events("u", [30])
    fake_cuda.failing = True
    with pytest.raises(BackendError):
        recommender.recommend("u", 5)
    fake_cuda.failing = False
    assert len(recommender.recent_users(100)) == 1
    assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking([10, 30], 8))


def test_an_error_after_a_part_ran_feeds_nothing_twice(
    gpu_engine: Engine, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=40 * STATE_BYTES, cache_device="gpu")
    users = [f"u{n}" for n in range(12)]  # two runs of at most 8
    recommender.add_events_many([(user, [10]) for user in users])
    recommender.recommend_many(users, 5)
    recommender.add_events_many([(user, [20]) for user in users])
    backend = gpu_engine.backend
    run_leased, runs = backend.run_leased, []

    def second_fails(*arguments: Any, **options: Any) -> Any:
        runs.append(1)
        if len(runs) == 2:
            raise BackendError("the GPU is gone")
        return run_leased(*arguments, **options)

    monkeypatch.setattr(backend, "run_leased", second_fails)
    with pytest.raises(BackendError, match="the GPU is gone"):
        recommender.recommend_many(users, 5)
    for ranking in recommender.recommend_many(users, 8, exclude_seen=False):
        assert same(ranking, *toy.ranking([10, 20], 8))


def test_a_store_that_fails_loses_no_state(gpu_engine: Engine, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(None)
    recommender = Recommender(gpu_engine, store, cache_bytes=4 * STATE_BYTES, cache_device="gpu")
    recommender.add_events("u", [10])
    recommender.recommend("u", 5)

    def gone(*arguments: Any) -> Any:
        raise StoreError("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", gone)
        with pytest.raises(StoreError, match="the store is gone"):
            recommender.recommend("u", 5)
    assert len(recommender.recent_users(100)) == 1
    assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking([10], 8))


def test_swap_with_rebuilt_states(gpu_engine: Engine, toy: Any) -> None:
    recommender = Recommender(gpu_engine, cache_bytes=10 * STATE_BYTES, cache_device="gpu")
    recommender.add_events_many([(user, [10, 20]) for user in "abc"])
    recommender.recommend_many(["a", "b", "c"], 5)
    recommender.swap(gpu_engine, rebuild=2)
    assert len(recommender.recent_users(100)) == 2
    assert recommender.recent_users(5) == ["c", "b"]
    assert same(recommender.recommend("a", 8, exclude_seen=False), *toy.ranking([10, 20], 8))


def test_behind_a_batcher(gpu_engine: Engine, toy: Any) -> None:
    with Engine(gpu_engine.bundle, gpu_engine.backend, batching=Batching()) as engine:
        recommender = Recommender(engine, cache_bytes=4 * STATE_BYTES, cache_device="gpu")
        recommender.add_events("u", [10, 20])
        assert same(recommender.recommend("u", 8, exclude_seen=False), *toy.ranking([10, 20], 8))
        metrics = engine.metrics()
        assert metrics is not None
        assert metrics.accepted == 0


def test_two_that_share_a_store(gpu_engine: Engine, toy: Any) -> None:
    store = open_store(None)
    one, other = (Recommender(gpu_engine, store, cache_bytes=4 * STATE_BYTES, cache_device="gpu") for _ in range(2))
    one.add_events("u", [10])
    for recommender in (one, other):
        recommender.recommend("u", 5)
    other.forget("u")
    assert one.recommend("u", 5).popular
    assert len(one.recent_users(100)) == 0
    other.add_events("u", [40])
    assert same(one.recommend("u", 8, exclude_seen=False), *toy.ranking([40], 8))


def test_errors(gpu_engine: Engine, toy: Any) -> None:
    with pytest.raises(ConfigError, match="states stay on the GPU only in a TensorRT engine, and this is"):
        Recommender(load(toy.path, threads=1), cache_device="gpu")
    with pytest.raises(ConfigError, match="cache_device is 'tpu': give one of host, gpu"):
        Recommender(gpu_engine, cache_device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="states on the GPU get 3 bytes, one takes 20"):
        Recommender(gpu_engine, cache_bytes=3, cache_device="gpu")
    pool = gpu_engine.device_states(100)
    with pool.lease(["u"]) as lease, pytest.raises(RequestError, match="the lease is of 1 users, new_items of 2"):
        gpu_engine.step_leased(LeasedStates(pool, lease), [[10], [20]], k=3)
