"""Comparison of two ways to run a bundle's graph, on random histories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    ScoresArray,
    StateArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import ExportError, short_reason
from recblr.runtime import Backend, Limits

# The largest difference allowed of ONNX Runtime, as a share of the largest value of its kind.
TOLERANCE = 1e-4

_SEED = 0
_ROWS = 24
_MOST_SCORES = 2**24  # of all rows, 64 MiB: of a large catalogue fewer rows are compared
_FEWEST_ROWS = 4
_MEAN_LENGTH = 20
_LONG_LENGTH = 500
_DENSE_LENGTH = 50
_EXCLUSIONS_PER_ROW = 12


class Batch(NamedTuple):
    """Inputs of the graph: int32 [N], int32 [B+1], float32 [B, S], int32 [M, 2]."""

    items: ItemsArray
    offsets: OffsetsArray
    state_in: StatesArray
    exclude: ExcludeArray


class _Result(NamedTuple):
    """Outputs of the graph: int32 [B, k], float32 [B, k], float32 [B, S]."""

    top_items: TopItemsArray
    top_scores: TopScoresArray
    state_out: StatesArray


class Reference(Protocol):
    """What a backend is compared with: it gives the right scores and states.

    Attributes:
        name: for messages.
        n_items: V.
        initial_state: float32 [S] of a new user.
    """

    name: str
    n_items: int
    initial_state: StateArray

    def answer(self, batch: Batch) -> tuple[ScoresArray, StatesArray]:
        """Every item's score float32 [B, V+1], -inf for item 0 and what is excluded; the new states [B, S]."""
        ...


class _Case(NamedTuple):
    """A batch for the backend, and the batch for which the reference gives the same answer."""

    name: str
    backend: Batch
    reference: Batch


@dataclass(frozen=True)
class _Difference:
    """The absolute differences in one case, and the limits that apply to them."""

    score: float
    state: float
    score_limit: float
    state_limit: float
    agreement: float

    @property
    def within_limits(self) -> bool:
        # Written so that a NaN, which compares as false, is beyond every limit.
        return self.score <= self.score_limit and self.state <= self.state_limit and self.agreement == 1

    def report(self) -> dict[str, float]:
        return {
            "max_score_difference": self.score,
            "max_state_difference": self.state,
            "top_k_agreement": self.agreement,
        }


