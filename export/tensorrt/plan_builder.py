"""TensorRT, checked to be installed before anything slow begins, and plans built with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from recblr.errors import ExportError
from recblr.export.tensorrt.settings import PlanSettings, compute_capability_kinds
from recblr.plugins import LIBRARY_NAME, PluginLibraryError, find_library
from recblr.runtime.bundle.plan_section import Profile
from recblr.runtime.gpu.trt_module import load_tensorrt, title

if TYPE_CHECKING:
    import onnx

    from recblr.export.tensorrt.build import BuiltPlan


class PlanBuilder:
    """Builds TensorRT plans.

    Attributes:
        settings: what the plans are built for.
        library: the plugin library's file.
    """

    def __init__(self, settings: PlanSettings, show_progress: bool = False) -> None:
        """Load TensorRT and its plugins, but not PyTorch.

        Args:
            settings: what the plans are built for.
            show_progress: show on the terminal how far each build is.

        Raises:
            MissingExtraError: TensorRT is missing, or of a version that recblr does not know.
            ExportError: the plugin library is missing.
            BundleError: TensorRT refuses the plugin library.
            ConfigError: compute capabilities that TensorRT-RTX does not build for, or the process already uses the
                other target.
        """
        trt = load_tensorrt(settings.target)
        from recblr.runtime.gpu.trt_plugins import MessageLog, register_plugins

        try:
            library = find_library()
        except PluginLibraryError as error:
            raise ExportError(str(error)) from error
        if library is None:
            raise ExportError(
                f"{title(settings.target)} needs the plugin library {LIBRARY_NAME}, which is not installed: install a "
                "C++ compiler and reinstall recblr, or name a built one in RECBLR_PLUGINS_LIBRARY"
            )
        register_plugins(library, MessageLog())
        compute_capability_kinds(trt, settings.compute_capabilities)
        self.settings = settings
        self.library = library
        self._show_progress = show_progress

    def build(
        self, model: onnx.ModelProto, model_path: Path, profile: Profile | None = None, embed_plugin: bool = False
    ) -> BuiltPlan:
        """Build the plan of a graph.

        Args:
            model: the fp32 graph of a bundle, or its variant for Triton.
            model_path: the bundle's ONNX file. The embedding of a large model is in another file of its folder.
            profile: sizes that the plan takes; None for those of the settings.
            embed_plugin: put the plugin library into the plan, even if the settings do not say so.

        Raises:
            ConfigError, ExportError, OutputError: as `recblr.export.tensorrt.build.build_plan`.
        """
        from recblr.export.tensorrt.build import build_plan

        settings = dataclasses.replace(self.settings, embed_plugin=True) if embed_plugin else self.settings
        if not self._show_progress:
            return build_plan(model, settings, self.library, profile=profile, model_path=model_path)
        with build_progress() as progress:
            return build_plan(model, settings, self.library, progress, profile, model_path)


@contextmanager
def build_progress() -> Iterator[Callable[[str, str, int, int], None]]:
    """Show the phases of a build on stderr until it ends; nothing where stderr is no terminal.

    Returns:
        The function that `recblr.export.tensorrt.build.build_plan` takes as `progress`.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Where it may not draw, it would still end with an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}
        depths: dict[str, int] = {}

        def update(phase: str, parent: str, steps: int, done: int) -> None:
            depths[phase] = depths.get(parent, -1) + 1
            if phase not in tasks:
                tasks[phase] = progress.add_task("  " * depths[phase] + phase, total=steps)
            progress.update(tasks[phase], completed=done)
            if done >= steps:
                progress.remove_task(tasks.pop(phase))

        yield update
