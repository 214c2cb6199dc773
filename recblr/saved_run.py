"""Resume files: what a training run needs to go on exactly where it stopped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from recblr.checkpoint import load_tensors, save_tensors
from recblr.errors import CheckpointError

FORMAT = "recblr-run"


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run after its last whole epoch.

    Attributes:
        settings: all that must be equal when it goes on.
        weights: of the model.
        optimizer: its state_dict.
        average: the state_dict of the averaged model; None where weights are not averaged.
        records: of each epoch, as `recblr.trainer.EpochRecord.to_dict` gives them.
        best_weights: of the best epoch.
        data: which data it is, as `recblr.run_data.RunData.to_dict` gives it; empty where nobody asked to keep it.
        path: the file it was read from.
    """

    settings: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None
    records: list[dict[str, Any]]
    best_weights: dict[str, Tensor]
    data: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        content = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "path"}
        save_tensors({"format": FORMAT, **content}, path)


def load_run(path: Path) -> SavedRun:
    """Read a resume file.

    Raises:
        CheckpointError: unreadable, or no resume file of this version.
    """
    try:
        content = load_tensors(path)
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise CheckpointError(f"{path} is no resume file, or a damaged one: start anew without --resume") from error
    names = {entry.name for entry in dataclasses.fields(SavedRun)} - {"path"}
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.keys() != names | {"format"}:
        raise CheckpointError(f"{path} holds no training run of this version: start anew without --resume")
    if not all(isinstance(content[name], dict) for name in ("settings", "weights", "best_weights", "data")):
        raise CheckpointError(f"{path} is damaged: start anew without --resume")
    return SavedRun(**{name: content[name] for name in names}, path=path)
