"""Redis gone and back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis

from recblr.errors import StoreError
from recblr.runtime import Append, open_store


def test_a_killed_server_loses_nothing_acknowledged(new_redis_server: Any) -> None:
    store = open_store(new_redis_server.address)
    acknowledged: list[int] = []
    failures: list[str] = []

    def write() -> None:
        for j in range(10**6):
            try:
                store.append([Append("u", [j], j)])
            except StoreError as error:
                failures.append(str(error))
                return
            acknowledged.append(j)

    writer = threading.Thread(target=write)
    writer.start()
    while len(acknowledged) < 50:
        assert writer.is_alive()
    new_redis_server.kill()
    writer.join()
    assert "whether it was stored is not known; repeat it with its event_id; check the server" in failures[0]
    with pytest.raises(StoreError, match=r"redis\.sock.*nothing was read; check the server"):
        store.read(["u"], [0])
    with pytest.raises(StoreError, match="whether it was forgotten is not known"):
        store.forget("u")
    with pytest.raises(StoreError, match="nothing was opened"):
        open_store(new_redis_server.address)

    new_redis_server.start()
    unknown = len(acknowledged)
    store.append([Append("u", [unknown], unknown)])  # the one whose answer was lost, again
    items = [event.items for event in store.read(["u"], [0])[0]]
    assert items == [[j] for j in range(unknown + 1)]
    store.close()


def test_a_full_server_says_so(redis_server: Any) -> None:
    store = open_store(redis_server.address)
    client: redis.Redis = redis_server.client()
    store.append([Append("u", [1], "a")])
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match="raise its maxmemory"):
            store.append([Append("u", [2], "b")])
        assert len(store.read(["u"], [0])[0]) == 1
    finally:
        client.config_set("maxmemory", 0)
    assert store.append([Append("u", [2], "b")]) == [True]
    store.close()


def test_nothing_is_left_of_a_forgotten_user(redis_server: Any) -> None:
    store = open_store(redis_server.address, prefix="ours")
    store.append([Append("u", [1], "a"), Append("v", [2])])
    assert store.forget("u")
    assert redis_server.client().keys() == [b"ours:{sv}:events"]
    store.close()


def test_prefixes_keep_stores_apart(redis_server: Any) -> None:
    one, other = (open_store(redis_server.address, prefix=prefix) for prefix in ("one", "other"))
    one.append([Append("u", [1])])
    assert other.read(["u"], [0]) == [[]]
    one.close()
    other.close()
