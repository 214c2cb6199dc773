"""Where a Recommender keeps its users' states: in host memory, or on the GPU that TensorRT runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, get_args

import numpy as np

from recblr.errors import ConfigError
from recblr.runtime.engine import Engine
from recblr.runtime.inputs import Exclude, Only, RowsOfIds
from recblr.runtime.leasing import LeasedStates
from recblr.runtime.ranking import Ranking
from recblr.runtime.users.cache import StateCache, VersionsArray
from recblr.runtime.users.stores import UserId

if TYPE_CHECKING:
    from recblr.runtime.gpu.slots import Lease

CacheDevice: TypeAlias = Literal["host", "gpu"]
CACHE_DEVICES: tuple[CacheDevice, ...] = get_args(CacheDevice)

_MOST_AT_ONCE = 1_024  # users whose states and histories are in memory at once, the cache's aside


class HeldStates(Protocol):
    """The states of some users, for one batch.

    Attributes:
        seqs: int64 [B] the last event in the state, 0 for none.
        stamps: int64 [B] that event's stamp.
    """

    seqs: VersionsArray
    stamps: VersionsArray

    def restart(self, rows: Sequence[int]) -> None:
        """Let rows begin with the initial state."""
        ...

    def step(self, new_items: RowsOfIds, k: int, exclude: Exclude, only: Only) -> list[Ranking]:
        """Feed the rows their new items, and rank, as `recblr.runtime.Engine.step` does."""
        ...

    def keep(self, rows: Sequence[int], seqs: Sequence[int], stamps: Sequence[int]) -> None:
        """Keep the states of rows, which now end with these events. Those of others stay as they were kept."""
        ...


class UserStates(Protocol):
    """States of one model, by user, the least recently used dropped for new ones. Threads may share it.

    Attributes:
        each_once: whether `hold` takes a user only once.
    """

    each_once: bool

    @property
    def engine(self) -> Engine:
        """The engine whose states they are."""
        ...

    @property
    def users_at_once(self) -> int:
        """How many users `hold` takes."""
        ...

    def __len__(self) -> int:
        """How many users have a state here."""
        ...

    def hold(self, users: Sequence[UserId]) -> AbstractContextManager[HeldStates]:
        """Have the states of some users for one batch, as a context manager."""
        ...

    def drop(self, user: UserId) -> bool:
        """Remove a user's state, and refuse those under way. Returns whether there was one."""
        ...

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users, the latest used first."""
        ...


def user_states(engine: Engine, device: CacheDevice, max_bytes: int) -> UserStates:
    """The place for an engine's states.

    Args:
        engine: the model.
        device: "host", or "gpu" for the GPU that the engine runs on.
        max_bytes: the most that the states take, as for `StateCache` and `Engine.device_states`.

    Raises:
        ConfigError: there is no such place, or no room in it.
        BackendError: CUDA failed.
    """
    if device not in CACHE_DEVICES:
        raise ConfigError(f"cache_device is {device!r}: give one of {', '.join(CACHE_DEVICES)}")
    return HostStates(engine, max_bytes) if device == "host" else GpuStates(engine, max_bytes)


class HostStates:
    """`UserStates` in host memory. Two threads may hold a user's state at once; what the later one keeps stays."""

    each_once = False

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """Make an empty cache for an engine's states, of at most `max_bytes`."""
        self.engine = engine
        self._cache = StateCache(engine.state_size, max_bytes)

    @property
    def users_at_once(self) -> int:
        """As many users as may be in memory at once."""
        return _MOST_AT_ONCE

    def __len__(self) -> int:
        """How many users have a state in the cache."""
        return len(self._cache)

    @contextmanager
    def hold(self, users: Sequence[UserId]) -> Iterator[HeldStates]:
        """Copy the users' states from the cache."""
        yield _HeldOnHost(self.engine, self._cache, users)

    def drop(self, user: UserId) -> bool:
        """Remove a user's state from the cache. Returns whether there was one."""
        return self._cache.drop(user)

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users in the cache, the latest used first."""
        return self._cache.recent_users(n)


class _HeldOnHost:
    def __init__(self, engine: Engine, cache: StateCache, users: Sequence[UserId]) -> None:
        self._engine, self._cache, self._users = engine, cache, users
        cached = cache.get(users, np.tile(engine.bundle.initial_state, (len(users), 1)))
        self.seqs, self.stamps, self._states, self._tickets = cached.seqs, cached.stamps, cached.states, cached.tickets

    def restart(self, rows: Sequence[int]) -> None:
        self._states[rows] = self._engine.bundle.initial_state
        self.seqs[rows] = 0

    def step(self, new_items: RowsOfIds, k: int, exclude: Exclude, only: Only) -> list[Ranking]:
        rankings, self._states = self._engine.step(self._states, new_items, k, exclude, only)
        return rankings

    def keep(self, rows: Sequence[int], seqs: Sequence[int], stamps: Sequence[int]) -> None:
        users, tickets = [self._users[b] for b in rows], [self._tickets[b] for b in rows]
        self._cache.put(users, seqs, stamps, self._states[rows], tickets)


class GpuStates:
    """`UserStates` in a pool on the GPU, under leases: of two threads that ask for a user, one waits for the other."""

    each_once = True

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """Make a pool for an engine's states, of at most `max_bytes`."""
        self.engine = engine
        self._pool = engine.device_states(max_bytes)

    @property
    def users_at_once(self) -> int:
        """Half as many users as the pool has room for, so that two threads find room."""
        return max(1, min(_MOST_AT_ONCE, self._pool.n_slots // 2))

    def __len__(self) -> int:
        """How many users have a state in the pool; those held are not counted."""
        return len(self._pool)

    @contextmanager
    def hold(self, users: Sequence[UserId]) -> Iterator[HeldStates]:
        """Lease the users' slots. With an error in or after `step`, the states of all these users are lost."""
        with self._pool.lease(users) as lease:
            held = _HeldOnGpu(self.engine, LeasedStates(self._pool, lease))
            try:
                yield held
            except BaseException:
                if held.stepped:
                    lease.known[:] = False  # some may be ahead of the event that they are said to end with
                raise
            lease.known &= [tag is not None for tag in lease.tags]

    def drop(self, user: UserId) -> bool:
        """Remove a user's state from the pool. Returns whether there was one."""
        return self._pool.drop(user)

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users in the pool who are not held, the latest used first."""
        return cast("list[UserId]", self._pool.recent_users(n))


class _HeldOnGpu:
    """Leased states on the GPU; the tag of each is (seq, stamp)."""

    def __init__(self, engine: Engine, leased: LeasedStates) -> None:
        self._engine, self._leased = engine, leased
        self.stepped = False
        tags = [(0, 0) if tag is None else cast("tuple[int, int]", tag) for tag in self._lease.tags]
        self.seqs: VersionsArray = np.array([seq for seq, _ in tags], np.int64)
        self.stamps: VersionsArray = np.array([stamp for _, stamp in tags], np.int64)

    @property
    def _lease(self) -> Lease:
        return self._leased.lease

    def restart(self, rows: Sequence[int]) -> None:
        self.seqs[rows] = 0
        self._lease.known[rows] = False
        for b in rows:
            self._lease.tags[b] = None

    def step(self, new_items: RowsOfIds, k: int, exclude: Exclude, only: Only) -> list[Ranking]:
        self.stepped = True
        return self._engine.step_leased(self._leased, new_items, k, exclude, only)

    def keep(self, rows: Sequence[int], seqs: Sequence[int], stamps: Sequence[int]) -> None:
        for b, seq, stamp in zip(rows, seqs, stamps, strict=True):
            self._lease.tags[b] = (seq, stamp)
