"""Where the tools start: Ctrl-C ends them without a word from here on, while they are still imported.

So it imports next to nothing itself.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from types import FrameType

INTERRUPTED = 130  # what a shell says of a process that Ctrl-C ended

MODULES = {
    "recblr-train": "recblr.cli.train",
    "recblr-evaluate": "recblr.cli.evaluate",
    "recblr-export": "recblr.export.cli",
    "recblr-recommend": "recblr.runtime.cli.recommend",
    "recblr-bench": "recblr.runtime.cli.bench",
}
"""Where the tools' click commands are, each as `main`."""


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing is written yet, and code in C may make another error of an exception."""
    os._exit(INTERRUPTED)


def _start(tool: str) -> None:
    """Import a tool's module and call its `main`."""
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, _leave)
    main = import_module(MODULES[tool]).main
    if listens:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    finally:
        if listens:  # all is done but for Python's own end
            signal.signal(signal.SIGINT, _leave)


def train() -> None:
    """recblr-train."""
    _start("recblr-train")


def evaluate() -> None:
    """recblr-evaluate."""
    _start("recblr-evaluate")


def export() -> None:
    """recblr-export."""
    _start("recblr-export")


def recommend() -> None:
    """recblr-recommend."""
    _start("recblr-recommend")


def bench() -> None:
    """recblr-bench."""
    _start("recblr-bench")
