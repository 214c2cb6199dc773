"""Standard streams that take whatever is printed."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO


def prepare_streams() -> None:
    """Make the streams safe: characters that their encoding lacks are escaped, and closed ones are replaced.

    A file opened where a standard stream is closed would get its number, and whatever is printed by code in C.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the process's life
            setattr(sys, name, null)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def abandon_output(stream: TextIO) -> None:
    """Throw away what a stream that cannot be written still holds, so that Python does not try again at its end."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # no file of the system's
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
