"""Types of the tools' options: a value that no tool could use is refused where it enters."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import click

from recblr.errors import ConfigError

LARGEST_COUNT = 2**31 - 1  # the kernels count in int32
_LONGEST_NAME = 200  # of a file to write, for the system has 255 at most, and names beside it are longer
SECONDS_IN_A_DAY = 86_400.0


class Count(click.IntRange):
    """A whole number of at least `minimum`, and no larger than the kernels count."""

    def __init__(self, minimum: int = 1) -> None:
        super().__init__(minimum)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Called by click."""
        number: int = super().convert(value, param, ctx)
        if number > LARGEST_COUNT:
            self.fail(f"{number} is too large: give at most {LARGEST_COUNT}.", param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number in a range, which has a lower bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Called by click."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):  # nan is outside no range
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class FilePath(click.Path):
    """A path that can be one, and names a file or a folder if anything: to read a pipe may wait for ever.

    Args:
        writes: the tool writes it. `recblr.cli.common.Command` sees to it that it is no other path of the tool's.
    """

    def __init__(self, *, writes: bool = False) -> None:
        super().__init__(path_type=Path)
        self.writes = writes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Called by click.

        Raises:
            ConfigError: no path, or one of a device, a pipe or a socket.
        """
        text = os.fspath(value)
        shown = text if len(text) <= 160 else f"{text[:157]}..."
        option = "the path" if param is None else param.opts[-1]
        if not text:
            raise ConfigError(f"{option} is empty: give a path")
        if self.writes and len(Path(text).name.encode(errors="surrogatepass")) > _LONGEST_NAME:
            raise ConfigError(f"{option} is {shown}: give a name of at most {_LONGEST_NAME} bytes")
        try:
            mode = Path(text).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return Path(text)  # the tool says what should be there
        except (OSError, ValueError) as error:  # too long, not allowed; characters that no name can have
            reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
            raise ConfigError(f"{option} is {shown}: {reason}; check the path") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ConfigError(f"{option} is {shown}, a device, pipe or socket: name a file")
        return Path(text)


SEED = click.IntRange(0, 2**64 - 1)  # what PyTorch takes; NumPy takes any
MOST_THREADS = 1024
THREADS = click.IntRange(1, MOST_THREADS)  # each takes memory, and the system has a bound, too
NOT_NEGATIVE = Number(min=0)
POSITIVE = Number(min=0, min_open=True)
SHARE = Number(min=0, max=1)
PROBABILITY = Number(min=0, max=1, max_open=True)
