"""The number of threads of a run on the CPU."""

from __future__ import annotations

from recblr.runtime import _core
from recblr.runtime.arguments import check_whole


def check_threads(threads: int | None) -> int:
    """Threads of one run; None is one per CPU that this process may use.

    Raises:
        ConfigError: no whole number of at least 1, or more than the library takes.
    """
    if threads is None:
        return _core.usable_cpus()
    return check_whole(threads, "threads", "a whole number of at least 1", least=1, most=_core.MAX_THREADS)


def on_cpu(threads: int) -> str:
    """Where a run takes place, in words for people."""
    return "the CPU, 1 thread" if threads == 1 else f"the CPU, {threads} threads"
