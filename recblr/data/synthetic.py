"""Made-up interactions whose next item follows from the last ones, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recblr.data.arrays import (
    CodesArray,
    IdsArray,
    PositionsArray,
    RowOffsetsArray,
    SuccessorsArray,
    TimestampsArray,
    UniformArray,
)
from recblr.data.encode import first_rows
from recblr.data.interactions import Interactions
from recblr.errors import ConfigError

_MEAN_GAP = 3600.0  # seconds between two interactions of a user
_TIED = 0.1  # share of interactions at the same time as the one before
_PERIOD = 365 * 86400  # seconds in which users arrive
_POPULARITY_SKEW = 2.0  # rank in a cluster ~ uniform ** skew: 1 is flat
_CHANGE_CLUSTER = 0.1  # share of jumps that lead to another cluster


def synthetic_interactions(
    n_users: int,
    n_items: int,
    mean_length: float,
    seed: int = 0,
    *,
    min_length: int = 5,
    n_clusters: int = 20,
    branching: int = 3,
    follow: float = 0.8,
    string_ids: bool = False,
) -> Interactions:
    """Generate users who walk through clusters of items.

    A user starts in a cluster. With probability `follow` the next item is one of `branching` successors of
    the last one, the first twice as likely as the second, and so on; else the user jumps to an item by
    popularity, mostly in the same cluster. So the last item mostly tells the next within a few guesses, and
    popularity does not. A tenth of the interactions share the time of the one before. The same arguments give
    the same result.

    Args:
        n_users: U.
        n_items: size of the catalogue; items that nobody takes are left out, so V may be smaller.
        mean_length: expected interactions per user; the lengths above `min_length` are geometric.
        seed: of the random numbers.
        min_length: of every user's history.
        n_clusters: groups of items, of equal size.
        branching: successors of an item.
        follow: probability of going to a successor.
        string_ids: ids like "user-17" and "item-17" instead of integers.

    Returns:
        Interactions with users and items in order of first appearance by time, timestamps int64 in seconds.

    Raises:
        ConfigError: a size below 1, `mean_length` below `min_length`, or `follow` outside 0..1.
    """
    sizes = {"n_users": n_users, "n_items": n_items, "min_length": min_length}
    sizes |= {"n_clusters": n_clusters, "branching": branching}
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} {size}: use 1 or more")
    if mean_length < min_length:
        raise ConfigError(f"mean_length {mean_length} is below min_length {min_length}: raise it")
    if not 0 <= follow <= 1:
        raise ConfigError(f"follow {follow} is no probability: use 0 to 1")
    rng = np.random.default_rng(seed)
    lengths = min_length - 1 + rng.geometric(1 / (mean_length - min_length + 1), n_users)
    offsets = np.zeros(n_users + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    catalogue = _Catalogue.draw(rng, n_items, min(n_clusters, n_items), branching)
    items = _walk(rng, catalogue, offsets, follow)
    timestamps = _timestamps(rng, offsets)
    first = first_rows(items[np.argsort(timestamps, kind="stable")], n_items)
    by_appearance = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(items))]
    index = np.zeros(n_items, np.int32)
    index[by_appearance] = np.arange(1, len(by_appearance) + 1, dtype=np.int32)
    user_ids = np.arange(1, n_users + 1)
    item_ids = by_appearance + 1
    return Interactions(
        user_ids=_names("user", user_ids) if string_ids else user_ids,
        item_ids=_names("item", item_ids) if string_ids else item_ids,
        items=index[items],
        offsets=offsets,
        timestamps=timestamps,
    )


def _names(prefix: str, numbers: PositionsArray) -> IdsArray:
    return np.array([f"{prefix}-{number}" for number in numbers.tolist()], dtype=object)


@dataclass(frozen=True, eq=False)
class _Catalogue:
    """Items 0..V-1 in C clusters: cluster c has `members[starts[c]:starts[c + 1]]`, most popular first."""

    members: CodesArray  # [V]
    starts: RowOffsetsArray  # [C + 1]
    successors: SuccessorsArray
    branch_ends: UniformArray  # [branching] cumulative probabilities

    @classmethod
    def draw(cls, rng: np.random.Generator, n_items: int, n_clusters: int, branching: int) -> _Catalogue:
        members = rng.permutation(n_items).astype(np.int32)
        starts = np.linspace(0, n_items, n_clusters + 1).astype(np.int64)
        cluster = np.repeat(np.arange(n_clusters), np.diff(starts))
        following = np.arange(1, n_items + 1)
        following[starts[1:] - 1] = starts[:-1]  # the last of a cluster leads to its first
        successors = np.empty((n_items, branching), np.int32)
        for branch in range(branching):
            # A random cycle through each cluster: every item is as often a successor as it has successors.
            cycle = members[np.lexsort((rng.random(n_items), cluster))]
            successors[cycle, branch] = cycle[following]
        weights = 0.5 ** np.arange(branching)
        return cls(members, starts, successors, np.cumsum(weights / weights.sum()))

    def popular(self, clusters: PositionsArray, uniform: UniformArray) -> CodesArray:
        """An item of each given cluster, by popularity."""
        sizes = self.starts[clusters + 1] - self.starts[clusters]
        ranks = (sizes * uniform**_POPULARITY_SKEW).astype(np.int64)
        items: CodesArray = self.members[self.starts[clusters] + ranks]
        return items

    def succeeding(self, items: CodesArray, uniform: UniformArray) -> CodesArray:
        """A successor of each given item."""
        branches = np.searchsorted(self.branch_ends[:-1], uniform, side="right")
        following: CodesArray = self.successors[items, branches]
        return following


def _walk(rng: np.random.Generator, catalogue: _Catalogue, offsets: RowOffsetsArray, follow: float) -> CodesArray:
    """All users' items, drawn step by step for all users at once."""
    lengths = np.diff(offsets)
    longest_first = np.argsort(-lengths, kind="stable")
    starts = offsets[longest_first]
    still_walking = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(lengths.max()), side="right")
    n_clusters = len(catalogue.starts) - 1
    clusters = rng.integers(n_clusters, size=len(lengths))
    current = catalogue.popular(clusters, rng.random(len(lengths)))
    items = np.empty(offsets[-1], np.int32)
    items[starts] = current
    for step, n in enumerate(still_walking[1:], start=1):
        clusters, current = clusters[:n], current[:n]
        jumps = rng.random(n) >= follow
        changes = jumps & (rng.random(n) < _CHANGE_CLUSTER)
        clusters = np.where(changes, rng.integers(n_clusters, size=n), clusters)
        uniform = rng.random(n)
        current = np.where(jumps, catalogue.popular(clusters, uniform), catalogue.succeeding(current, uniform))
        items[starts[:n] + step] = current
    return items


def _timestamps(rng: np.random.Generator, offsets: RowOffsetsArray) -> TimestampsArray:
    """Seconds: users arrive in their order, and go on with exponential gaps, some of them zero."""
    lengths = np.diff(offsets)
    arrivals = np.sort(rng.integers(_PERIOD, size=len(lengths)))
    gaps = np.ceil(rng.exponential(_MEAN_GAP, offsets[-1])).astype(np.int64)
    gaps[rng.random(len(gaps)) < _TIED] = 0
    times = np.cumsum(gaps)
    times += np.repeat(arrivals - times[offsets[:-1]], lengths)
    return times
