"""Which instruction set of the CPU answers, as `RECBLR_CPU_ISA` names them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")

_FLAGS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq"}}


def instruction_set_in_effect() -> str | None:
    """The best that this machine has and the environment variable allows; None where it is not known."""
    cpus = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpus.is_file():
        return None
    flags = set(next(line for line in cpus.read_text().splitlines() if line.startswith("flags")).split())
    allowed = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(os.environ.get("RECBLR_CPU_ISA", "avx512")) + 1]
    return max((isa for isa in allowed if _FLAGS.get(isa, set()) <= flags), key=INSTRUCTION_SETS.index)
