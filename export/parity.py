"""Does a bundle's ONNX file, run as the runtime runs it, give what PyTorch gives?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray, TopItemsArray, TopScoresArray
from recblr.errors import BundleError, ConfigError, ExportError
from recblr.export.graph import InferenceModel
from recblr.model import RecBLR
from recblr.runtime import Backend
from recblr.runtime.onnxruntime_backend import NativeOpsError, OnnxRuntimeBackend, library_with_ops

# The largest difference allowed, as a share of the largest value of its kind.
TOLERANCE = 1e-4

_SEED = 0
_ROWS = 24
_MEAN_LENGTH = 20
_LONG_LENGTH = 500
_DENSE_LENGTH = 50
_EXCLUSIONS_PER_ROW = 12


class _Batch(NamedTuple):
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


class _Case(NamedTuple):
    """What ONNX Runtime is given, and what PyTorch is given for the same answer."""

    name: str
    onnx: _Batch
    torch: _Batch


@dataclass(frozen=True)
class _Difference:
    """Of one case; absolute differences, and the limits that apply to them."""

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


def check_parity(model: RecBLR, onnx_path: Path, max_k: int) -> dict[str, Any]:
    """Compare ONNX Runtime on the CPU with PyTorch, on random histories.

    ONNX Runtime is checked with the file's local functions and, where the native library has operators for it, with
    those.

    Cases: cold (new users, histories of very different lengths, one empty), dense (all of one length), single (one
    user), incremental (the cold histories cut at random points, resumed from the states that ONNX Runtime gave for
    the first parts; PyTorch takes the whole), empty (nothing new after the cold histories), and exclusions.

    Args:
        model: on the CPU; it is put into evaluation mode.
        onnx_path: its exported graph.
        max_k: as it was exported.

    Returns:
        JSON-ready: {"tolerance", "max_score_difference", "max_state_difference", "top_k_agreement", "ops": {"functions"
        or "native": {name: {"rows", "tokens", "max_score_difference", "max_state_difference", "top_k_agreement"}}}};
        the first three are the worst of all cases. Differences are absolute; the tolerance is relative to the largest
        absolute score, or state, of a case. top_k_agreement is the share of rows whose k items agree, where items
        whose scores are closer than the tolerance may change places.

    Raises:
        ExportError: beyond the tolerance, or ONNX Runtime cannot run the graph.
    """
    inference = InferenceModel(model, min(max_k, model.config.n_items))
    ops = {backend.ops: _check_cases(inference, backend) for backend in _backends(onnx_path)}
    results = [case for cases in ops.values() for case in cases.values()]
    return {
        "tolerance": TOLERANCE,
        "max_score_difference": max(case["max_score_difference"] for case in results),
        "max_state_difference": max(case["max_state_difference"] for case in results),
        "top_k_agreement": min(case["top_k_agreement"] for case in results),
        "ops": ops,
    }


def _backends(onnx_path: Path) -> list[OnnxRuntimeBackend]:
    try:
        library_with_ops("cpu")
        ways = [False, True]
    except NativeOpsError:
        ways = [False]
    try:
        return [OnnxRuntimeBackend(onnx_path, native_ops=native) for native in ways]
    except (BundleError, ConfigError) as error:
        raise ExportError(f"the exported graph cannot be loaded: {error}") from error


def _check_cases(inference: InferenceModel, backend: OnnxRuntimeBackend) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for case in _cases(inference.model, backend):
        difference = _compare(_run(backend, case.onnx), inference, case.torch)
        if not difference.within_limits:
            raise ExportError(
                f"ONNX Runtime and PyTorch differ in the case {case.name!r}: scores by {difference.score:.2g} (at most "
                f"{difference.score_limit:.2g}), states by {difference.state:.2g} (at most "
                f"{difference.state_limit:.2g}), the best items agree in {difference.agreement:.1%} of rows "
                f"({backend.description}); no bundle was written: check that the weights are finite, or try other "
                "versions of torch and onnxruntime"
            )
        sizes = {"rows": len(case.onnx.state_in), "tokens": len(case.onnx.items)}
        cases[case.name] = {**sizes, **difference.report()}
    return cases


def _cases(model: RecBLR, backend: Backend) -> Iterator[_Case]:
    random = np.random.default_rng(_SEED)
    n_items = model.config.n_items
    initial = model.initial_state().detach().numpy()

    def histories(lengths: list[int]) -> list[ItemsArray]:
        return [random.integers(1, n_items + 1, length, dtype=np.int32) for length in lengths]

    lengths = random.geometric(1 / _MEAN_LENGTH, _ROWS).tolist()
    lengths[:3] = [0, 1, _LONG_LENGTH]
    rows = histories(lengths)
    cold = _batch(rows, np.tile(initial, (_ROWS, 1)))
    yield _Case("cold", cold, cold)

    dense = _batch(histories([_DENSE_LENGTH] * _ROWS), cold.state_in)
    yield _Case("dense", dense, dense)

    single = _batch(histories([_MEAN_LENGTH]), initial[None])
    yield _Case("single", single, single)

    cuts = [int(random.integers(0, len(row) + 1)) for row in rows]
    first = _batch([row[:cut] for row, cut in zip(rows, cuts, strict=True)], cold.state_in)
    resumed = [row[cut:] for row, cut in zip(rows, cuts, strict=True)]
    yield _Case("incremental", _batch(resumed, _run(backend, first).state_out), cold)

    nothing_new = _batch([row[:0] for row in rows], _run(backend, cold).state_out)
    yield _Case("empty", nothing_new, cold)

    pairs = [random.integers(0, _ROWS, _ROWS * _EXCLUSIONS_PER_ROW)]
    pairs.append(random.integers(1, n_items + 1, len(pairs[0])))
    excluding = cold._replace(exclude=np.stack(pairs, axis=1).astype(np.int32))
    yield _Case("exclusions", excluding, excluding)


def _batch(rows: list[ItemsArray], state_in: StatesArray) -> _Batch:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return _Batch(np.concatenate(rows), offsets, state_in, np.empty((0, 2), np.int32))


def _run(backend: Backend, batch: _Batch) -> _Result:
    try:
        return _Result(*backend.run(*batch))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"ONNX Runtime cannot run the exported graph ({reason}): try another version") from error


@torch.inference_mode()
def _compare(result: _Result, inference: InferenceModel, batch: _Batch) -> _Difference:
    items, offsets, state_in, exclude = map(torch.from_numpy, batch)
    queries, states = inference.model.query(items, offsets, state_in)
    all_scores = inference.rankable(queries, exclude)
    best = all_scores.topk(inference.k).values.numpy()
    # PyTorch's score of the items that ONNX Runtime ranks; an index that no item has counts as a wrong score.
    exists = (result.top_items >= 0) & (result.top_items < all_scores.shape[1])
    of_ranked = np.take_along_axis(all_scores.numpy(), np.where(exists, result.top_items, 0), axis=1)

    score_limit = TOLERANCE * _largest(all_scores.numpy())
    state_limit = TOLERANCE * _largest(states.numpy())
    as_good = np.where(exists, _distance(of_ranked, best), np.inf) <= score_limit
    once = np.array([len(np.unique(row)) == len(row) for row in result.top_items])
    return _Difference(
        score=float(_distance(of_ranked, result.top_scores).max()),
        state=float(np.abs(states.numpy() - result.state_out).max()),
        score_limit=score_limit,
        state_limit=state_limit,
        agreement=float(np.mean(as_good.all(axis=1) & once)),
    )


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, and 0 where both are -inf."""
    distance: np.ndarray = np.abs(np.subtract(a, b, out=np.zeros_like(a), where=~(np.isneginf(a) & np.isneginf(b))))
    return distance


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[~np.isneginf(values)]).max(initial=0))
