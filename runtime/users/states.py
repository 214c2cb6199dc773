"""States of users that stay on the GPU that TensorRT runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from jaxtyping import Int64

from recblr.runtime.engine import Engine
from recblr.runtime.inputs import Exclude, Only, RowsOfIds
from recblr.runtime.leasing import LeasedStates
from recblr.runtime.ranking import Ranking
from recblr.runtime.users.stores import UserId

if TYPE_CHECKING:
    from recblr.runtime.gpu.slots import Lease

VersionsArray: TypeAlias = Int64[np.ndarray, "B"]

_MOST_AT_ONCE = 1_024  # users whose histories are in memory at once


class HeldStates:
    """The states of some users on the GPU, leased for one batch; the tag of each is (seq, stamp).

    Attributes:
        seqs: int64 [B] the last event in the state, 0 for none.
        stamps: int64 [B] that event's stamp.
        stepped: whether they were fed.
    """

    def __init__(self, engine: Engine, leased: LeasedStates) -> None:
        """Read the tags."""
        self._engine, self._leased = engine, leased
        self.stepped = False
        tags = [(0, 0) if tag is None else cast("tuple[int, int]", tag) for tag in self._lease.tags]
        self.seqs: VersionsArray = np.array([seq for seq, _ in tags], np.int64)
        self.stamps: VersionsArray = np.array([stamp for _, stamp in tags], np.int64)

    @property
    def _lease(self) -> Lease:
        return self._leased.lease

    def restart(self, rows: Sequence[int]) -> None:
        """Let rows begin with the initial state."""
        self.seqs[rows] = 0
        self._lease.known[rows] = False
        for b in rows:
            self._lease.tags[b] = None

    def step(self, new_items: RowsOfIds, k: int, exclude: Exclude, only: Only) -> list[Ranking]:
        """Feed the rows their new items, and rank, as `recblr.runtime.Engine.step` does."""
        self.stepped = True
        return self._engine.step_leased(self._leased, new_items, k, exclude, only)

    def keep(self, rows: Sequence[int], seqs: Sequence[int], stamps: Sequence[int]) -> None:
        """Keep the states of rows, which now end with these events. Those of others stay as they were kept."""
        for b, seq, stamp in zip(rows, seqs, stamps, strict=True):
            self._lease.tags[b] = (seq, stamp)


class GpuStates:
    """States of one model by user in a pool, under leases: of two threads that ask for a user, one waits."""

    def __init__(self, engine: Engine, max_bytes: int) -> None:
        """Make a pool for an engine's states, of at most `max_bytes`.

        Raises:
            ConfigError: see `Engine.device_states`.
            BackendError: CUDA failed.
        """
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
            held = HeldStates(self.engine, LeasedStates(self._pool, lease))
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
