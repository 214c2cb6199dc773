"""What recblr-export does, once its options are read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recblr.cli.options import model_data_settings, print_notes
from recblr.errors import ConfigError
from recblr.export.report import summary
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.export.triton.native import write_native_repository
from recblr.export.triton.plan import triton_plan_builder, triton_profile
from recblr.export.triton.repository import check_directory, write_repository
from recblr.files import check_not_input

if TYPE_CHECKING:
    from recblr.checkpoint import Checkpoint
    from recblr.data import Targets


class ExportRun:
    """One run of recblr-export.

    Making one imports no PyTorch, which takes seconds: what is wrong with the options or with TensorRT is said at once.

    Args:
        checkpoint: the model's file.
        output: the bundle to write.
        max_k: the most results per row.
        history_length: of a model of the authors' implementation.
        item_ids: file of the ids of embedding rows 1, 2, ...; None where the model has them.
        triton_repository: model repository to write; None for none.
        native: it is for recblr's own backend, and not for that of ONNX Runtime or TensorRT.
        plan: what the bundle's TensorRT plan is built for; None for a bundle without one.
        evaluation_data: files of interactions on which fp16 or bf16 is compared with fp32: paths, folders, globs or
            URIs.
        data_options: how to read them, as `recblr.cli.options.data_options` gives it.

    Raises:
        ConfigError: options that do not go together.
        DataError: no evaluation data are where they should be.
        OutputError: an output is or holds evaluation data or the timing cache, or is a folder with something else.
        MissingExtraError, ExportError, BundleError: as `PlanBuilder`.
    """

    def __init__(
        self,
        checkpoint: Path,
        output: Path,
        max_k: int,
        history_length: int | None = None,
        item_ids: Path | None = None,
        triton_repository: Path | None = None,
        native: bool = False,
        plan: PlanSettings | None = None,
        evaluation_data: Sequence[str] = (),
        data_options: dict[str, Any] | None = None,
    ) -> None:
        self._checkpoint, self._output, self._max_k = checkpoint, output, max_k
        self._history_length, self._item_ids = history_length, item_ids
        self._triton_repository, self._native = triton_repository, native
        self._evaluation_data, self._data_options = evaluation_data, data_options or {}
        if triton_repository is not None:
            _check_triton(plan, output, triton_repository)
        if evaluation_data and (plan is None or plan.precision == "fp32"):
            raise ConfigError("evaluation-data is for --precision fp16 and bf16, as fp32 costs nothing: leave it out")
        self._check_outputs(None if plan is None else plan.timing_cache)
        self._plan_builder = None if plan is None else PlanBuilder(plan, show_progress=True)

    def _check_outputs(self, timing_cache: Path | None) -> None:
        """Check that the evaluation data and the timing cache, which is read, too, are not written over.

        `recblr.cli.common.Command` does so for the other inputs.
        """
        inputs: list[Path] = []
        if self._evaluation_data:
            from recblr.data.sources import local_files

            inputs += local_files(self._evaluation_data)
        if timing_cache is not None:
            check_not_input(timing_cache, inputs)
            inputs.append(timing_cache)
        for folder in (self._output, self._triton_repository):
            if folder is not None:
                check_not_input(folder, inputs)

    def execute(self) -> None:
        """Write the bundle and the model repository, and print a summary.

        Raises:
            RecblrError: model, data or plan that do not do; what was there before stays as it was.
        """
        start = time.perf_counter()
        from recblr.checkpoint import load_checkpoint
        from recblr.export.bundle import export_bundle
        from recblr.export.item_ids import read_item_ids

        ids = None if self._item_ids is None else read_item_ids(self._item_ids)
        model = load_checkpoint(self._checkpoint, history_length=self._history_length, item_ids=ids)
        targets = self._targets(model) if self._evaluation_data else None
        manifest = export_bundle(model, self._output, self._max_k, self._plan_builder, targets)
        if self._triton_repository is not None:
            self._write_repository(self._triton_repository)
            click.echo(f"{self._triton_repository}: model repository for Triton; its README.md says how to serve it")
        click.echo(summary(self._output, manifest, time.perf_counter() - start))
        if ids is None and "imported" in model.training:
            n_items = model.vocabulary.n_items
            click.echo(f"{self._checkpoint} has no item ids: its items are 1 to {n_items:,}; --item-ids names yours")

    def _write_repository(self, directory: Path) -> None:
        if self._native:
            write_native_repository(self._output, directory)
            return
        build_plan = None if self._plan_builder is None else triton_plan_builder(self._plan_builder)
        write_repository(self._output, directory, build_plan)

    def _targets(self, model: Checkpoint) -> Targets:
        """The test part of the evaluation data, in the model's indices."""
        from recblr.evaluation import translate_targets
        from recblr.preparation import DataSettings, prepare

        trained = model.data.get("settings", DataSettings().to_dict())
        settings = DataSettings.from_dict(model_data_settings(trained, self._data_options))
        prepared = prepare(self._evaluation_data, settings)
        print_notes(prepared.report.notes)
        return translate_targets(prepared.split.test, prepared.interactions, model.vocabulary)


def _check_triton(plan: PlanSettings | None, output: Path, triton_repository: Path) -> None:
    if plan is not None and plan.target == "tensorrt-rtx":
        raise ConfigError(
            "--triton-repository is for --target native, onnx or tensorrt: Triton's TensorRT backend does not open "
            "engines of TensorRT-RTX; choose one of those, or leave it out"
        )
    paths = output.resolve(), triton_repository.resolve()
    if paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0]):
        raise ConfigError(
            f"--triton-repository is {triton_repository} and --output {output}: give folders of which neither lies in "
            "the other, as each is replaced as a whole"
        )
    if plan is not None:
        triton_profile(plan)  # raises where Triton could not batch for it
    check_directory(triton_repository)
