"""Interactions as the model sees them: per user, in chronological order, with items as indices 1..V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recblr.data.arrays import (
    CodesArray,
    IdsArray,
    ItemsArray,
    MaskArray,
    RowOffsetsArray,
    RowsArray,
    TimestampsArray,
)
from recblr.data.encode import EncodedIds, IdType, encode_ids
from recblr.data.formats import DEFAULT_COLUMNS, Columns
from recblr.data.nulls import Nulls
from recblr.data.ragged import row_offsets
from recblr.data.readers import read_interactions
from recblr.data.sources import Source
from recblr.data.ties import exact_repeats
from recblr.data.times import read_times
from recblr.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Interactions:
    """All users' histories, one user after another. Every user has an interaction and every item occurs.

    Args:
        user_ids: [U] the users' own ids: int64, uint64, or object (str), in order of first appearance.
        item_ids: [V] the items' own ids, likewise; the model's index of `item_ids[j]` is j + 1.
        items: [N] the model's indices, 1..V, user after user, chronological within a user.
        offsets: [U + 1] user u has `items[offsets[u]:offsets[u + 1]]`.
        timestamps: [N] in the order of `items`: plain numbers as the data have them, or dates and times.
        time_unit: of dates and times since 1970-01-01 in UTC: "D", "s", "ms", "us" or "ns"; None: plain numbers.
    """

    user_ids: IdsArray
    item_ids: IdsArray
    items: ItemsArray
    offsets: RowOffsetsArray
    timestamps: TimestampsArray
    time_unit: str | None = None

    @property
    def n_users(self) -> int:
        """U, the number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """V, the number of items."""
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        """N, the number of interactions."""
        return len(self.items)

    @property
    def lengths(self) -> RowsArray:
        """[U] interactions of each user."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class FilterReport:
    """How the rows that were read became interactions: what was dropped, and why.

    Attributes:
        name: of the data: its file, or "3 files in logs/".
        rows_read: of all files.
        null_rows: of these, dropped for a null that `--null-values` declares; the filter saw the others.
        min_user_interactions, min_item_interactions: of the k-core filter.
        users_read, items_read, interactions_read: without the null rows.
        users, items, interactions: what is left.
        rare_user_interactions: dropped because their user had too few.
        rare_item_interactions: dropped because their item, but not their user, had too few.
        rounds: how many it took the filter to settle.
        exact_repeats: interactions that repeat an earlier one, before the filter: the same user, item and time.
        repeats_dropped: all of those, or none.
        notes: what a person should know of the data, one line each.
    """

    name: str
    rows_read: int
    null_rows: int
    min_user_interactions: int
    min_item_interactions: int
    users_read: int
    items_read: int
    interactions_read: int
    users: int
    items: int
    interactions: int
    rare_user_interactions: int
    rare_item_interactions: int
    rounds: int
    exact_repeats: int
    repeats_dropped: int
    notes: tuple[str, ...] = ()

    @property
    def users_dropped(self) -> int:
        """Users with too few interactions."""
        return self.users_read - self.users

    @property
    def items_dropped(self) -> int:
        """Items with too few interactions."""
        return self.items_read - self.items

    @property
    def interactions_dropped(self) -> int:
        """Interactions of dropped users or items, and repeats that were dropped."""
        return self.interactions_read - self.interactions

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, for JSON."""
        return {
            **asdict(self),
            "notes": list(self.notes),
            "users_dropped": self.users_dropped,
            "items_dropped": self.items_dropped,
            "interactions_dropped": self.interactions_dropped,
        }


