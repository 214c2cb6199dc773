"""Interactions of one user at one time."""

from __future__ import annotations

import numpy as np

from recblr.data.arrays import CodesArray, MaskArray, PositionsArray, RowOffsetsArray, TimestampsArray


def tied_positions(times: TimestampsArray, offsets: RowOffsetsArray) -> tuple[PositionsArray, PositionsArray]:
    """Where a user has several interactions at one time.

    Args:
        times: [N] ascending within each user.
        offsets: [U + 1] of the users.

    Returns:
        Positions [T], ascending, and the number [T] of each one's group: of the same user and time.
    """
    as_before = np.zeros(len(times) + 1, bool)
    as_before[1:-1] = times[1:] == times[:-1]
    as_before[offsets] = False
    positions = np.flatnonzero(as_before[:-1] | as_before[1:])
    return positions, np.cumsum(~as_before[:-1])[positions]


def order_within_groups(groups: PositionsArray, items: CodesArray) -> PositionsArray:
    """The order [T] that sorts by group and within a group by item; equal ones stay as they are."""
    width = int(items.max(initial=0)) + 1
    order: PositionsArray = np.argsort(groups * width + items, kind="stable")
    return order


def exact_repeats(items: CodesArray, times: TimestampsArray, offsets: RowOffsetsArray) -> MaskArray:
    """Which interactions are the same as an earlier one: of the same user, item and time.

    Args:
        items: [N] in the order of `times`.
        times, offsets: as in `tied_positions`.
    """
    positions, groups = tied_positions(times, offsets)
    order = order_within_groups(groups, items[positions])
    positions, groups = positions[order], groups[order]
    again = (groups[1:] == groups[:-1]) & (items[positions[1:]] == items[positions[:-1]])
    repeated = np.zeros(len(items), bool)
    repeated[positions[1:][again]] = True
    return repeated
