"""What a reduced precision costs in ranking quality."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from jaxtyping import Int32

from recblr.batches import gather_rows, pack_rows
from recblr.data import Targets
from recblr.errors import DataError
from recblr.evaluation import metrics_of_ranks
from recblr.export.precision import emulated_graph
from recblr.runtime import Backend, Limits
from recblr.runtime.bundle import MODEL_FILE, StateArray
from recblr.runtime.onnxruntime_backend import OnnxRuntimeBackend
from recblr.runtime.precision_names import Precision

CUTOFF = 10
# Of one run on the CPU, where larger ones need memory and are no faster.
_CPU_LIMITS = Limits(rows=256, tokens=16_384)


class _Rankings(NamedTuple):
    """The best items of every user, in the order of the targets' rows, and the targets: int32 [R, 10], [R]."""

    items: Int32[np.ndarray, "R c"]
    targets: Int32[np.ndarray, " R"]


def emulated_loss(
    model: onnx.ModelProto, precision: Precision, targets: Targets, initial_state: StateArray
) -> dict[str, Any]:
    """The loss on this machine's CPU: values are rounded where the engine's are low, and products added in fp32.

    Args:
        model: the fp32 graph of a bundle.
        targets: in the model's indices.

    Returns:
        As `precision_loss`, with "measured": how.
    """
    with tempfile.TemporaryDirectory() as folder:
        low, full = Path(folder) / "low.onnx", Path(folder) / MODEL_FILE
        onnx.save(emulated_graph(model, precision), low)
        onnx.save(model, full)
        report = precision_loss(OnnxRuntimeBackend(low), OnnxRuntimeBackend(full), targets, initial_state, _CPU_LIMITS)
    return {"measured": f"{precision} emulated in ONNX Runtime on the CPU, not the engine", **report}


def precision_loss(
    backend: Backend, reference: Backend, targets: Targets, initial_state: StateArray, limits: Limits
) -> dict[str, Any]:
    """Rank every user's next item with both, nothing excluded.

    Args:
        backend: in reduced precision; ranks at least `CUTOFF` items, or all.
        reference: of the same model in fp32.
        targets: in the model's indices; rows whose target the model does not know are misses.
        initial_state: [S].
        limits: the most that both take at once; of a longer history the last items count.

    Returns:
        JSON-ready: {"users", "ndcg@10", "ndcg@10_fp32", "ndcg@10_loss" (the difference), "top_10_overlap": the mean
        share of a user's ten best items in fp32 that are among the ten best of the backend}.

    Raises:
        DataError: no rows.
    """
    if not len(targets.targets):
        raise DataError("no user is left to evaluate: give data with longer histories, or other split times")
    low = _rank(backend, targets, initial_state, limits)
    full = _rank(reference, targets, initial_state, limits)
    shared = [len(np.intersect1d(a, b)) / len(b) for a, b in zip(low.items, full.items, strict=True)]
    ndcg, ndcg_fp32 = _ndcg(low), _ndcg(full)
    return {
        "users": len(targets.targets),
        "ndcg@10": ndcg,
        "ndcg@10_fp32": ndcg_fp32,
        "ndcg@10_loss": ndcg_fp32 - ndcg,
        "top_10_overlap": float(np.mean(shared)),
    }


def _rank(backend: Backend, targets: Targets, initial_state: StateArray, limits: Limits) -> _Rankings:
    histories = targets.histories
    lengths = np.minimum(np.diff(histories.offsets), limits.tokens)
    starts = histories.offsets[1:] - lengths
    by_length = np.argsort(lengths, kind="stable")
    best: list[np.ndarray] = []
    for rows in pack_rows(lengths[by_length], limits.tokens, limits.rows):
        index = by_length[rows]
        place, offsets = gather_rows(histories.items, starts[index], lengths[index])
        items = histories.items[place].astype(np.int32)
        states = np.tile(initial_state, (len(index), 1))
        top_items, _, _ = backend.run(items, offsets.astype(np.int32), states, np.empty((0, 2), np.int32))
        best.append(top_items[:, :CUTOFF])
    return _Rankings(np.concatenate(best), targets.targets[by_length].astype(np.int32))


def _ndcg(rankings: _Rankings) -> float:
    hits = rankings.items == rankings.targets[:, None]
    ranks = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
    return metrics_of_ranks(ranks, (CUTOFF,))[f"ndcg@{CUTOFF}"]
