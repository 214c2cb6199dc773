"""Arguments as callers give them: flags, whole numbers and seconds. Errors name the value."""

from __future__ import annotations

import math
import operator
from typing import Any

from recblr.errors import ConfigError, RecblrError, RequestError, shown


def check_flag(value: Any, name: str, error: type[RecblrError] = RequestError) -> bool:
    """`value`, where it is True or False, Python's or NumPy's.

    Raises:
        RecblrError: it is neither; of the class `error`.
    """
    if value is True or value is False:
        return bool(value)
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise error(f"{name} is {shown(value)}: give True or False")


def check_whole(
    value: Any,
    name: str,
    advice: str,
    *,
    least: int = 0,
    most: int | None = None,
    error: type[RecblrError] = ConfigError,
) -> int:
    """`value` as a Python int, where it is a whole number from `least` to `most`; `advice` says what to give instead.

    Raises:
        RecblrError: it is none; of the class `error`.
    """
    try:
        number = operator.index(value)
    except TypeError as reason:
        raise error(f"{name} is {shown(value)}: give {advice}") from reason
    if isinstance(value, bool) or number < least:
        raise error(f"{name} is {shown(value)}: give {advice}")
    if most is not None and number > most:
        raise error(f"{name} is {shown(value)}: give at most {most:,}")
    return number


def check_seconds(value: Any, name: str, advice: str, *, zero: bool = False) -> float:
    """`value` as a float, where it is a finite number above 0, or 0 with `zero`; `advice` says what to give instead.

    Raises:
        ConfigError: it is none.
    """
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf or (number == 0 and not zero):
        raise ConfigError(f"{name} is {shown(value)}: give {advice}")
    return number
