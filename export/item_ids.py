"""Files of item ids, for models that come without a vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

from recblr.errors import ConfigError
from recblr.item_ids import CANONICAL_INTEGER


def read_item_ids(path: Path) -> list[int] | list[str]:
    """Read the user's ids of embedding rows 1, 2, ...

    Args:
        path: a JSON list, or text with one id per line. Lines are integers where all of them are written as such
            (`7`, not `007` or `7.0`), and strings otherwise.

    Raises:
        ConfigError: unreadable, empty, or a JSON list of anything but integers, or anything but strings.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: give a JSON list, or text with one id per line") from error
    if not text:
        raise ConfigError(f"{path} is empty: give one item id per embedding row, from row 1 on")
    return _from_json(path, text) if text.lstrip().startswith("[") else _from_lines(path, text)


def _from_json(path: Path, text: str) -> list[int] | list[str]:
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}): give one list of ids") from error
    if len({type(item_id) for item_id in ids}) != 1 or type(ids[0]) not in (int, str):
        raise ConfigError(f"{path} is not a list of integers or a list of strings: give ids of one type")
    checked: list[int] | list[str] = ids
    return checked


def _from_lines(path: Path, text: str) -> list[int] | list[str]:
    lines = [line.strip() for line in text.split("\n")]
    if "" in lines:
        raise ConfigError(f"{path}: line {lines.index('') + 1} is empty: give one item id per line")
    return [int(line) for line in lines] if all(map(CANONICAL_INTEGER.fullmatch, lines)) else lines
