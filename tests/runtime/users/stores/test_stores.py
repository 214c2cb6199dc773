"""One set of tests for all stores: what is stored is what comes back, whoever else writes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recblr.errors import ConfigError, StoreError
from recblr.runtime import Append, Store, open_store

USERS: list[int | str] = [1, "1", "ü}{ \n", -5, 2**80, "a\0b"]
ITEMS = [7, "7", 2**63, 'ünï "quoted" [1]', "", -1, 10**99]


@pytest.fixture
def store(store_address: str | None) -> Iterator[Store]:
    store = open_store(store_address)
    yield store
    store.close()


def items_of(store: Store, user: int | str) -> list[int | str]:
    (events,) = store.read([user], [0])
    return [item for event in events for item in event.items]


def test_items_come_back_as_they_were_given(store: Store) -> None:
    for j, user in enumerate(USERS):
        assert store.append([Append(user, [*ITEMS, j])]) == [True]
    for j, user in enumerate(USERS):
        found = items_of(store, user)
        assert found == [*ITEMS, j]
        assert list(map(type, found)) == list(map(type, [*ITEMS, j]))
    assert store.read(["nobody"], [0]) == [[]]
    assert store.append([]) == []
    assert store.read([], []) == []


def test_events_are_numbered_without_gaps_and_read_from_any_number(store: Store) -> None:
    store.append([Append("u", [j]) for j in range(5)])
    (events,) = store.read(["u"], [0])
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert len({event.stamp for event in events}) == 5
    for since in range(8):
        assert store.read(["u"], [since]) == [events[max(since - 1, 0) :]]


def test_an_event_id_counts_once_per_user(store: Store) -> None:
    assert store.append([Append("u", [1], "a"), Append("u", [1], "a"), Append("v", [1], "a")]) == [True, False, True]
    assert store.append([Append("u", [2], "b"), Append("u", [3], 5), Append("u", [4], "5")]) == [True, True, True]
    assert store.append([Append("u", [9], "a"), Append("u", [9], 5), Append("u", [5])]) == [False, False, True]
    assert items_of(store, "u") == [1, 2, 3, 4, 5]
    assert items_of(store, "v") == [1]


@pytest.mark.parametrize("event_id", ["\0", "a\0b", "ü} {\n", "1 2 3 4 [5]"])
def test_any_text_names_an_event(store: Store, event_id: str) -> None:
    appends = [Append("u", [1], event_id), Append("u", [2], event_id), Append("u", [3], f"{event_id}c")]
    assert store.append(appends) == [True, False, True]
    assert items_of(store, "u") == [1, 3]


def test_nothing_is_left_of_a_forgotten_user(store: Store) -> None:
    store.append([Append("u", [1], "a"), Append("v", [2], "a")])
    ((before,),) = store.read(["u"], [0])
    assert store.forget("u")
    assert not store.forget("u")
    assert items_of(store, "u") == []
    assert items_of(store, "v") == [2]
    assert store.append([Append("u", [1], "a")]) == [True]
    ((after,),) = store.read(["u"], [0])
    assert after.seq == before.seq == 1
    assert after.stamp != before.stamp


def test_trimming_keeps_the_latest_items_and_goes_on_counting(store_address: str | None) -> None:
    store = open_store(store_address, max_history=4)
    for j in range(10):
        store.append([Append("u", [j], j)])
    (events,) = store.read(["u"], [0])
    assert [event.seq for event in events] == [7, 8, 9, 10]
    assert store.read(["u"], [2]) == [events]
    assert store.read(["u"], [9]) == [events[2:]]
    assert store.append([Append("u", [99], 9), Append("u", [99], 6), Append("u", [98], 5)]) == [False, False, True]
    store.append([Append("u", list(range(100, 120)))])
    assert items_of(store, "u") == [116, 117, 118, 119]
    store.append([Append("u", [1])])
    assert items_of(store, "u") == [116, 117, 118, 119, 1]  # whole events only
    store.close()


EVENT = st.tuples(st.sampled_from(USERS), st.lists(st.sampled_from(ITEMS), min_size=1), st.none() | st.integers(0, 3))
STEPS = st.lists(EVENT | st.sampled_from(USERS), max_size=25)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, max_history=st.none() | st.integers(1, 6))
def test_any_order_of_calls_equals_a_dict_of_lists(
    store_address: str | None, steps: list[Any], max_history: int | None
) -> None:
    store = open_store(store_address, max_history)
    for user in USERS:
        store.forget(user)
    model: dict[Any, list[tuple[list[Any], Any]]] = {}
    for step in steps:
        if not isinstance(step, tuple):
            assert store.forget(step) == (step in model)
            model.pop(step, None)
            continue
        user, items, event_id = step
        log = model.setdefault(user, [])
        new = event_id is None or all(known != event_id for _, known in log)
        assert store.append([Append(user, items, event_id)]) == [new]
        if new:
            log.append((items if max_history is None else items[-max_history:], event_id))
        while max_history is not None and sum(len(kept) for kept, _ in log[1:]) >= max_history:
            log.pop(0)
    logs = store.read(USERS, [0] * len(USERS))
    assert [[event.items for event in log] for log in logs] == [[i for i, _ in model.get(u, [])] for u in USERS]
    store.close()


def test_threads_lose_and_double_nothing(store: Store) -> None:
    n_threads, n_events = 6, 30
    start = threading.Barrier(n_threads)
    added: list[bool] = []

    def write(thread: int) -> None:
        start.wait()
        for j in range(n_events):
            added.extend(store.append([Append("u", [thread * 1000 + j]), Append("u", [-j - 1], f"shared {j}")]))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (events,) = store.read(["u"], [0])
    assert [event.seq for event in events] == list(range(1, (n_threads + 1) * n_events + 1))
    items = items_of(store, "u")
    assert sum(added) == len(items) == len(set(items))
    for thread in range(n_threads):
        own = [item for item in items if isinstance(item, int) and item >= 0 and item // 1000 == thread]
        assert own == [thread * 1000 + j for j in range(n_events)]


WRITER = """
import sys
from recblr.runtime import Append, open_store
store = open_store(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
print(sum(sum(store.append([Append("u", [f"{sys.argv[2]} {j}"]), Append("u", [j], j)])) for j in range(60)))
"""


def test_processes_lose_and_double_nothing(shared_store_address: str) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, shared_store_address, str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)  # they open, and make, the store at the same time
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    added = sum(int(writer.communicate("go\n", timeout=60)[0]) for writer in writers)
    store = open_store(shared_store_address)
    items = items_of(store, "u")
    assert added == len(items) == len(set(items)) == 3 * 60 + 60
    for n in range(3):
        assert [item for item in items if str(item).startswith(f"{n} ")] == [f"{n} {j}" for j in range(60)]
    store.close()


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    for call in (lambda: store.append([Append("u", [1])]), lambda: store.read(["u"], [0]), lambda: store.forget("u")):
        with pytest.raises(StoreError, match="closed: open it again"):
            call()


@pytest.mark.parametrize("where", ["http://host", 3, "redis://host:port", "a folder\0and more"])
def test_addresses_that_are_none(where: Any) -> None:
    with pytest.raises(ConfigError, match="store"):
        open_store(where)


@pytest.mark.parametrize("max_history", [0, -1, 1.5, True])
def test_max_history_out_of_range(store_address: str | None, max_history: Any) -> None:
    with pytest.raises(ConfigError, match="max_history is"):
        open_store(store_address, max_history)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(tmp_path / "file" / "store")
