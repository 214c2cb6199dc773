"""Stores of histories as files: a SQLite file, and the keys of a Redis server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .models import DATA, read_data

_SQLITE = DATA / "histories.sqlite3"
_REDIS = DATA / "redis.json"


def copy_sqlite(folder: Path) -> str:
    """Put the golden SQLite store into a folder; what `open_store` takes."""
    shutil.copy(_SQLITE, folder)
    return str(folder)


def keep_sqlite(folder: Path) -> None:
    """Make a folder's closed SQLite store the golden one."""
    (file,) = folder.iterdir()  # closed, it has no companions
    shutil.copy(file, _SQLITE)


def fill_redis(client: Any) -> None:
    """Empty a Redis server, and give it the keys of the golden one."""
    client.flushall()
    for key, (kind, values) in read_data(_REDIS.name).items():
        add = client.rpush if kind == "list" else client.sadd
        add(key.encode(), *(value.encode() for value in values))


def keep_redis(client: Any) -> None:
    """Write a Redis server's keys and their values, all of which are UTF-8: {key: [type, values]}."""
    keys: dict[str, Any] = {}
    for key in sorted(client.keys()):
        if client.type(key) == b"list":
            keys[key.decode()] = ["list", [value.decode() for value in client.lrange(key, 0, -1)]]
        else:
            keys[key.decode()] = ["set", sorted(value.decode() for value in client.smembers(key))]
    _REDIS.write_text(json.dumps(keys, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
