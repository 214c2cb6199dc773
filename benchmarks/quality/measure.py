"""Time and memory, for the benchmarks that compare models."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

Command = TypeVar("Command", bound=Callable[..., Any])

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def check_clock(clock: str, threads: int, device: str) -> None:
    """The CPU's clock ticks for each thread: it tells a time only of one.

    Raises:
        click.UsageError: there are more, or a GPU works.
    """
    if clock == "cpu" and (threads != 1 or device != "cpu"):
        raise click.UsageError(
            f"--clock cpu tells the time of one thread, not of {threads} on {device}: add --threads 1 --device cpu, "
            "or use --clock wall"
        )


def clock_option(command: Command) -> Command:
    """`--clock`, for a command that takes it as `clock`."""
    return click.option(
        "--clock",
        type=click.Choice(list(CLOCKS)),
        default="wall",
        show_default=True,
        help="cpu: of this process, for a machine that does other work, too; with one thread.",
    )(command)


def default_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name(device: str) -> str:
    """What computes, as its maker calls it; a CPU's name is in `machine_info`."""
    return torch.cuda.get_device_name(device) if device == "cuda" else "cpu"


def milliseconds(function: Callable[[], object], device: str, clock: str = "wall") -> float:
    """Of one call, with what it leaves to do on a GPU, by one of `CLOCKS`."""
    now = CLOCKS[clock]
    _finish(device)
    started = now()
    function()
    _finish(device)
    return (now() - started) * 1e3


def interleaved(
    functions: dict[str, Callable[[], object]], repeats: int, device: str, clock: str = "wall", warm_up: int = 2
) -> dict[str, dict[str, float]]:
    """Milliseconds of each function, called in turn so that the machine's drift meets all alike.

    Returns:
        {name: {"median": ..., "min": ...}}.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(warm_up + repeats):
        for name, function in functions.items():
            elapsed = milliseconds(function, device, clock)
            if repeat >= warm_up:
                times[name].append(elapsed)
    return {name: {"median": statistics.median(values), "min": min(values)} for name, values in times.items()}


def memory_in_use(device: str) -> int:
    """Bytes: of a GPU's tensors, or this process's resident set."""
    return torch.cuda.memory_allocated() if device == "cuda" else _status_bytes("VmRSS")


def peak_memory(device: str) -> int:
    """Bytes, the most since the process began: of a GPU's tensors, or this process's resident set."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    # Not getrusage: the peak that it tells includes that of the process from which this one was started.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) * 1024


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
