"""The number of threads of a run on the CPU."""

from __future__ import annotations

from recblr.errors import ConfigError, shown
from recblr.runtime import _core

_MOST = 1024  # as the core has it


def check_threads(threads: int | None) -> int:
    """Threads of one run; None is one per CPU that this process may use.

    Raises:
        ConfigError: no whole number of at least 1, or more than 1,024.
    """
    if threads is None:
        return _core.usable_cpus()
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads is {threads!r}: give a whole number of at least 1")
    if threads > _MOST:
        raise ConfigError(f"threads is {shown(threads)}: give a whole number of at most {_MOST}")
    return threads


def on_cpu(threads: int) -> str:
    """Where a run takes place, in words for people."""
    return "the CPU, 1 thread" if threads == 1 else f"the CPU, {threads} threads"
