"""How much memory there is, and refusing in time what would take more."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from recblr.errors import ConfigError

_GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def usable_memory() -> int:
    """Bytes that this process may come to: the machine's memory, or less where a container or a ulimit sets a bound."""
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        bounds.append(soft)
    for path in _GROUP_LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal():  # "max": no bound
            bounds.append(int(text))
    return min(bounds)


def require_memory(size: int, what: str, advice: str) -> None:
    """Refuse what cannot be allocated, before anything is.

    Args:
        size: bytes that are needed.
        what: needs them, for the message.
        advice: how to need fewer.

    Raises:
        ConfigError: this process may not have so many.
    """
    usable = usable_memory()
    if size > usable:
        raise ConfigError(f"{what} takes {_gib(size)}, and there are {_gib(usable)} of memory here: {advice}")


def _gib(size: int) -> str:
    tenths = size * 10 // 2**30  # in whole numbers: a size may be beyond the largest float
    if tenths >= 10**15:
        return f"10^{len(str(tenths)) - 2} GiB or more"
    return f"{tenths / 10:,.1f} GiB"
