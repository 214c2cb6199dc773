"""Files of item ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from recblr.errors import ConfigError
from recblr.export.item_ids import read_item_ids


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[3, 1, -2]", [3, 1, -2]),
        ('\n["a", "7"]', ["a", "7"]),
        ("12\n0\n-5\n", [12, 0, -5]),
        ("12\r\n7\r\n", [12, 7]),
        ("12\n007\n", ["12", "007"]),
        ("1.5\n2\n", ["1.5", "2"]),
        ("\ufeffB00 7\nÄ\n", ["B00 7", "Ä"]),
        ("-0\n", ["-0"]),
    ],
)
def test_ids(tmp_path: Path, content: str, expected: list[int] | list[str]) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content.encode())
    assert read_item_ids(path) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"[1, 2", "is not valid JSON"),
        (b"[]", "give ids of one type"),
        (b'[1, "a"]', "give ids of one type"),
        (b"[true, false]", "give ids of one type"),
        (b"[1.5]", "give ids of one type"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_no_ids(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_item_ids(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere cannot be read: No such file or directory"):
        read_item_ids(tmp_path / "nowhere")
