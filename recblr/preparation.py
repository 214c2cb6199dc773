"""From a file to a split, by settings that a model remembers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from recblr.data import (
    Columns,
    FilterReport,
    Interactions,
    Split,
    leave_one_out,
    load_interactions,
    split_at_times,
)
from recblr.errors import CheckpointError, ConfigError
from recblr.vocabulary import ItemVocabulary


@dataclass(frozen=True)
class DataSettings:
    """How interactions are read, filtered and split.

    Attributes:
        columns: names of the columns.
        min_user_interactions, min_item_interactions: of the k-core filter.
        drop_duplicates: of interactions with the same user, item and time, keep one.
        validation_time, test_time: split at these times, in the timestamps' unit; None leaves each user's last two out.
    """

    columns: Columns = Columns()  # noqa: RUF009 - frozen
    min_user_interactions: int = 5
    min_item_interactions: int = 5
    drop_duplicates: bool = False
    validation_time: float | None = None
    test_time: float | None = None

    def __post_init__(self) -> None:
        if (self.validation_time is None) != (self.test_time is None):
            raise ConfigError("a split by time needs both --validation-time and --test-time")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            CheckpointError: names that this version doesn't know.
        """
        try:
            return cls(**{**settings, "columns": Columns(**settings["columns"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the model's data settings cannot be read ({error}): upgrade recblr") from error


@dataclass(frozen=True)
class PreparedData:
    """Interactions, how they were read and what the filter did, and the split."""

    settings: DataSettings
    interactions: Interactions
    report: FilterReport
    split: Split

    def vocabulary(self) -> ItemVocabulary:
        """The items with their popularity: how often each occurs in the training part."""
        counts = np.bincount(self.split.train.items, minlength=self.interactions.n_items + 1)[1:]
        return ItemVocabulary(self.interactions.item_ids.tolist(), counts)

    def with_interactions(self, interactions: Interactions) -> PreparedData:
        """The same interactions in another order of rows, split anew."""
        return dataclasses.replace(self, interactions=interactions, split=_split(interactions, self.settings))


def prepare(path: Path, settings: DataSettings) -> PreparedData:
    """Read, filter and split.

    Raises:
        DataError: the file or what is left of it does not do.
        ConfigError: settings out of range.
    """
    interactions, report = load_interactions(
        path,
        settings.columns,
        settings.min_user_interactions,
        settings.min_item_interactions,
        settings.drop_duplicates,
    )
    return PreparedData(settings, interactions, report, _split(interactions, settings))


def _split(interactions: Interactions, settings: DataSettings) -> Split:
    if settings.validation_time is not None and settings.test_time is not None:
        return split_at_times(interactions, settings.validation_time, settings.test_time)
    return leave_one_out(interactions)
