from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from recblr.errors import RequestError
from recblr.runtime.gpu.slots import SlotTable


def keep(table: SlotTable, users: Sequence[str], tag: object = None) -> list[int]:
    lease = table.lease(users)
    lease.known[:], lease.tags = True, [tag] * len(users)
    table.give_back(lease)
    return lease.slots.tolist()


def known(table: SlotTable, users: Sequence[str]) -> list[bool]:
    lease = table.lease(users)
    table.give_back(lease)
    return lease.known.tolist()


def test_states_stay_and_the_least_recently_used_goes() -> None:
    table = SlotTable(3)
    slots = keep(table, ["a", "b", "c"], tag="first")
    assert sorted(slots) == [0, 1, 2]
    lease = table.lease(["a"])
    assert lease.known.tolist() == [True]
    assert lease.tags == ["first"]
    assert lease.slots.tolist() == slots[:1]
    table.give_back(lease)
    assert keep(table, ["d"]) == slots[1:2]  # b's
    assert known(table, ["a", "c", "d"]) == [True, True, True]
    assert known(table, ["b"]) == [False]


def test_users_of_the_batch_are_not_dropped_for_each_other() -> None:
    table = SlotTable(2)
    keep(table, ["a", "b"])
    lease = table.lease(["c", "a"])
    assert lease.known.tolist() == [False, True]
    assert len(set(lease.slots.tolist())) == 2
    assert lease.sources.tolist() == [-1, lease.slots[1]]
    lease.known[:] = True
    assert lease.sources.tolist() == lease.slots.tolist()
    table.give_back(lease)
    assert known(table, ["b"]) == [False]


def test_what_was_not_written_is_not_kept() -> None:
    table = SlotTable(2)
    keep(table, ["a"])
    lease = table.lease(["a", "b"])
    table.give_back(lease)  # nothing was run
    assert len(table) == 1
    lease = table.lease(["a", "b"])
    assert lease.known.tolist() == [True, False]
    lease.run_begins()  # and fails
    table.give_back(lease)
    assert len(table) == 0
    assert sorted(keep(table, ["c", "d"])) == [0, 1]  # no slot is lost


def test_drop_while_leased() -> None:
    table = SlotTable(2)
    lease = table.lease(["a"])
    assert table.drop("a")
    lease.known[:] = True
    table.give_back(lease)
    assert known(table, ["a"]) == [False]
    keep(table, ["a"])
    assert table.drop("a")
    assert not table.drop("a")
    assert known(table, ["a"]) == [False]


@pytest.mark.parametrize(
    ("users", "message"), [(["a", "b", "a"], "'a' is in the batch twice"), (list("abcd"), "room for 3")]
)
def test_what_cannot_be_leased(users: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        SlotTable(3).lease(users)


def test_a_leased_user_is_waited_for() -> None:
    table = SlotTable(4)
    lease = table.lease(["a", "b"])
    seen: list[object] = []

    def other() -> None:
        second = table.lease(["b", "c"])
        seen.append(second.known.tolist())
        table.give_back(second)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(0.05)
    assert not seen
    lease.known[:] = True
    table.give_back(lease)
    thread.join(10)
    assert seen == [[True, False]]


def test_room_is_waited_for() -> None:
    table = SlotTable(2)
    lease = table.lease(["a", "b"])
    done = threading.Event()

    def other() -> None:
        table.give_back(table.lease(["c"]))
        done.set()

    threading.Thread(target=other).start()
    assert not done.wait(0.05)
    table.give_back(lease)
    assert done.wait(10)


def test_shrinking_moves_the_latest_used() -> None:
    table = SlotTable(4)
    keep(table, ["a", "b", "c", "d"])
    keep(table, ["a"])
    seen: list[list[int]] = []

    def move(used: np.ndarray) -> tuple[int, int]:
        seen.append(used.tolist())
        return 2, 2

    before = {user: table.lease([user]) for user in "abcd"}
    assert not table.shrink(move)  # while leased
    for user in "bcda":
        table.give_back(before[user])
    assert table.shrink(move)
    assert seen == [[int(before[user].slots[0]) for user in "bcda"]]
    assert table.n_slots == 2
    lease = table.lease(["d", "a"])
    assert lease.known.all()
    assert lease.slots.tolist() == [0, 1]
    table.give_back(lease)
    assert known(table, ["b"]) == [False]


def test_threads_lose_no_slot() -> None:
    table = SlotTable(6)
    owner: dict[int, str] = {}
    errors: list[str] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(200):
            users = [str(user) for user in random.choice(12, size=random.integers(1, 4), replace=False)]
            lease = table.lease(users)
            for b, (user, slot) in enumerate(zip(users, lease.slots.tolist(), strict=True)):
                if lease.known[b] and owner.get(slot) != user:
                    errors.append(f"slot {slot} of {user} holds {owner.get(slot)}")
                owner[slot] = user
            lease.known[:] = True
            table.give_back(lease)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(table) == 6
