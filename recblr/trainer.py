"""Training: next-item cross-entropy at every position, early stopping, exact resumption, several processes."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from recblr.batches import Batch, training_batches, training_windows
from recblr.data import Split
from recblr.distributed import Processes
from recblr.errors import CheckpointError, ConfigError, DataError, TrainingError
from recblr.evaluation import evaluate
from recblr.interrupts import deferred_interrupts
from recblr.model import RecBLR
from recblr.objective import Objective
from recblr.saved_run import SavedRun
from recblr.schedule import SCHEDULES, learning_rate_factor

SELECTION_METRIC = "ndcg@10"


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Attributes:
        epochs: at most so many.
        patience: stop after so many epochs without a better validation NDCG@10.
        batch_tokens: tokens per optimizer step, over all processes.
        learning_rate: of Adam.
        weight_decay: of AdamW; 0 is Adam.
        schedule: of the learning rate: "constant", or "cosine", which falls to 0 over `epochs`.
        warmup_epochs: the learning rate rises from 0 over so many epochs, or a part of one.
        weight_average: decay per step of an exponential moving average of the weights, which is then what is
            validated and kept; 0 keeps the weights themselves.
        objective: the loss.
        max_history: longer training sequences are cut into windows of so many items; None cuts nothing.
        precision: "fp32", or "bf16" for autocast.
        seed: decides initialisation, order and dropout.
    """

    epochs: int = 200
    patience: int = 10
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    weight_average: float = 0.0
    objective: Objective = Objective()  # noqa: RUF009 - frozen
    max_history: int | None = None
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.max_history is not None and self.max_history < 1:
            raise ConfigError(f"max_history is {self.max_history}: give at least 1")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(f"learning_rate is {self.learning_rate}: give a positive number")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ConfigError(f"weight_decay is {self.weight_decay}: give 0 or a positive number")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule is {self.schedule!r}: give one of {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ConfigError(f"warmup_epochs is {self.warmup_epochs}: give a number from 0 to epochs ({self.epochs})")
        if not 0 <= self.weight_average < 1:
            raise ConfigError(f"weight_average is {self.weight_average}: give 0, or a decay below 1 such as 0.999")
        if self.precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision is {self.precision!r}: give fp32 or bf16")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"seed is {self.seed}: give a number from 0 to 2^64 - 1")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: mean training loss per token, validation metrics, and its speed."""

    epoch: int
    loss: float
    validation: dict[str, float]
    best: bool
    tokens: int
    train_seconds: float
    validation_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


class Monitor(Protocol):
    """Told how training goes, in the first process only."""

    def epoch_started(self, epoch: int, tokens: int) -> None:
        """An epoch of so many tokens begins."""

    def batch_done(self, tokens: int, loss: float) -> None:
        """A batch of so many tokens is done, with its mean loss per token."""

    def validating(self) -> None:
        """The epoch's training is over."""

    def epoch_done(self, record: EpochRecord, model: RecBLR) -> None:
        """The epoch is over; `record.best` says whether `model`, which was validated, is the best so far."""


@dataclass
class TrainingState:
    """What a run needs to go on exactly where it stopped."""

    records: list[EpochRecord] = field(default_factory=list)
    best_weights: dict[str, Tensor] | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.records)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the best validation."""
        return next((record for record in reversed(self.records) if record.best), None)


class Trainer:
    """Trains a model on one split.

    Args:
        model: trained in place; after `fit` it holds the best epoch's weights.
        split: training sequences and validation targets.
        config: settings.
        processes: the process group, if several train together.
        device: "cpu", "cuda", ...

    Raises:
        DataError: nothing to learn from.
    """

    def __init__(
        self,
        model: RecBLR,
        split: Split,
        config: TrainingConfig,
        processes: Processes | None = None,
        device: str = "cpu",
    ) -> None:
        self.model = model.to(device)
        self.split = split
        self.config = config
        self.device = device
        self.state = TrainingState()
        self._processes = processes or Processes()
        self._windows = training_windows(split.train, config.max_history)
        self._tokens = int(self._windows.length.sum())
        if not self._tokens:
            raise DataError("no user has two training interactions: there is nothing to learn from; give more data")
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._carried: Tensor | None = None  # the state [1, S] that a long row's next piece begins with
        self._average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average))  # type: ignore[no-untyped-call]
            if config.weight_average
            else None
        )

    @property
    def rows_in_pieces(self) -> int:
        """Training rows that are longer than a batch; see `recblr.batches.training_batches`."""
        return int(np.count_nonzero(self._windows.length > self.config.batch_tokens))

    def _model_to_keep(self) -> RecBLR:
        """The model to validate and keep: of averaged weights, if they are averaged, and an ordinary one."""
        model = self.model if self._average is None else cast(RecBLR, self._average.module)
        norm = self.config.objective.item_norm
        return copy.deepcopy(model).scale_items(norm) if norm else model

    def fit(self, monitor: Monitor, resume_file: Path | None = None, data: dict[str, Any] | None = None) -> EpochRecord:
        """Train until the validation metric stops rising or the epochs are over.

        Args:
            monitor: told of progress; it may save the model.
            resume_file: written after every epoch, for `resume`.
            data: kept in the resume file; see `SavedRun`.

        Returns:
            The best epoch.

        Raises:
            TrainingError: a loss is not finite. The best weights so far are in the model.
            KeyboardInterrupt: passed on, with the best weights so far in the model.
        """
        try:
            while self.state.epoch < self.config.epochs and not self._out_of_patience():
                record, model = self._epoch(self.state.epoch + 1, monitor)
                if record.best:
                    self.state.best_weights = copy.deepcopy(model.state_dict())
                self.state.records.append(record)
                if self._processes.is_first:
                    with deferred_interrupts():
                        monitor.epoch_done(record, model)
                        if resume_file is not None:
                            self._saved(data).save(resume_file)
        finally:
            if self.state.best_weights is not None:
                self.model.load_state_dict(self.state.best_weights)
        assert self.state.best is not None  # the first epoch is always the best so far
        return self.state.best

    def resume(self, run: SavedRun) -> tuple[EpochRecord, RecBLR]:
        """Go on from a run that `fit` wrote to its resume file.

        Returns:
            Its best epoch, and the model of that.

        Raises:
            CheckpointError: written with other settings, or damaged.
        """
        settings = self._settings()
        changed = [
            f"{name} was {run.settings.get(name)!r} and is {settings.get(name)!r}"
            for name in sorted(settings.keys() | run.settings.keys())
            if run.settings.get(name) != settings.get(name)
        ]
        if changed:
            raise CheckpointError(
                f"{run.path} was written with other settings: {', '.join(changed)}; "
                "give the same ones, or start anew without --resume"
            )
        try:
            self.model.load_state_dict(run.weights)
            self._optimizer.load_state_dict(run.optimizer)
            if self._average is not None and run.average is not None:
                self._average.load_state_dict(run.average)
            self.state = TrainingState([EpochRecord(**record) for record in run.records], run.best_weights)
            model = copy.deepcopy(self.model)
            model.load_state_dict(run.best_weights)
            (*_, best) = (record for record in self.state.records if record.best)
            return best, model
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{run.path} holds no training run: start anew without --resume") from error

    def _saved(self, data: dict[str, Any] | None) -> SavedRun:
        assert self.state.best_weights is not None  # as the first epoch was the best so far
        return SavedRun(
            settings=self._settings(),
            weights=self.model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            average=None if self._average is None else self._average.state_dict(),
            records=[record.to_dict() for record in self.state.records],
            best_weights=self.state.best_weights,
            data=data or {},
        )

    def _settings(self) -> dict[str, Any]:
        """All that must be equal in a resumed run; it may have more patience, and epochs unless they set the rate."""
        settings = dataclasses.asdict(self.config) | self.model.config.to_dict() | {"training_tokens": self._tokens}
        settings |= settings.pop("objective")
        free = ("patience",) if self.config.schedule == "cosine" else ("patience", "epochs")
        return {name: value for name, value in settings.items() if name not in free}

    def _out_of_patience(self) -> bool:
        best = self.state.best
        return best is not None and self.state.epoch - best.epoch >= self.config.patience

    def _epoch(self, epoch: int, monitor: Monitor) -> tuple[EpochRecord, RecBLR]:
        """Train and validate; what happened, and the model that was validated."""
        processes, config = self._processes, self.config
        # Every epoch's randomness follows from the seed and its number, so a resumed run repeats it.
        torch.manual_seed(hash((config.seed, epoch, processes.rank)) % 2**63)
        order = np.random.default_rng([config.seed, epoch])
        if processes.is_first:
            monitor.epoch_started(epoch, self._tokens)
        started = time.perf_counter()
        self.model.train()
        total, done = 0.0, 0
        batches = training_batches(
            self.split.train, self._windows, config.batch_tokens, order, processes.rank, processes.size
        )
        for number, (batch, tokens) in enumerate(batches, start=1):
            self._set_learning_rate(epoch - 1 + (done + tokens) / self._tokens)
            done += tokens
            loss = self.step(batch, tokens)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch}, batch {number}: training stopped; lower --learning-rate "
                    f"(now {config.learning_rate:g}) or use --precision fp32"
                )
            total += loss * tokens
            if processes.is_first:
                monitor.batch_done(tokens, loss)
        trained = time.perf_counter()
        if processes.is_first:
            monitor.validating()
        model = self._model_to_keep()
        metrics = processes.broadcast(
            lambda: evaluate(model, self.split.validation).metrics  # the same on every process, so done once
        )
        best = self.state.best
        record = EpochRecord(
            epoch=epoch,
            loss=total / self._tokens,
            validation=metrics,
            best=best is None or metrics[SELECTION_METRIC] > best.validation[SELECTION_METRIC],
            tokens=self._tokens,
            train_seconds=trained - started,
            validation_seconds=time.perf_counter() - trained,
        )
        return record, model

    def _set_learning_rate(self, epoch: float) -> None:
        config = self.config
        factor = learning_rate_factor(config.schedule, epoch, config.epochs, config.warmup_epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * factor

    def step(self, batch: Batch, tokens: int) -> float:
        """One optimizer step; returns the whole batch's mean loss per token.

        A batch that `continues` must follow the one that it continues.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            state = self._carried if batch.continues else None
            hidden, new_state = self.model(batch.items.to(self.device), batch.offsets.to(self.device), state)
            self._carried = new_state.detach() if batch.continued else None
            targets = batch.targets.to(self.device).long()
            loss = self.config.objective(hidden, self.model.embedding.weight, targets) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        value = self._processes.sum_gradients(self.model, loss.detach())
        if math.isfinite(value):
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self.model)
        return value

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.config.precision == "bf16"):
            yield
