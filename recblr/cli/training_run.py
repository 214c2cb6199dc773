"""What recblr-train does, once its options are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from recblr.checkpoint import Checkpoint
from recblr.cli.options import print_notes
from recblr.cli.tables import metrics_table, repeats_warning
from recblr.config import RecBLRConfig
from recblr.data import DataIdentity, Summary, summary_table
from recblr.data.sources import local_files
from recblr.distributed import Processes
from recblr.errors import ConfigError, RecblrError
from recblr.evaluation import evaluate
from recblr.files import check_not_input, check_writable
from recblr.memory import require_memory
from recblr.model import RecBLR
from recblr.preparation import DataSettings, PreparedData, prepare
from recblr.run_data import RunData
from recblr.saved_run import SavedRun, load_run
from recblr.trainer import SELECTION_METRIC, EpochRecord, Trainer, TrainingConfig
from recblr.training_log import plot_training, write_log


class TrainingRun:
    """One run of recblr-train.

    Args:
        data: the files of interactions: paths, folders, globs or URIs.
        output: the model file.
        data_settings: how to read, filter and split.
        model_settings: `RecBLRConfig` without the number of items.
        config: training settings.
        device: "auto", or as PyTorch names it.
        resume: go on from the run's resume file, where there is one.

    Raises:
        ConfigError: a device that is not there.
        OutputError: the output, or a file beside it, cannot be written or is the data.
    """

    def __init__(
        self,
        data: Sequence[str],
        output: Path,
        data_settings: DataSettings,
        model_settings: dict[str, Any],
        config: TrainingConfig,
        device: str = "auto",
        resume: bool = False,
    ) -> None:
        self._data, self._output = data, output
        self._data_settings, self._model_settings, self._config = data_settings, model_settings, config
        self._model_config(1)  # what is wrong with any data is told before it is read
        check_writable(output)
        self.device = _device(device)
        self._resume = resume
        check_writable(output)  # so it has a name
        self._resume_file, self._log, self._plot = (
            output.with_name(f"{output.name}.{suffix}") for suffix in ("resume", "log.jsonl", "png")
        )
        inputs = local_files(data)
        for path in (output, self._resume_file, self._log, self._plot):
            check_not_input(path, inputs)
            check_writable(path)

    def execute(self, processes: Processes) -> None:
        """Train, evaluate on the test part, and write model, log and plot.

        Raises:
            RecblrError: data, settings or training that do not do; a better model than none stays in the output.
            KeyboardInterrupt: passed on after the best model so far is written.
        """
        console = Console(quiet=not processes.is_first)
        prepared = prepare(self._data, self._data_settings)
        summary = Summary.of(prepared.interactions, prepared.report)
        console.print(summary_table(summary, prepared.report.name))
        config = self._model_config(prepared.interactions.n_items)
        if processes.is_first:
            obstacles = filter(None, (config.export_obstacle, config.engine_obstacle))  # told now, not after hours
            print_notes((*prepared.report.notes, *obstacles))
        identity = DataIdentity(prepared.interactions)
        run_data = RunData.of(prepared, identity)
        resumed = self._resumed(console)
        if resumed is not None:
            run_data = RunData.from_dict(resumed.data)
            prepared = run_data.restore(prepared, identity)
        torch.manual_seed(self._config.seed)
        model = RecBLR(config)
        checkpoint = self._checkpoint(model, prepared, run_data, summary)
        del identity  # its memory is wanted for training
        trainer = Trainer(model, prepared.split, self._config, processes, self.device)
        monitor = _Monitor(console, trainer, checkpoint, self._output, self._log, self._plot)
        if resumed is not None:
            best, best_model = trainer.resume(resumed)
            if processes.is_first:  # what lies there may be gone, or of another run
                monitor.save(best, best_model)
                monitor.write_records()
            console.print(f"resuming after epoch {trainer.state.epoch}")
        if trainer.rows_in_pieces:
            console.print(
                f"{trainer.rows_in_pieces:,} histories are longer than --batch-tokens ({self._config.batch_tokens:,}): "
                "they are learned in pieces, with the state carried on and the gradient cut between them",
                highlight=False,
            )
        try:
            with monitor.progress:
                best = trainer.fit(monitor, self._resume_file, run_data.to_dict())
            if processes.is_first:
                checkpoint.model = model  # which now has the best weights
                test = evaluate(model, prepared.split.test)
                checkpoint.metrics = {"validation": best.validation, "test": test.to_dict()}
                checkpoint.save(self._output)
        except (KeyboardInterrupt, RecblrError):
            if processes.is_first:
                kept = f"the best model so far is in {self._output}" if trainer.state.best else "no epoch was finished"
                console.print(f"[bold]stopped: {kept}")
            raise
        if processes.is_first:
            console.print(metrics_table(checkpoint.metrics))
            warning = repeats_warning(test)
            if warning:
                console.print(f"[bold]{warning}", highlight=False, soft_wrap=True)
            console.print(f"wrote {self._output} (best epoch {best.epoch} of {trainer.state.epoch})")

    def _model_config(self, n_items: int) -> RecBLRConfig:
        """The model's settings.

        Raises:
            ConfigError: out of range, or training takes more memory than there is.
        """
        config = RecBLRConfig(n_items=n_items, **self._model_settings)
        size = 4 * 4 * config.n_parameters  # float32 weights, gradients, and Adam's two moments
        if self._config.objective.loss == "sampled":
            size += self._config.objective.negatives * (8 + 2 * 4 * config.dim)  # indices, vectors and their gradients
        advice = "choose a smaller --dim, --expansion or --conv-width, or fewer --layers or --negatives"
        require_memory(size, "training this model", advice)
        return config

    def _resumed(self, console: Console) -> SavedRun | None:
        """The run to go on with, if that was asked for and there is one."""
        if not self._resume:
            return None
        if not self._resume_file.exists():
            console.print(f"nothing to resume, as {self._resume_file} does not exist: starting anew", highlight=False)
            return None
        return load_run(self._resume_file)

    def _checkpoint(self, model: RecBLR, prepared: PreparedData, run_data: RunData, summary: Summary) -> Checkpoint:
        return Checkpoint(
            model=model,
            vocabulary=prepared.vocabulary(),
            data={
                "name": prepared.report.name,
                "fingerprint": run_data.fingerprint,
                "ties": run_data.order.ties,
                "settings": self._data_settings.to_dict(),
                "summary": summary.to_dict(),
            },
            training=dataclasses.asdict(self._config) | {"device": self.device.split(":")[0]},
        )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"(cpu|cuda)(:\d{1,4})?", name, re.ASCII):
        raise ConfigError(f"device {name!r} cannot be used: give auto, cpu, cuda, cuda:1, ...")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used ({reason}): give cpu, or cuda on a machine with a GPU"
        ) from error
    return name


class _Monitor:
    """Shows progress; saves the model whenever it is the best so far; keeps log and plot up to date."""

    def __init__(
        self, console: Console, trainer: Trainer, checkpoint: Checkpoint, output: Path, log: Path, plot: Path
    ) -> None:
        self._console, self._trainer, self._checkpoint = console, trainer, checkpoint
        self._output, self._log, self._plot = output, log, plot
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._epoch: TaskID | None = None
        self._all = self.progress.add_task("epochs", total=trainer.config.epochs, status="")

    def save(self, best: EpochRecord, model: RecBLR) -> None:
        """Write the model of the best epoch so far."""
        self._checkpoint.model = model
        self._checkpoint.training["best_epoch"] = best.epoch
        self._checkpoint.metrics = {"validation": best.validation}
        self._checkpoint.save(self._output)

    def write_records(self) -> None:
        """Write log and plot of all epochs so far."""
        write_log(self._log, self._trainer.state.records)
        plot_training(self._plot, self._trainer.state.records)

    def epoch_started(self, epoch: int, tokens: int) -> None:
        """Show a bar for the epoch."""
        self._epoch = self.progress.add_task(f"epoch {epoch}", total=tokens, status="")
        self.progress.update(self._all, completed=epoch - 1)

    def batch_done(self, tokens: int, loss: float) -> None:
        """Move the bar, and show the batch's loss."""
        if self._epoch is not None:
            self.progress.update(self._epoch, advance=tokens, status=f"loss {loss:.4f}")

    def validating(self) -> None:
        """Show that the epoch is being validated."""
        if self._epoch is not None:
            self.progress.update(self._epoch, status="validating")

    def epoch_done(self, record: EpochRecord, model: RecBLR) -> None:
        """Keep the model if it is the best, write log and plot, and print a line."""
        if self._epoch is not None:
            self.progress.remove_task(self._epoch)
        if record.best:
            self.save(record, model)
        self.write_records()
        self._console.print(
            f"epoch {record.epoch:3}  loss {record.loss:.4f}  "
            f"validation {SELECTION_METRIC} {record.validation[SELECTION_METRIC]:.4f}  "
            f"hr@10 {record.validation['hr@10']:.4f}  {record.tokens / record.train_seconds:,.0f} tokens/s"
            f"{'  best' if record.best else ''}",
            highlight=False,
            soft_wrap=True,
        )
