"""Histories in one SQLite file, shared by any number of processes on one machine."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from recblr.errors import ConfigError, StoreError, short_reason
from recblr.runtime.fork_guard import ForkGuard
from recblr.runtime.users.stores.base import (
    Append,
    Event,
    UserId,
    check_max_history,
    cut,
    id_text,
    items_from_text,
    items_text,
    new_stamp,
)

FILE = "histories.sqlite3"
_APPLICATION_ID = 0x52424C52  # "RBLR"
_FORMAT_VERSION = 1
_WAIT_S = 30.0  # for other processes' transactions, each of which takes milliseconds

# `total` counts a user's items up to and with this event, trimmed ones included.
_SCHEMA = (
    """CREATE TABLE events (
        user TEXT NOT NULL, seq INTEGER NOT NULL, stamp INTEGER NOT NULL, total INTEGER NOT NULL,
        event_id TEXT, items TEXT NOT NULL, PRIMARY KEY (user, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE UNIQUE INDEX event_ids ON events (user, event_id) WHERE event_id IS NOT NULL",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT_VERSION}",
)
_LAST = "SELECT seq, total FROM events WHERE user = ? ORDER BY seq DESC LIMIT 1"
_KNOWN = "SELECT 1 FROM events WHERE user = ? AND event_id = ?"
_INSERT = "INSERT INTO events (user, seq, stamp, total, event_id, items) VALUES (?, ?, ?, ?, ?, ?)"
_FIRST_KEPT = "SELECT seq FROM events WHERE user = ? AND total > ? ORDER BY seq LIMIT 1"
_TRIM = "DELETE FROM events WHERE user = ? AND seq < ?"
_READ = "SELECT seq, stamp, items FROM events WHERE user = ? AND seq >= ? ORDER BY seq"
_FORGET = "DELETE FROM events WHERE user = ?"


class SQLiteStore:
    """A `Store` in an SQLite file. An acknowledged event survives the end of the process, `kill -9` included.

    With synchronous "FULL" it survives power loss, too, as far as the disk keeps what it says it wrote. With "NORMAL"
    an append does not wait for the disk, and power loss may take the latest events, but never the file.
    """

    def __init__(
        self,
        folder: Path,
        max_history: int | None = None,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        """Open a folder's store, and make what is missing.

        Args:
            folder: holds `histories.sqlite3` and its companions; on a local disk, since SQLite's write-ahead log
                does not work over a network.
            max_history: how many of a user's latest items to keep; None for all.
            synchronous: what an append waits for.

        Raises:
            ConfigError: `max_history` or `synchronous` is no such value.
            StoreError: it cannot be opened, or the file is something else.
        """
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigError(f'synchronous is {synchronous!r}: give "FULL" or "NORMAL"')
        self.max_history = check_max_history(max_history)
        self.path = folder / FILE
        self._synchronous = synchronous
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._lock = threading.Lock()  # of the two above
        self._writing = threading.Lock()  # queues this process's writers, which SQLite would let sleep and retry
        self._fork_guard = ForkGuard("store")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder} cannot be made: {error.strerror}; choose another folder") from error
        with self._connection("it was not opened") as connection:
            self._create(connection)

    def append(self, appends: Sequence[Append]) -> list[bool]:
        """Store events in one transaction."""
        with self._transaction("nothing was stored") as connection:
            return [self._append(connection, append) for append in appends]

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        """Read the users' events."""
        with self._connection("nothing was read") as connection:
            return [
                [
                    Event(seq, stamp, items_from_text(items))
                    for seq, stamp, items in connection.execute(_READ, (id_text(user), first))
                ]
                for user, first in zip(users, since, strict=True)
            ]

    def forget(self, user: UserId) -> bool:
        """Remove all of a user; nothing stays in the files, but for what a reader at this moment still needs."""
        with self._transaction("nothing was forgotten") as connection:
            found = connection.execute(_FORGET, (id_text(user),)).rowcount > 0
        with self._connection("forgotten, but its trace is still in the write-ahead log") as connection:
            # Deleted rows are overwritten with zeros, but the log holds old pages until it is emptied.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return found

    def close(self) -> None:
        """Close the idle connections; calls under way in other threads still finish."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _append(self, connection: sqlite3.Connection, append: Append) -> bool:
        user = id_text(append.user)
        event_id = None if append.event_id is None else id_text(append.event_id)
        if event_id is not None and connection.execute(_KNOWN, (user, event_id)).fetchone():
            return False
        seq, total = connection.execute(_LAST, (user,)).fetchone() or (0, 0)
        items = cut(append.items, self.max_history)
        total += len(items)
        connection.execute(_INSERT, (user, seq + 1, new_stamp(), total, event_id, items_text(items)))
        if self.max_history is not None:
            (first_kept,) = connection.execute(_FIRST_KEPT, (user, total - self.max_history)).fetchone()
            connection.execute(_TRIM, (user, first_kept))
        return True

    @contextmanager
    def _transaction(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that may write; committed at the end, rolled back on any error."""
        with self._writing, self._connection(consequence) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite ends it by itself on some errors
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses; `consequence` of a failure is for the message."""
        self._fork_guard.check()
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.path} is closed: open it again")
            connection = self._idle.pop() if self._idle else None
        try:
            connection = connection or self._connect()
            yield connection
        except (sqlite3.Error, ValueError) as error:
            if connection is not None:
                connection.close()
                connection = None
            raise self._store_error(error, consequence) from error
        finally:
            if connection is not None:
                with self._lock:
                    keep = not self._closed
                    if keep:
                        self._idle.append(connection)
                if not keep:
                    connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        self._use_write_ahead_log(connection)
        connection.execute("BEGIN IMMEDIATE")  # of several processes, one makes the tables
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application_id, version, n_tables) == (0, 0, 0):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
            return
        connection.execute("ROLLBACK")
        if application_id != _APPLICATION_ID:
            raise StoreError(f"{self.path} is another program's database: choose another folder")
        if version != _FORMAT_VERSION:
            raise StoreError(
                f"{self.path} has format version {version}, this recblr uses {_FORMAT_VERSION}: upgrade recblr, "
                "or choose another folder"
            )

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:  # this one statement does not wait for others by itself
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _store_error(self, error: Exception, consequence: str) -> StoreError:
        advice = {
            sqlite3.SQLITE_FULL: "free some space on its disk",
            sqlite3.SQLITE_IOERR: "free some space on its disk, or check it",
            sqlite3.SQLITE_READONLY: "make the folder writable",
            sqlite3.SQLITE_CANTOPEN: "check that the folder exists and is writable",
            sqlite3.SQLITE_BUSY: "another process holds it; end that, or try again",
            sqlite3.SQLITE_CORRUPT: "restore it from a backup",
            sqlite3.SQLITE_NOTADB: "choose another folder, or restore it from a backup",
        }.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "check the file and its disk")
        return StoreError(f"{self.path}: {short_reason(error)}; {consequence}; {advice}")
