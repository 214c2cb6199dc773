"""Ctrl-C that waits until what must not be cut short is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let a SIGINT take effect at the end of the block, not within it. Blocks may lie in one another.

    Code in C may make another error of one that it meets: saving a file, for example. Other threads than the main one
    get no signals; there, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        arrived = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        signal.raise_signal(signal.SIGINT)  # for the handler of before
