"""A bounded cache of users' states, the least recently used dropped first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Int32, Int64

from recblr.array_types import StatesArray
from recblr.errors import ConfigError
from recblr.runtime.users.stores.base import UserId

VersionsArray: TypeAlias = Int64[np.ndarray, "B"]
LinksArray: TypeAlias = Int32[np.ndarray, "slots"]

_NONE = -1
_BOOKKEEPING_BYTES = 8 + 8 + 4 + 4 + 8  # of a slot: seq, stamp, previous, next, user
_DROP_COUNTERS = 4_096


@dataclass(frozen=True, eq=False)
class CachedStates:
    """Copies of what the cache holds of some users.

    Attributes:
        states: float32 [B, S]; rows without a state are as they were given.
        seqs: int64 [B] the last event in the state, 0 for none.
        stamps: int64 [B] that event's stamp.
        tickets: [B] to be given to `StateCache.put`, which refuses the state of a user dropped since.
    """

    states: StatesArray
    seqs: VersionsArray
    stamps: VersionsArray
    tickets: list[int]


class StateCache:
    """States of one model, each with the last event of the history it holds. Threads may share it.

    The states lie in one array, whose memory is taken as it fills, and the order of use in arrays of links: a user
    costs at most 1.04 times the memory of the state. With an OrderedDict, as the GPU's few slots have, it is 1.044.
    """

    def __init__(self, state_size: int, max_bytes: int) -> None:
        """Make an empty one.

        Args:
            state_size: S.
            max_bytes: of states and bookkeeping arrays together, which decides the number of slots; the index of user
                ids comes on top, about 150 bytes for a user with a short id.

        Raises:
            ConfigError: `max_bytes` negative or no whole number.
        """
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 0:
            raise ConfigError(f"cache_bytes is {max_bytes!r}: give a whole number of bytes, 0 for no cache")
        self.n_slots = min(max_bytes // (4 * state_size + _BOOKKEEPING_BYTES), np.iinfo(np.int32).max)
        self._states: StatesArray = np.empty((self.n_slots, state_size), np.float32)
        self._seqs: VersionsArray = np.empty(self.n_slots, np.int64)
        self._stamps: VersionsArray = np.empty(self.n_slots, np.int64)
        self._newer: LinksArray = np.empty(self.n_slots, np.int32)
        self._older: LinksArray = np.empty(self.n_slots, np.int32)
        self._users: list[UserId] = []  # of each slot taken so far
        self._slots: dict[UserId, int] = {}
        self._free: list[int] = []  # slots given back by drops
        self._newest = self._oldest = _NONE
        self._drop_counts = [0] * _DROP_COUNTERS  # of users by hash, so that nothing of a dropped user stays
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many users have a state here."""
        return len(self._slots)

    def get(self, users: Sequence[UserId], states: StatesArray) -> CachedStates:
        """Copy users' states into rows of `states`, and mark the users as used.

        Args:
            users: [B]
            states: float32 [B, S]; rows of users without a state stay as they are.
        """
        seqs, stamps = np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
        slots = np.full(len(users), _NONE, np.int32)
        with self._lock:
            tickets = [self._drop_counts[_counter(user)] for user in users]
            for b, user in enumerate(users):
                slot = self._slots.get(user, _NONE)
                if slot != _NONE:
                    slots[b] = slot
                    self._use(slot)
            found = np.flatnonzero(slots != _NONE)
            slots = slots[found]
            seqs[found], stamps[found] = self._seqs[slots], self._stamps[slots]
            states[found] = self._states[slots]
        return CachedStates(states, seqs, stamps, tickets)

    def put(
        self,
        users: Sequence[UserId],
        seqs: Sequence[int],
        stamps: Sequence[int],
        states: StatesArray,
        tickets: Sequence[int],
    ) -> None:
        """Keep users' states, unless the user was dropped since the ticket, or the state is not finite.

        The last one put stays. If that is an older one, from a slower thread, only some events are fed again: every
        state is right for its own version.

        Args:
            users: [B]
            seqs: [B] the last event in each state.
            stamps: [B] its stamp.
            states: float32 [B, S]
            tickets: [B] of `get`.
        """
        finite = np.isfinite(states).all(axis=1)
        with self._lock:
            for b, user in enumerate(users):
                if self.n_slots == 0 or not finite[b] or self._drop_counts[_counter(user)] != tickets[b]:
                    continue
                slot = self._slots.get(user, _NONE)
                if slot == _NONE:
                    slot = self._take_slot(user)
                    self._link(slot)
                else:
                    self._use(slot)
                self._seqs[slot], self._stamps[slot] = seqs[b], stamps[b]
                self._states[slot] = states[b]

    def drop(self, user: UserId) -> bool:
        """Remove a user's state, and refuse those under way. Returns whether there was one."""
        with self._lock:
            self._drop_counts[_counter(user)] += 1
            slot = self._slots.pop(user, _NONE)
            if slot == _NONE:
                return False
            self._unlink(slot)
            self._states[slot] = 0
            self._users[slot] = 0
            self._free.append(slot)
            return True

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users, the latest used first."""
        users: list[UserId] = []
        with self._lock:
            slot = self._newest
            while slot != _NONE and len(users) < n:
                users.append(self._users[slot])
                slot = int(self._older[slot])
        return users

    def _take_slot(self, user: UserId) -> int:
        if self._free:
            slot = self._free.pop()
            self._users[slot] = user
        elif len(self._users) < self.n_slots:
            slot = len(self._users)
            self._users.append(user)
        else:
            slot = self._oldest
            self._unlink(slot)
            del self._slots[self._users[slot]]
            self._users[slot] = user
        self._slots[user] = slot
        return slot

    def _use(self, slot: int) -> None:
        if slot != self._newest:
            self._unlink(slot)
            self._link(slot)

    def _link(self, slot: int) -> None:
        self._newer[slot], self._older[slot] = _NONE, self._newest
        if self._newest == _NONE:
            self._oldest = slot
        else:
            self._newer[self._newest] = slot
        self._newest = slot

    def _unlink(self, slot: int) -> None:
        newer, older = int(self._newer[slot]), int(self._older[slot])
        if newer == _NONE:
            self._newest = older
        else:
            self._older[newer] = older
        if older == _NONE:
            self._oldest = newer
        else:
            self._newer[older] = newer


def _counter(user: UserId) -> int:
    return hash(user) % _DROP_COUNTERS
