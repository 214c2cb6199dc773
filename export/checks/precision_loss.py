"""What a reduced precision costs in ranking quality."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from recblr.array_types import StateArray
from recblr.batches import gather_rows, pack_rows
from recblr.data import Targets
from recblr.errors import DataError
from recblr.evaluation import metrics_of_ranks
from recblr.export.onnx.graph_file import read_graph
from recblr.export.onnx.precision import emulated_graph
from recblr.runtime import Backend, Limits
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.bundle.plan_section import Precision

CUTOFF = 10
# Of one run on the CPU, where larger ones need memory and are no faster.
_CPU_LIMITS = Limits(rows=256, tokens=16_384)
_MOST_SCORES = 2**26  # of one run, 256 MiB


class _Rankings(NamedTuple):
    """The best items of every user, in the order of the targets' rows, and the targets: int32 [R, 10], [R]."""

    items: Int32[np.ndarray, "R c"]
    targets: Int32[np.ndarray, " R"]


def emulated_loss(bundle: Bundle, precision: Precision, targets: Targets) -> dict[str, Any]:
    """The precision loss, emulated on the CPU: values are rounded where a plan's are low, and products added in fp32.

    Args:
        bundle: its folder gets a file for the time that this takes.
        targets: in the model's indices.

    Returns:
        As `precision_loss`, with "measured": how.
    """
    rows = max(1, min(_CPU_LIMITS.rows, _MOST_SCORES // bundle.manifest.n_items))
    limits = Limits(rows=rows, tokens=_CPU_LIMITS.tokens)
    with tempfile.NamedTemporaryFile(dir=bundle.path, suffix=".onnx") as file:  # as its embedding may be in that folder
        file.write(emulated_graph(read_graph(bundle.model_path), precision).SerializeToString())
        file.flush()
        low, full = OnnxRuntimeBackend(Path(file.name)), OnnxRuntimeBackend(bundle.model_path)
        report = precision_loss(low, full, targets, bundle.initial_state, limits)
    return {"measured": f"{precision} emulated in ONNX Runtime on the CPU, not the plan", **report}


def precision_loss(
    backend: Backend, reference: Backend, targets: Targets, initial_state: StateArray, limits: Limits
) -> dict[str, Any]:
    """Measure the ranking quality that a reduced precision loses: rank all items for every user, in it and in fp32.

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
        no_pairs, k = np.empty((0, 2), np.int32), min(CUTOFF, backend.max_k)
        top_items, _, _ = backend.run(items, offsets.astype(np.int32), states, no_pairs, k)
        best.append(top_items)
    return _Rankings(np.concatenate(best), targets.targets[by_length].astype(np.int32))


def _ndcg(rankings: _Rankings) -> float:
    hits = rankings.items == rankings.targets[:, None]
    ranks = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1.0, np.inf)
    return metrics_of_ranks(ranks, (CUTOFF,))[f"ndcg@{CUTOFF}"]
