"""Opens a store of histories by its name."""

from __future__ import annotations

import os
from os import PathLike
from typing import Literal

from recblr.errors import ConfigError, shown
from recblr.runtime import _core
from recblr.runtime.users.stores.base import Store, check_max_history
from recblr.runtime.users.stores.core import CoreStore


def open_store(
    where: str | PathLike[str] | None,
    max_history: int | None = None,
    *,
    synchronous: Literal["FULL", "NORMAL"] = "FULL",
    prefix: str = "recblr",
) -> CoreStore:
    """Open the store of histories that `where` names.

    Args:
        where: None for this process's memory; a folder on a local disk, made if need be, for SQLite; or the address of
            a Redis or Valkey server: redis://HOST:PORT/DB, rediss://... for TLS, unix://SOCKET, the same with valkey,
            or sentinel://HOST:PORT,HOST:PORT/SERVICE for the server that leads a service. USER:PASSWORD@ may come
            before the host. No message holds the password.
        max_history: how many of a user's latest items to keep; None for all.
        synchronous: what an append to SQLite waits for. With "NORMAL" that is not the disk, and power loss may take
            the latest events, but never the file.
        prefix: of all keys in Redis; stores with different ones do not see each other.

    Raises:
        ConfigError: an argument is none of these, or this build has no such store.
        StoreError: the store cannot be opened, or the server drops keys when it is full.
    """
    checked = check_max_history(max_history)
    if where is not None and not isinstance(where, str | PathLike):
        raise ConfigError(f"store is {shown(where)}: give a folder, a redis:// address, or None")
    for key, value in (("synchronous", synchronous), ("prefix", prefix)):
        if not isinstance(value, str):
            raise ConfigError(f"{key} is {shown(value)}: give a text")
    name = b"" if where is None else os.fsencode(os.fspath(where) or ".")
    return CoreStore(_core.Store(name, checked or 0, synchronous, prefix), checked)


def core_store(store: Store) -> _core.Store:
    """Any store as the C++ library takes it: its own, or one written in Python, which it then calls.

    Raises:
        ConfigError: it lacks something that a `Store` has.
    """
    if isinstance(store, CoreStore):
        return store.core
    for name in ("max_history", "append", "read", "forget", "close"):
        if not hasattr(store, name):
            raise ConfigError(
                f"store is {shown(store)}, which has no {name}: give a folder, a redis:// address, None, or an object "
                "with all that recblr.runtime.Store has"
            )
    return _core.Store.of(store, check_max_history(store.max_history) or 0)
