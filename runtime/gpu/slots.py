"""Which user's state is in which slot of a pool, and who has leased it. The memory itself is the pool's."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int32

from recblr.errors import RequestError

KnownArray: TypeAlias = Bool[np.ndarray, "B"]
SlotsArray: TypeAlias = Int32[np.ndarray, "slots"]


@dataclass(eq=False)
class Lease:
    """The slots of some users, which nobody else is given until they are given back, and what became of their runs.

    Attributes:
        users: [B] each once.
        slots: int32 [B] the slot of each.
        known: bool [B] whether the slot holds the user's state. Cleared, the row starts from the initial state.
        fed: bool [B] whether any item was ever fed to that state.
        broken: bool [B] whether a run that writes the slot failed, or is under way; the state is then lost.
        tags: [B] what was kept with the state, None for unknown users. Set them to what is to be kept.
    """

    users: list[Hashable]
    slots: SlotsArray
    known: KnownArray
    fed: KnownArray
    broken: KnownArray
    tags: list[object]

    @property
    def sources(self) -> SlotsArray:
        """int32 [B] the slots to read states from; -1 for users without a state, who start from the initial one."""
        return np.where(self.known, self.slots, np.int32(-1)).astype(np.int32)

    def rows(self, rows: slice) -> Lease:
        """A lease of some of the rows, whose runs are noted here, too. Its tags are a copy."""
        return Lease(
            self.users[rows], self.slots[rows], self.known[rows], self.fed[rows], self.broken[rows], self.tags[rows]
        )

    def run_begins(self) -> None:
        """Note that the states are about to be written."""
        self.broken[:] = True

    def run_succeeded(self, fed: KnownArray) -> None:
        """Note that the slots hold the users' states. `fed`: bool [B] whether the run had items for the row."""
        self.fed[~self.known] = False  # they began anew
        self.fed |= fed
        self.known[:] = True
        self.broken[:] = False


class _Entry(NamedTuple):
    slot: int
    fed: bool
    tag: object


class SlotTable:
    """The slots of a pool and their users; new users take those of the least recently used. Threads may share it."""

    def __init__(self, n_slots: int) -> None:
        """Make a table in which all slots are free."""
        self.n_slots = n_slots
        self._free = list(range(n_slots - 1, -1, -1))
        self._idle: OrderedDict[Hashable, _Entry] = OrderedDict()  # the least recently used first
        self._leased: set[Hashable] = set()
        self._n_leased = 0
        self._dropped: set[Hashable] = set()  # while they were leased
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many users have a state and are not leased."""
        return len(self._idle)

    def lease(self, users: Sequence[Hashable]) -> Lease:
        """Lease a slot for each user, dropping who was used least recently; waits while a user or the room is leased.

        A thread that holds a lease must not ask for another, or both may wait for ever.

        Raises:
            RequestError: a user twice, or more users than slots.
        """
        users = list(users)
        if len(set(users)) < len(users):
            twice = next(user for i, user in enumerate(users) if user in users[:i])
            raise RequestError(f"user {twice!r} is in the batch twice: join both rows, or send two batches")
        with self._changed:
            while True:
                if len(users) > self.n_slots:
                    raise RequestError(
                        f"{len(users):,} users at once, and the pool has room for {self.n_slots:,}: send fewer"
                    )
                room = self.n_slots - self._n_leased
                if len(users) <= room and self._leased.isdisjoint(users):
                    return self._take(users)
                self._changed.wait()

    def _take(self, users: list[Hashable]) -> Lease:
        held = [self._idle.pop(user, None) for user in users]  # first, so that none of them is dropped for another
        slots = [self._free_slot() if entry is None else entry.slot for entry in held]
        self._leased.update(users)
        self._n_leased += len(users)
        known = np.array([entry is not None for entry in held], bool)
        fed = np.array([entry is not None and entry.fed for entry in held], bool)
        tags = [None if entry is None else entry.tag for entry in held]
        return Lease(users, np.array(slots, np.int32), known, fed, np.zeros(len(users), bool), tags)

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        _, entry = self._idle.popitem(last=False)
        return entry.slot

    def give_back(self, lease: Lease) -> None:
        """End a lease: users whose slot holds their state stay, the others' slots are free again."""
        with self._changed:
            for b, user in enumerate(lease.users):
                if lease.known[b] and not lease.broken[b] and user not in self._dropped:
                    self._idle[user] = _Entry(int(lease.slots[b]), bool(lease.fed[b]), lease.tags[b])
                else:
                    self._free.append(int(lease.slots[b]))
                self._dropped.discard(user)
            self._leased.difference_update(lease.users)
            self._n_leased -= len(lease.users)
            self._changed.notify_all()

    def drop(self, user: Hashable) -> bool:
        """Forget a user's state, also one that a lease is about to write. Returns whether there was one."""
        with self._changed:
            if user in self._leased:
                self._dropped.add(user)
                return True
            entry = self._idle.pop(user, None)
            if entry is None:
                return False
            self._free.append(entry.slot)
            self._changed.notify_all()
            return True

    def recent_users(self, n: int) -> list[Hashable]:
        """At most `n` users that have a state and are not leased, the latest used first."""
        with self._changed:
            return list(itertools.islice(reversed(self._idle), n))

    def shrink(self, move: Callable[[SlotsArray], tuple[int, int]]) -> bool:
        """Become smaller, unless a slot is leased. Leases wait meanwhile.

        Args:
            move: is given the slots that hold a state, the least recently used first; it moves the last of them to
                the slots 0, 1, and so on, and returns how many slots there are now, and how many states it moved.

        Returns:
            Whether it was done.
        """
        with self._changed:
            if self._n_leased:
                return False
            entries = list(self._idle.items())
            n_slots, n_kept = move(np.array([entry.slot for _, entry in entries], np.int32))
            kept = entries[len(entries) - n_kept :]
            self._idle = OrderedDict((user, entry._replace(slot=slot)) for slot, (user, entry) in enumerate(kept))
            self._free = list(range(n_slots - 1, n_kept - 1, -1))
            self.n_slots = n_slots
            self._changed.notify_all()
            return True