def compare(
    backend: Backend,
    reference: Reference,
    backend_name: str,
    tolerance: float,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Compare a backend with a reference, on random histories.

    Cases: cold (new users, histories of very different lengths, one empty), dense (all of one length), single (one
    user), incremental (the cold histories cut at random points, resumed from the states that the backend gave for
    the first parts; the reference takes the whole), empty (nothing new after the cold histories), exclusions, and
    largest (only with limits: as many rows, tokens and exclusions as they allow).

    Args:
        backend: of the same model.
        reference: gives the right scores and states.
        backend_name: for messages.
        tolerance: the largest difference allowed, as a share of the largest absolute value of its kind.
        limits: the most that the backend takes at once; None for no largest case.

    Returns:
        JSON-ready: {"tolerance", "max_score_difference", "max_state_difference", "top_k_agreement", "cases": {name:
        {"rows", "tokens", and the last three}}}. Differences are absolute; the tolerance is relative to the largest
        absolute score, or state, of a case. top_k_agreement is the share of rows whose k items agree, where items
        whose scores are closer than the tolerance may change places.

    Raises:
        ExportError: beyond the tolerance, or the backend cannot run.
    """
    cases: dict[str, dict[str, Any]] = {}
    for case in _cases(backend, reference, backend_name, limits):
        result = _run(backend, case.backend, backend_name)
        difference = _difference(result, reference.answer(case.reference), tolerance)
        if not difference.within_limits:
            raise ExportError(
                f"{backend_name} and {reference.name} differ in the case {case.name!r}: scores by "
                f"{difference.score:.2g} (at most {difference.score_limit:.2g}), states by {difference.state:.2g} (at "
                f"most {difference.state_limit:.2g}), the best items agree in {difference.agreement:.1%} of rows"
            )
        sizes = {"rows": len(case.backend.state_in), "tokens": len(case.backend.items)}
        cases[case.name] = {**sizes, **difference.report()}
    return {
        "tolerance": tolerance,
        "max_score_difference": max(case["max_score_difference"] for case in cases.values()),
        "max_state_difference": max(case["max_state_difference"] for case in cases.values()),
        "top_k_agreement": min(case["top_k_agreement"] for case in cases.values()),
        "cases": cases,
    }


def _cases(backend: Backend, reference: Reference, backend_name: str, limits: Limits | None) -> Iterator[_Case]:
    random = np.random.default_rng(_SEED)
    n_items, initial = reference.n_items, reference.initial_state
    n_rows = min(_ROWS, max(_FEWEST_ROWS, _MOST_SCORES // n_items))
    n_rows = n_rows if limits is None else min(n_rows, limits.rows)
    longest = _LONG_LENGTH if limits is None else min(_LONG_LENGTH, limits.tokens // n_rows)

    def histories(lengths: list[int]) -> list[ItemsArray]:
        return [random.integers(1, n_items + 1, min(length, longest), dtype=np.int32) for length in lengths]

    def exclusions(n_pairs: int, n_rows: int) -> ExcludeArray:
        pairs = [random.integers(0, n_rows, n_pairs), random.integers(1, n_items + 1, n_pairs)]
        return np.stack(pairs, axis=1).astype(np.int32)

    lengths = random.geometric(1 / _MEAN_LENGTH, n_rows).tolist()
    lengths[:3] = [0, 1, _LONG_LENGTH][:n_rows]
    rows = histories(lengths)
    cold = _batch(rows, np.tile(initial, (n_rows, 1)))
    yield _Case("cold", cold, cold)

    dense = _batch(histories([_DENSE_LENGTH] * n_rows), cold.state_in)
    yield _Case("dense", dense, dense)

    single = _batch(histories([_MEAN_LENGTH]), initial[None])
    yield _Case("single", single, single)

    cuts = [int(random.integers(0, len(row) + 1)) for row in rows]
    first = _batch([row[:cut] for row, cut in zip(rows, cuts, strict=True)], cold.state_in)
    resumed = [row[cut:] for row, cut in zip(rows, cuts, strict=True)]
    yield _Case("incremental", _batch(resumed, _run(backend, first, backend_name).state_out), cold)

    nothing_new = _batch([row[:0] for row in rows], _run(backend, cold, backend_name).state_out)
    yield _Case("empty", nothing_new, cold)

    n_pairs = n_rows * _EXCLUSIONS_PER_ROW
    n_pairs = n_pairs if limits is None else min(n_pairs, limits.exclusions)
    excluding = cold._replace(exclude=exclusions(n_pairs, n_rows))
    yield _Case("exclusions", excluding, excluding)

    if limits is not None:
        offsets = np.linspace(0, limits.tokens, limits.rows + 1).astype(np.int32)
        items = random.integers(1, n_items + 1, limits.tokens, dtype=np.int32)
        states = np.tile(initial, (limits.rows, 1))
        largest = Batch(items, offsets, states, exclusions(limits.exclusions, limits.rows))
        yield _Case("largest", largest, largest)


def _batch(rows: list[ItemsArray], state_in: StatesArray) -> Batch:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return Batch(np.concatenate(rows), offsets, state_in, np.empty((0, 2), np.int32))


def _run(backend: Backend, batch: Batch, name: str) -> _Result:
    try:
        return _Result(*backend.run(*batch, backend.max_k))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ExportError(
            f"{name} cannot run the exported graph ({short_reason(error)}): try another version"
        ) from error


def _difference(result: _Result, answer: tuple[ScoresArray, StatesArray], tolerance: float) -> _Difference:
    all_scores, states = answer
    k = result.top_items.shape[1]
    best = np.stack([np.sort(np.partition(row, -k)[-k:])[::-1] for row in all_scores])  # a row's memory at a time
    # The reference's score of the items that the backend ranks; an index that no item has counts as a wrong score.
    exists = (result.top_items >= 0) & (result.top_items < all_scores.shape[1])
    of_ranked = np.take_along_axis(all_scores, np.where(exists, result.top_items, 0), axis=1)

    score_limit = tolerance * _largest(all_scores)
    state_limit = tolerance * _largest(states)
    as_good = np.where(exists, _distance(of_ranked, best), np.inf) <= score_limit
    # Where a row has no more items to rank, any index may stand.
    ranked = [row[scores > -np.inf] for row, scores in zip(result.top_items, result.top_scores, strict=True)]
    once = np.array([len(np.unique(row)) == len(row) for row in ranked])
    return _Difference(
        score=float(_distance(of_ranked, result.top_scores).max()),
        state=float(np.abs(states - result.state_out).max()),
        score_limit=score_limit,
        state_limit=state_limit,
        agreement=float(np.mean(as_good.all(axis=1) & once)),
    )


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, and 0 where both are -inf."""
    distance: np.ndarray = np.abs(np.subtract(a, b, out=np.zeros_like(a), where=~(np.isneginf(a) & np.isneginf(b))))
    return distance


def _largest(values: np.ndarray) -> float:
    return float(np.max([np.abs(row[~np.isneginf(row)]).max(initial=0) for row in values], initial=0))