def load_interactions(
    sources: Source | Sequence[Source],
    columns: Columns = DEFAULT_COLUMNS,
    min_user_interactions: int = 5,
    min_item_interactions: int = 5,
    *,
    drop_duplicates: bool = False,
    header: Sequence[str] | None = None,
    id_type: IdType = "auto",
    null_values: Sequence[str] | None = None,
) -> tuple[Interactions, FilterReport]:
    """Read files, drop rare users and items, and order each user's interactions by time.

    The filter repeats until every user and every item left has its minimum (a k-core). Repeated interactions
    with one item count each. Equal times keep the order of the files, and of the rows in them.

    Args:
        sources: one or several paths, folders, globs or URIs of .parquet, .csv, .tsv or .inter files; the text formats
            also with .gz, .zst or .bz2. A URI must be a str.
        columns: names of the columns; in .inter files without the `:type`.
        min_user_interactions: users with fewer are dropped; 0 or 1 keeps all.
        min_item_interactions: items with fewer are dropped; 0 or 1 keeps all.
        drop_duplicates: of interactions with the same user, item and time keep the first; before the filter.
        header: all columns of text files that have no header, "_" for those without a name; None: they have one.
        id_type: "int" refuses all other ids, "string" makes integers strings; "auto" keeps types, and text becomes
            integers where all of it is.
        null_values: rows with one of these as user, item or timestamp are dropped; "" is also a typed column's null.
            None refuses what looks like null, () keeps it as an id.

    Raises:
        ConfigError: a negative minimum.
        DataError: the files cannot be used (its message says why), or nothing is left after the filter.
    """
    for name, value in (("user", min_user_interactions), ("item", min_item_interactions)):
        if value < 0:
            raise ConfigError(f"--min-{name}-interactions {value} is negative: use 0 to keep every {name}")
    nulls = Nulls(None if null_values is None else tuple(null_values))
    table = read_interactions(sources, columns, header)
    name, n_rows = table.name, len(table)
    users = encode_ids(table, 0, id_type, nulls)
    items = encode_ids(table, 1, id_type, nulls)
    times = read_times(table, nulls)
    del table  # its memory is wanted for the sort
    notes = users.notes + items.notes
    timestamps = times.values
    valid = _without_nulls(users, items, times.null)
    if valid is not None:
        if not valid.any():
            raise DataError(f"{name}: all {n_rows:,} rows have a null of --null-values: declare fewer of them")
        users, items, timestamps = _kept(users, valid), _kept(items, valid), timestamps[valid]
    n_given, n_users, n_items = len(timestamps), len(users.ids), len(items.ids)
    users, items, timestamps = _chronological(users, items, timestamps)
    repeated = exact_repeats(items.codes, timestamps, _user_offsets(users))
    n_repeats = int(np.count_nonzero(repeated))
    if drop_duplicates and n_repeats:
        users, items, timestamps = _kept(users, ~repeated), _kept(items, ~repeated), timestamps[~repeated]
    core = k_core(users.codes, items.codes, min_user_interactions, min_item_interactions)
    if not core.keep.any():
        raise DataError(
            f"{name}: none of its {n_given:,} interactions is left when every user needs "
            f"{min_user_interactions} and every item {min_item_interactions}: "
            "lower --min-user-interactions or --min-item-interactions"
        )
    if not core.keep.all():
        users, items, timestamps = _kept(users, core.keep), _kept(items, core.keep), timestamps[core.keep]
    interactions = Interactions(
        user_ids=users.ids,
        item_ids=items.ids,
        items=items.codes + np.int32(1),
        offsets=_user_offsets(users),
        timestamps=timestamps,
        time_unit=times.unit,
    )
    report = FilterReport(
        name=name,
        rows_read=n_rows,
        null_rows=n_rows - n_given,
        min_user_interactions=min_user_interactions,
        min_item_interactions=min_item_interactions,
        users_read=n_users,
        items_read=n_items,
        interactions_read=n_given,
        users=interactions.n_users,
        items=interactions.n_items,
        interactions=interactions.n_interactions,
        rare_user_interactions=core.rare_user_rows,
        rare_item_interactions=core.rare_item_rows,
        rounds=core.rounds,
        exact_repeats=n_repeats,
        repeats_dropped=n_repeats if drop_duplicates else 0,
        notes=notes,
    )
    return interactions, report


def _without_nulls(users: EncodedIds, items: EncodedIds, null_times: MaskArray | None) -> MaskArray | None:
    """The rows in which nothing is null; None for all of them."""
    valid: MaskArray = (users.codes >= 0) & (items.codes >= 0)
    if null_times is not None:
        valid &= ~null_times
    return None if valid.all() else valid


@dataclass(frozen=True, eq=False)
class Core:
    """The rows that a k-core keeps, how many it dropped and why, and the rounds that dropped something."""

    keep: MaskArray
    rare_user_rows: int
    rare_item_rows: int
    rounds: int


def k_core(users: CodesArray, items: CodesArray, min_user: int, min_item: int) -> Core:
    """Drop users and items below their minimum until none is.

    Args:
        users, items: [N] codes from 0 on.
        min_user, min_item: interactions that each needs.
    """
    keep = np.zeros(len(users), bool)
    rows = np.arange(len(users))
    rounds = rare_user_rows = 0
    while len(rows):
        enough = (np.bincount(users) >= min_user)[users]
        of_rare_users = len(rows) - int(np.count_nonzero(enough))
        enough &= (np.bincount(items) >= min_item)[items]
        if enough.all():
            break
        rows, users, items = rows[enough], users[enough], items[enough]
        rare_user_rows += of_rare_users
        rounds += 1
    keep[rows] = True
    return Core(keep, rare_user_rows, len(keep) - len(rows) - rare_user_rows, rounds)


def _kept(column: EncodedIds, keep: MaskArray) -> EncodedIds:
    """The rows kept, with the ids that none of them holds left out."""
    codes = column.codes[keep]
    used = np.bincount(codes, minlength=len(column.ids)) > 0
    compact = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return EncodedIds(compact[codes], column.ids[used])


def _chronological(
    users: EncodedIds, items: EncodedIds, timestamps: TimestampsArray
) -> tuple[EncodedIds, EncodedIds, TimestampsArray]:
    """One user after another, each one's interactions by time, equal times in the order of the file."""
    order = np.argsort(timestamps, kind="stable")
    order = order[np.argsort(users.codes[order], kind="stable")]
    return EncodedIds(users.codes[order], users.ids), EncodedIds(items.codes[order], items.ids), timestamps[order]


def _user_offsets(users: EncodedIds) -> RowOffsetsArray:
    return row_offsets(np.bincount(users.codes, minlength=len(users.ids)))
