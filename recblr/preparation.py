"""From files to a split, by settings that a model remembers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

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
from recblr.data.encode import IdType
from recblr.data.sources import Source
from recblr.data.times import Moment, parse_moment
from recblr.errors import CheckpointError, ConfigError
from recblr.vocabulary import ItemVocabulary


@dataclass(frozen=True)
class DataSettings:
    """How interactions are read, filtered and split.

    Attributes:
        columns: names of the columns.
        min_user_interactions, min_item_interactions: of the k-core filter.
        drop_duplicates: of interactions with the same user, item and time, keep one.
        validation_time, test_time: split at these times, numbers in the timestamps' unit or ISO 8601 text; None leaves
            each user's last two out.
        header: the columns of text files without a header; None: they have one.
        id_type: "auto", "int" or "string"; see `load_interactions`.
        null_values: what stands for null; see `load_interactions`.

    Raises:
        ConfigError: a setting that is none of these, or one time without the other.
    """

    columns: Columns = Columns()  # noqa: RUF009 - frozen
    min_user_interactions: int = 5
    min_item_interactions: int = 5
    drop_duplicates: bool = False
    validation_time: Moment | None = None
    test_time: Moment | None = None
    header: tuple[str, ...] | None = None
    id_type: IdType = "auto"
    null_values: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.validation_time is None) != (self.test_time is None):
            raise ConfigError("a split by time needs both --validation-time and --test-time")
        for moment in (self.validation_time, self.test_time):
            if isinstance(moment, str):
                parse_moment(moment)
            elif moment is not None and not math.isfinite(moment):
                raise ConfigError(f"a split at time {moment}: give a time in the unit of the timestamps")
        if self.id_type not in get_args(IdType):
            raise ConfigError(f"id type {self.id_type!r}: use {', '.join(get_args(IdType))}")
        names = [name for name in self.header or () if name not in ("", "_")]
        if len(set(names)) < len(names):
            raise ConfigError(f"--columns {','.join(self.header or ())} names one twice: name each once, or with _")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        settings = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            CheckpointError: names that this version doesn't know.
        """
        try:
            lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
            return cls(**{**settings, **lists, "columns": Columns(**settings["columns"])})
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


def prepare(sources: Source | Sequence[Source], settings: DataSettings) -> PreparedData:
    """Read, filter and split; see `load_interactions` for what the sources may be.

    Raises:
        DataError: the files or what is left of them do not do.
        ConfigError: settings out of range.
    """
    interactions, report = load_interactions(
        sources,
        settings.columns,
        settings.min_user_interactions,
        settings.min_item_interactions,
        drop_duplicates=settings.drop_duplicates,
        header=settings.header,
        id_type=settings.id_type,
        null_values=settings.null_values,
    )
    return PreparedData(settings, interactions, report, _split(interactions, settings))


def _split(interactions: Interactions, settings: DataSettings) -> Split:
    if settings.validation_time is not None and settings.test_time is not None:
        return split_at_times(interactions, settings.validation_time, settings.test_time)
    return leave_one_out(interactions)
