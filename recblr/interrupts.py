"""Ctrl-C that waits until what must not be cut short is done, and that is known of whatever becomes of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Interrupts:
    """Whether a SIGINT arrived."""

    arrived: bool = False


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Raise a KeyboardInterrupt of each SIGINT, as Python does, and note that it arrived.

    Where SIGINT is ignored, or handled in another way, and in other threads than the main one, nothing changes.
    """
    noted = Interrupts()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.arrived = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
