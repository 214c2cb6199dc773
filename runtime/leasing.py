"""Steps on states that stay on the GPU: the backend feeds and ranks, the engine does what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray, TopItemsArray, TopScoresArray
from recblr.errors import RequestError
from recblr.item_ids import is_sequence
from recblr.runtime.allow_list import AllowList
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.gpu.slots import Lease
from recblr.runtime.gpu.state_pool import DeviceStates, LeasingBackend
from recblr.runtime.inputs import Exclude, Only, RowsOfIds
from recblr.runtime.limits import Limits
from recblr.runtime.ranking import Ranking

Step = Callable[..., tuple[list[Ranking], StatesArray]]  # as `Engine.step`


@dataclass(slots=True, eq=False)
class LeasedStates:
    """Leased states in a pool on the GPU, which take the place of an array of states [B, S]."""

    pool: DeviceStates
    lease: Lease


def rank_leased(
    bundle: Bundle,
    backend: LeasingBackend,
    step: Step,
    states: LeasedStates,
    new_items: RowsOfIds,
    k: int,
    exclude: Exclude,
    only: Only,
) -> list[Ranking]:
    """Feed new items to leased states, and rank; see `recblr.runtime.Engine.step_leased`.

    Args:
        bundle: of the model.
        backend: runs it.
        step: ranks from the host what the backend cannot: allow-lists, more than `max_k` results, new users.
        states, new_items, exclude, only: see `Engine.step_leased`.
        k: results per row, checked.
    """
    items, unknown = _encoded(bundle, new_items, "new_items")
    n_rows = len(items)
    if n_rows != len(states.lease.users):
        raise RequestError(f"the lease is of {len(states.lease.users)} users, new_items of {n_rows}")
    if exclude is None:
        exclude = [()] * n_rows
    elif is_sequence(exclude):
        exclude = [() if row is None else row for row in exclude]
    excluded = [np.unique(row) for row in _encoded(bundle, exclude, "exclude")[0]]
    if len(excluded) != n_rows:
        raise RequestError(f"exclude has {len(excluded)} rows for {n_rows}: give one list per row, or None")
    if isinstance(only, list | tuple) and len(only) == n_rows and all(entry is None for entry in only):
        only = None
    if only is not None and n_rows:
        step(None, [()] * n_rows, 1, None, only)  # its errors, before any state changes
    lists = _lists(only, n_rows)
    rankings: list[Ranking] = []
    for rows in _parts(items, excluded, backend.limits):
        rankings += _rank_part(bundle, backend, step, states, rows, items, excluded, lists, k)
    return [_with_unknown(ranking, skipped) for ranking, skipped in zip(rankings, unknown, strict=True)]


def _rank_part(
    bundle: Bundle,
    backend: LeasingBackend,
    step: Step,
    states: LeasedStates,
    rows: slice,
    items: Sequence[ItemsArray],
    excluded: Sequence[ItemsArray],
    lists: Sequence[Any],
    k: int,
) -> list[Ranking]:
    lease = states.lease.rows(rows)
    given = list(items[rows])
    for b, row in enumerate(given):
        given[b] = _fed(backend, states.pool, lease.rows(slice(b, b + 1)), row)
    by_backend = [k <= backend.max_k and only is None for only in lists[rows]]
    pairs = _pairs(excluded[rows] if any(by_backend) else [])
    top_items, top_scores, new_states = backend.run_leased(
        *_ragged(given), states.pool, lease, pairs, fetch=not all(by_backend)
    )
    # Nothing was ever fed to the states of the others: their popular items do not depend on them.
    from_host = [b for b in range(len(given)) if not (by_backend[b] and lease.fed[b])]
    rankings: dict[int, Ranking] = {}
    if from_host:
        held = [new_states[b] if lease.fed[b] else None for b in from_host]
        places = [rows.start + b for b in from_host]
        ranked, _ = step(
            held,
            [()] * len(held),
            k,
            [[bundle.item(int(index)) for index in excluded[place]] for place in places],
            [lists[place] for place in places],
        )
        rankings = dict(zip(from_host, ranked, strict=True))
    for b in range(len(given)):
        if b not in rankings:
            rankings[b] = _ranking(bundle, rows.start + b, top_items[b, :k], top_scores[b, :k])
    return [rankings[b] for b in range(len(given))]


def _ranking(bundle: Bundle, row: int, items: TopItemsArray, scores: TopScoresArray) -> Ranking:
    if np.isnan(scores).any():
        raise RequestError(
            f"row {row}: the scores are not numbers; was its state made by model {bundle.manifest.fingerprint}?"
        )
    ranked = scores > -np.inf
    return Ranking([bundle.item(index) for index in items[ranked].tolist()], scores[ranked], 0, popular=False)


def _with_unknown(ranking: Ranking, unknown: int) -> Ranking:
    return Ranking(ranking.items, ranking.scores, unknown, ranking.popular)


def _encoded(bundle: Bundle, rows: object, name: str) -> tuple[list[ItemsArray], list[int]]:
    indices, offsets, unknown = bundle.core.encode(rows, name)
    return [indices[start:stop] for start, stop in pairwise(offsets.tolist())], unknown.tolist()


def _lists(only: Only, n_rows: int) -> list[Any]:
    """Each row's entry of `only`, which is of a right form; None where it may have all."""
    if only is None or isinstance(only, AllowList):
        return [only] * n_rows
    entries: list[Any] = list(only)
    first = entries[0] if entries else 0
    has_lists = (first is None and isinstance(only, list | tuple)) or isinstance(first, AllowList) or is_sequence(first)
    return entries if has_lists else [only] * n_rows


def _parts(items: Sequence[ItemsArray], excluded: Sequence[ItemsArray], limits: Limits) -> Iterator[slice]:
    """Consecutive rows within the limits; a row by itself may exceed that of exclusions."""
    start = tokens = exclusions = 0
    for row in range(len(items)):
        # What is left of a longer row once it was fed in pieces is at most the limit.
        row_tokens, row_exclusions = min(len(items[row]), limits.tokens), len(excluded[row])
        is_full = (
            row - start == limits.rows
            or tokens + row_tokens > limits.tokens
            or exclusions + row_exclusions > limits.exclusions
        )
        if is_full and row > start:
            yield slice(start, row)
            start, tokens, exclusions = row, 0, 0
        tokens += row_tokens
        exclusions += row_exclusions
    if start < len(items):
        yield slice(start, len(items))


def _fed(backend: LeasingBackend, pool: DeviceStates, lease: Lease, items: ItemsArray) -> ItemsArray:
    """Feed a row's items to its state while they exceed the limit; return the rest."""
    size = backend.limits.tokens
    while len(items) > size:
        backend.run_leased(*_ragged([items[:size]]), pool, lease, _pairs([]))
        items = items[size:]
    return items


def _ragged(rows: Sequence[ItemsArray]) -> tuple[ItemsArray, OffsetsArray]:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return np.concatenate(rows), offsets


def _pairs(exclusions: Sequence[ItemsArray]) -> ExcludeArray:
    """The exclusions of all rows as int32 [M, 2] pairs of (row, item)."""
    rows = np.repeat(np.arange(len(exclusions)), [len(row) for row in exclusions])
    return np.stack([rows, np.concatenate([np.empty(0, np.int32), *exclusions])], axis=1).astype(np.int32)
