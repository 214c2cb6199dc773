"""The library's own stores: in this process's memory, in SQLite, in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Sequence

from recblr.runtime import _core
from recblr.runtime.users.stores.base import Append, Event, UserId


class CoreStore:
    """A `Store`, as `open_store` gives it. An event is acknowledged when `append` returns.

    In SQLite it then survives the end of the process, `kill -9` included; with synchronous "FULL" power loss, too, as
    far as the disk keeps what it says it wrote. In Redis that depends on the server's settings: with `appendonly yes`
    and `appendfsync always` it survives a crash; with `appendfsync everysec` a crash may take the last second or two.

    Attributes:
        max_history: how many of a user's latest items it keeps; None for all.
        core: of the C++ library.
    """

    max_history: int | None
    core: _core.Store

    def __init__(self, core: _core.Store, max_history: int | None) -> None:
        """Take one that is open."""
        self.core = core
        self.max_history = max_history

    def append(self, appends: Sequence[Append]) -> list[bool]:
        """Store events in one transaction, or one round trip; the error of a server leaves open which were stored."""
        return self.core.append(appends)

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        """Read the users' events."""
        return [[Event(*event) for event in log] for log in self.core.read(users, since)]

    def forget(self, user: UserId) -> bool:
        """Remove all of a user. In SQLite nothing stays in the files once readers of this moment have ended."""
        return self.core.forget(user)

    def close(self) -> None:
        """Close the store; calls under way in other threads still finish."""
        self.core.close()
