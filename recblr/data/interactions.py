"""Interactions as the model sees them: per user, in chronological order, with items as indices 1..V."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

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
from recblr.data.encode import EncodedIds, encode_ids, numeric_timestamps
from recblr.data.formats import DEFAULT_COLUMNS, Columns
from recblr.data.ragged import row_offsets
from recblr.data.readers import read_interactions
from recblr.data.ties import exact_repeats
from recblr.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Interactions:
    """All users' histories, one user after another. Every user has an interaction and every item occurs.

    Args:
        user_ids: [U] the users' own ids: int64, uint64, or object (str), in order of first appearance.
        item_ids: [V] the items' own ids, likewise; the model's index of `item_ids[j]` is j + 1.
        items: [N] the model's indices, 1..V, user after user, chronological within a user.
        offsets: [U + 1] user u has `items[offsets[u]:offsets[u + 1]]`.
        timestamps: [N] in the file's own unit, in the order of `items`.
    """

    user_ids: IdsArray
    item_ids: IdsArray
    items: ItemsArray
    offsets: RowOffsetsArray
    timestamps: TimestampsArray

    @property
    def n_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """V."""
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        """N."""
        return len(self.items)

    @property
    def lengths(self) -> RowsArray:
        """[U] interactions of each user."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class FilterReport:
    """What was read, what was dropped, and what is left.

    Args:
        min_user_interactions, min_item_interactions: of the k-core filter.
        users_read, items_read, interactions_read: in the file.
        users, items, interactions: left.
        rounds: that the filter took to settle.
        exact_repeats: interactions read that repeat an earlier one: the same user, item and time.
        repeats_dropped: all of those or none, as asked for.
    """

    min_user_interactions: int
    min_item_interactions: int
    users_read: int
    items_read: int
    interactions_read: int
    users: int
    items: int
    interactions: int
    rounds: int
    exact_repeats: int
    repeats_dropped: int

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

    def to_dict(self) -> dict[str, int]:
        """All figures by name, for JSON."""
        return {
            **asdict(self),
            "users_dropped": self.users_dropped,
            "items_dropped": self.items_dropped,
            "interactions_dropped": self.interactions_dropped,
        }


def load_interactions(
    path: Path,
    columns: Columns = DEFAULT_COLUMNS,
    min_user_interactions: int = 5,
    min_item_interactions: int = 5,
    drop_duplicates: bool = False,
) -> tuple[Interactions, FilterReport]:
    """Read a file, drop rare users and items, and order each user's interactions by time.

    The filter repeats until every user and every item left has its minimum (a k-core). Repeated interactions
    with one item count each. Equal times keep the order of the file.

    Args:
        path: a .parquet, .csv, .tsv or .inter file; the text formats also with .gz.
        columns: names of its columns; in .inter files without the `:type`.
        min_user_interactions: users with fewer are dropped; 0 or 1 keeps all.
        min_item_interactions: items with fewer are dropped; 0 or 1 keeps all.
        drop_duplicates: of interactions with the same user, item and time keep the first; before the filter.

    Raises:
        ConfigError: a negative minimum.
        DataError: the file cannot be used (its message says why), or nothing is left after the filter.
    """
    for name, value in (("user", min_user_interactions), ("item", min_item_interactions)):
        if value < 0:
            raise ConfigError(f"--min-{name}-interactions {value} is negative: use 0 to keep every {name}")
    table = read_interactions(path, columns)
    users = encode_ids(table, table.users, columns.user)
    items = encode_ids(table, table.items, columns.item)
    timestamps = numeric_timestamps(table)
    del table  # its memory is wanted for the sort
    n_rows, n_users, n_items = len(timestamps), len(users.ids), len(items.ids)
    users, items, timestamps = _chronological(users, items, timestamps)
    repeated = exact_repeats(items.codes, timestamps, _user_offsets(users))
    n_repeats = int(np.count_nonzero(repeated))
    if drop_duplicates and n_repeats:
        users, items, timestamps = _kept(users, ~repeated), _kept(items, ~repeated), timestamps[~repeated]
    keep, rounds = k_core(users.codes, items.codes, min_user_interactions, min_item_interactions)
    if not keep.any():
        raise DataError(
            f"{path}: none of its {n_rows:,} interactions is left when every user needs "
            f"{min_user_interactions} and every item {min_item_interactions}: "
            "lower --min-user-interactions or --min-item-interactions"
        )
    if not keep.all():
        users, items, timestamps = _kept(users, keep), _kept(items, keep), timestamps[keep]
    interactions = Interactions(
        user_ids=users.ids,
        item_ids=items.ids,
        items=items.codes + np.int32(1),
        offsets=_user_offsets(users),
        timestamps=timestamps,
    )
    report = FilterReport(
        min_user_interactions=min_user_interactions,
        min_item_interactions=min_item_interactions,
        users_read=n_users,
        items_read=n_items,
        interactions_read=n_rows,
        users=interactions.n_users,
        items=interactions.n_items,
        interactions=interactions.n_interactions,
        rounds=rounds,
        exact_repeats=n_repeats,
        repeats_dropped=n_repeats if drop_duplicates else 0,
    )
    return interactions, report


def k_core(users: CodesArray, items: CodesArray, min_user: int, min_item: int) -> tuple[MaskArray, int]:
    """Which interactions are left when users and items below their minimum are dropped until none is.

    Returns:
        A mask [N], and the number of rounds that dropped something.
    """
    keep = np.zeros(len(users), bool)
    rows = np.arange(len(users))
    rounds = 0
    while len(rows):
        enough = (np.bincount(users) >= min_user)[users] & (np.bincount(items) >= min_item)[items]
        if enough.all():
            break
        rows, users, items = rows[enough], users[enough], items[enough]
        rounds += 1
    keep[rows] = True
    return keep, rounds


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
