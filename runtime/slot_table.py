"""Which user's state is in which slot of a pool: leases, least recently used out first. Nothing of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int32

from recblr.errors import RequestError

KnownArray: TypeAlias = Bool[np.ndarray, "B"]
SlotsArray: TypeAlias = Int32[np.ndarray, "slots"]


@dataclass(eq=False)
class Lease:
    """Slots that nobody else is given until they are given back.

    Attributes:
        users: [B] each once.
        slots: int32 [B]
        known: bool [B] whether the slot holds the user's state, as of the lease.
        tags: [B] what was kept with the state, None for unknown users. Set them to what is to be kept.
        written: the slots hold the users' states now, of whichever users.
        broken: a run that writes them failed, or is under way.
    """

    users: list[Hashable]
    slots: SlotsArray
    known: KnownArray
    tags: list[object]
    written: bool = False
    broken: bool = False

    @property
    def sources(self) -> SlotsArray:
        """int32 [B] where the states are to be read; -1 for users without one, who start from the initial state."""
        return self.slots if self.written else np.where(self.known, self.slots, np.int32(-1)).astype(np.int32)


class SlotTable:
    """Slots and their users. Threads may share it."""

    def __init__(self, n_slots: int) -> None:
        """All free."""
        self.n_slots = n_slots
        self._free = list(range(n_slots - 1, -1, -1))
        self._idle: OrderedDict[Hashable, tuple[int, object]] = OrderedDict()  # the least recently used first
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
        slots = [self._free_slot() if entry is None else entry[0] for entry in held]
        self._leased.update(users)
        self._n_leased += len(users)
        known = np.array([entry is not None for entry in held], bool)
        tags = [None if entry is None else entry[1] for entry in held]
        return Lease(users, np.array(slots, np.int32), known, tags)

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        _, (slot, _) = self._idle.popitem(last=False)
        return slot

    def give_back(self, lease: Lease) -> None:
        """End a lease: users whose slot holds their state stay, the others' slots are free again."""
        with self._changed:
            for b, user in enumerate(lease.users):
                holds = not lease.broken and (lease.written or bool(lease.known[b])) and user not in self._dropped
                if holds:
                    self._idle[user] = int(lease.slots[b]), lease.tags[b]
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
            self._free.append(entry[0])
            self._changed.notify_all()
            return True

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
            n_slots, n_kept = move(np.array([slot for _, (slot, _) in entries], np.int32))
            kept = entries[len(entries) - n_kept :]
            self._idle = OrderedDict((user, (slot, tag)) for slot, (user, (_, tag)) in enumerate(kept))
            self._free = list(range(n_slots - 1, n_kept - 1, -1))
            self.n_slots = n_slots
            self._changed.notify_all()
            return True
