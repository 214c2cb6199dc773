"""The CPUs of this process."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(usable_cpu_numbers())


def usable_cpu_numbers() -> list[int]:
    """Which CPUs this process may use; counted from 0 where the system does not tell."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return list(range(os.cpu_count() or 1))
