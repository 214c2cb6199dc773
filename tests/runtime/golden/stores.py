"""Stores of histories as files: a SQLite file, and the keys of a Redis server."""

from __future__ import annotations

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


def fill_redis(client: Any) -> None:
    """Empty a Redis server, and give it the keys of the golden one."""
    client.flushall()
    for key, (kind, values) in read_data(_REDIS.name).items():
        add = client.rpush if kind == "list" else client.sadd
        add(key.encode(), *(value.encode() for value in values))
