"""Opens a store of histories by its name."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from recblr.errors import ConfigError, MissingExtraError
from recblr.runtime.users.stores.base import Store
from recblr.runtime.users.stores.memory import MemoryStore

SCHEMES = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://")


def open_store(where: str | PathLike[str] | None, max_history: int | None = None) -> Store:
    """Open the store of histories that `where` names.

    Args:
        where: None for this process's memory; a folder, made if need be, for SQLite; redis://HOST:PORT/DB,
            rediss://..., unix://SOCKET, or the same with valkey, for a Redis or Valkey server.
        max_history: how many of a user's latest items to keep; None for all.

    Raises:
        ConfigError: `where` or `max_history` is none of these.
        StoreError: the store cannot be opened.
        MissingExtraError: redis-py is not installed.
    """
    if where is None:
        return MemoryStore(max_history)
    if isinstance(where, str) and "://" in where:
        if not where.startswith(SCHEMES):
            raise ConfigError(f"store {where!r} has none of the schemes {', '.join(SCHEMES)}: use one, or a folder")
        try:
            from recblr.runtime.users.stores.redis import RedisStore
        except ImportError as error:
            raise MissingExtraError(f"redis-py cannot be imported ({error}): pip install 'recblr[redis]'") from error
        return RedisStore(where, max_history)
    if not isinstance(where, str | PathLike):
        raise ConfigError(f"store is {where!r:.60}: give a folder, a redis:// address, or None")
    from recblr.runtime.users.stores.sqlite import SQLiteStore

    return SQLiteStore(Path(where), max_history)
