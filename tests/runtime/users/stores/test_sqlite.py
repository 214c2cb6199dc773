"""SQLite in trouble: killed writers, a full disk, other files, forks."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from recblr.errors import ConfigError, ForkError, StoreError
from recblr.runtime import Append, open_store

FILE = "histories.sqlite3"

WRITER = """
import sys
from recblr.runtime import Append, open_store
store = open_store(sys.argv[1], synchronous=sys.argv[2])
for j in range(10**9):
    store.append([Append("u", [j], j)])
    print(j, flush=True)
"""


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_acknowledged_events_survive_kill_9(tmp_path: Path, synchronous: str) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), synchronous]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(50):
            writer.stdout.readline()
        writer.kill()
        rest = writer.stdout.read().splitlines()
    acknowledged = 50 + len([line for line in rest if line])
    store = open_store(tmp_path)
    (events,) = store.read(["u"], [0])
    assert [event.items for event in events] == [[j] for j in range(len(events))]
    assert acknowledged <= len(events) <= acknowledged + 1
    assert store.append([Append("u", [0], 0), Append("u", [-1], -1)]) == [False, True]
    store.close()


FILLER = """
import resource, signal, sys
from pathlib import Path
from recblr.errors import StoreError
from recblr.runtime import Append, open_store
store = open_store(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))
j = 0
try:
    while True:
        store.append([Append("u", ["x" * 1000, j])])
        j += 1
except StoreError as error:
    print(j, error, flush=True)
print(len(store.read(["u"], [0])[0]))
"""


def test_a_full_disk_says_so_and_leaves_what_was_stored_readable(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    message, read_while_full = done.stdout.splitlines()
    stored = int(message.split()[0])
    assert stored > 10
    assert re.search(f"{FILE}: .*; nothing was stored; free some space", message)
    assert int(read_while_full) == stored
    store = open_store(tmp_path)
    assert [event.items[1] for event in store.read(["u"], [0])[0]] == list(range(stored))
    assert store.append([Append("u", [1])]) == [True]  # there is space again
    store.close()


def test_forgotten_users_are_not_in_the_files(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.append([Append("somebody in particular", [j, "an unusual item"], f"the event {j}") for j in range(300)])
    store.append([Append("another", [1])])

    def content() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert b"somebody in particular" in content()
    assert store.forget("somebody in particular")
    for trace in (b"somebody in particular", b"an unusual item", b"the event"):
        assert trace not in content()
    assert b"another" in content()
    store.close()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program's database: choose another folder"):
        open_store(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database at all " * 100)
    with pytest.raises(StoreError, match="file is not a database; it was not opened; choose another folder"):
        open_store(tmp_path)


def test_another_format_version(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match="format version 2, this recblr uses 1: upgrade recblr"):
        open_store(tmp_path)


def test_synchronous_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='synchronous is \'OFF\': give "FULL" or "NORMAL"'):
        open_store(tmp_path, synchronous="OFF")  # type: ignore[arg-type]


def test_a_fork_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            store.append([Append("u", [1])])
        except ForkError as error:
            os._exit(7 if "make the store after the fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.read(["u"], [0]) == [[]]
    store.close()
