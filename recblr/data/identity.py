"""Which interactions they are, whatever the order of their rows; and what it is that depends on that order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recblr.data.arrays import CodesArray, IdsArray, PositionsArray, TimestampsArray
from recblr.data.interactions import Interactions
from recblr.data.ragged import row_offsets, row_positions
from recblr.data.ties import order_within_groups, tied_positions
from recblr.data.times import NANOSECONDS


@dataclass(frozen=True, eq=False)
class RowOrder:
    """What the order of rows decides: the numbers of users and items, and the order of equal times.

    Args:
        users: [U] each user's place among the sorted user ids.
        items: [V] each item's place among the sorted item ids.
        tied: [T] items, as places among the sorted ids, of all interactions at a time at which their user has
            several: users by id, each in order of time.
    """

    users: CodesArray
    items: CodesArray
    tied: CodesArray

    @property
    def ties(self) -> str:
        """`sha256:<hex>` of the order of equal times alone."""
        return f"sha256:{hashlib.sha256(self.tied.astype('<i4').tobytes()).hexdigest()}"


class DataIdentity:
    """Interactions with users and items numbered by id, so that equal ones compare equal in any order of rows."""

    def __init__(self, interactions: Interactions) -> None:
        """Sort them.

        Args:
            interactions: as read, filtered.
        """
        by_user = np.argsort(interactions.user_ids, kind="stable")
        by_item = np.argsort(interactions.item_ids, kind="stable")
        self.user_ids: IdsArray = interactions.user_ids[by_user]
        self.item_ids: IdsArray = interactions.item_ids[by_item]
        lengths = interactions.lengths[by_user]
        self._offsets = row_offsets(lengths)
        rows = row_positions(interactions.offsets[by_user], lengths)
        self._times: TimestampsArray = interactions.timestamps[rows]
        item_places = _inverse(by_item)
        self._items: CodesArray = item_places[interactions.items[rows] - 1]
        self._unit = interactions.time_unit
        self._tied, self._groups = tied_positions(self._times, self._offsets)
        self.row_order = RowOrder(users=_inverse(by_user), items=item_places, tied=self._items[self._tied])

    @cached_property
    def fingerprint(self) -> str:
        """`content-sha256:<hex>` of the ids, and of who took which item when, as a set."""
        digest = hashlib.sha256()
        for ids in (self.user_ids, self.item_ids):
            digest.update(json.dumps(ids.tolist()).encode() + b"\n")
        items = self._items.copy()
        tied = items[self._tied]
        items[self._tied] = tied[order_within_groups(self._groups, tied)]
        digest.update(b"dates\n" if self._unit else b"numbers\n")
        for array in (self._offsets, *_comparable(self._times, self._unit), items.astype(np.int64)):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return f"content-sha256:{digest.hexdigest()}"

    def in_order(self, order: RowOrder) -> Interactions:
        """The interactions as they are numbered and ordered where their rows come in another order.

        Args:
            order: of interactions with the same fingerprint.

        Raises:
            ValueError: it is of others.
        """
        for name in ("users", "items", "tied"):
            if len(getattr(order, name)) != len(getattr(self.row_order, name)):
                raise ValueError(f"a row order of {len(getattr(order, name))} {name}, not of these interactions")
        lengths = np.diff(self._offsets)[order.users]
        rows = row_positions(self._offsets[:-1][order.users], lengths)
        items = self._items.copy()
        items[self._tied] = order.tied
        return Interactions(
            user_ids=self.user_ids[order.users],
            item_ids=self.item_ids[order.items],
            items=_inverse(order.items)[items[rows]] + np.int32(1),
            offsets=row_offsets(lengths),
            timestamps=self._times[rows],
            time_unit=self._unit,
        )


def _inverse(permutation: PositionsArray | CodesArray) -> CodesArray:
    inverse = np.empty(len(permutation), np.int32)
    inverse[permutation] = np.arange(len(permutation), dtype=np.int32)
    return inverse


def _comparable(times: TimestampsArray, unit: str | None) -> list[TimestampsArray]:
    """Times as arrays that are the same however they are stored: 1.0 as 1, dates of any unit as s and ns."""
    if unit is not None:
        whole, rest = np.divmod(times, max(NANOSECONDS["s"] // NANOSECONDS[unit], 1))
        seconds = max(NANOSECONDS[unit] // NANOSECONDS["s"], 1)  # of a day
        return [whole * seconds, rest * NANOSECONDS[unit]]
    if times.dtype.kind == "f" and np.all(np.abs(times) < 2.0**53) and np.all(times == np.trunc(times)):
        return [times.astype(np.int64)]
    return [times]
