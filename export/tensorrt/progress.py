"""How far TensorRT is, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def engine_progress() -> Iterator[Callable[[str, str, int, int], None]]:
    """A display on stderr of the build's phases; gives the function that `build_engine` tells them to.

    It is gone when the build ends, and shows nothing where stderr is no terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Where it may not draw, it would still end with an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}
        depths: dict[str, int] = {}

        def tell(phase: str, parent: str, steps: int, done: int) -> None:
            depths[phase] = depths.get(parent, -1) + 1
            if phase not in tasks:
                tasks[phase] = progress.add_task("  " * depths[phase] + phase, total=steps)
            progress.update(tasks[phase], completed=done)
            if done >= steps:
                progress.remove_task(tasks.pop(phase))

        yield tell
