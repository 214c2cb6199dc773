"""Is the exported graph the model? ONNX Runtime against PyTorch on random ragged histories."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from recblr.errors import ExportError
from recblr.model import RecBLR
from recblr.runtime.onnxruntime_backend import OnnxRuntimeBackend

# Relative to the largest magnitude in PyTorch's result, or absolute where that is below 1. float32 through two layers
# and 2,000 steps stays a hundred times below it.
TOLERANCE = 1e-4
_LENGTHS = (0, 1, 2, 3, 5, 17, 60, 200, 2000)


@dataclass(frozen=True)
class CaseReport:
    """Largest differences of one case, relative as `TOLERANCE` says, and agreement of the rankings.

    Attributes:
        top_scores, state: largest difference.
        top_k_agreement: share of places that hold PyTorch's item, or one that PyTorch scores the same within
            the tolerance.
    """

    rows: int
    tokens: int
    top_scores: float
    state: float
    top_k_agreement: float


def check_parity(model: RecBLR, onnx_file: Path, max_k: int, seed: int = 0) -> dict[str, Any]:
    """Run the file in ONNX Runtime and the model in PyTorch: whole histories, histories continued, and nothing new.

    Args:
        model: in evaluation mode, on the CPU.
        onnx_file: its export.
        max_k: results per row.
        seed: of the random histories.

    Returns:
        {"tolerance", "onnxruntime", "cases": {name: `CaseReport`}}, JSON-ready.

    Raises:
        ExportError: a difference beyond the tolerance, or rankings that disagree.
        BundleError: ONNX Runtime cannot load the file.
    """
    backend = OnnxRuntimeBackend(onnx_file)
    generator = np.random.default_rng(seed)
    config = model.config
    histories = [generator.integers(1, config.n_items + 1, length).astype(np.int32) for length in _LENGTHS]
    cuts = [int(generator.integers(0, len(history) + 1)) for history in histories]
    new = np.tile(model.initial_state().detach().numpy(), (len(histories), 1))
    nothing = [history[:0] for history in histories]
    cases = {}
    cases["cold"], whole = _compare(model, backend, histories, new, max_k, generator)
    _, begun = _compare(model, backend, [h[:c] for h, c in zip(histories, cuts, strict=True)], new, max_k, generator)
    rest = [history[cut:] for history, cut in zip(histories, cuts, strict=True)]
    cases["incremental"], continued = _compare(model, backend, rest, begun, max_k, generator)
    cases["empty"], _ = _compare(model, backend, nothing, whole, max_k, generator)
    split_difference = _difference(continued, whole)
    report = {
        "tolerance": TOLERANCE,
        "onnxruntime": onnxruntime.__version__,
        "cases": {name: asdict(case) for name, case in cases.items()},
        "split_and_resume": split_difference,
    }
    worst = max(split_difference, *(max(case.top_scores, case.state) for case in cases.values()))
    agreement = min(case.top_k_agreement for case in cases.values())
    if not (worst <= TOLERANCE and agreement == 1.0):  # written so that NaN fails
        raise ExportError(
            f"ONNX Runtime differs from PyTorch by {worst:.2g} (allowed: {TOLERANCE:g}) with {agreement:.2%} of the "
            "rankings equal: nothing was written; check the model's weights, or report this"
        )
    return report


def _compare(
    model: RecBLR,
    backend: OnnxRuntimeBackend,
    histories: list[np.ndarray],
    states: np.ndarray,
    max_k: int,
    generator: np.random.Generator,
) -> tuple[CaseReport, np.ndarray]:
    """One batch through both; returns the report and ONNX Runtime's states."""
    items = np.concatenate(histories).astype(np.int32)
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int32)
    n_items = model.config.n_items
    n_excluded = min(5, n_items - max_k) * len(histories)
    exclude = np.stack(
        [generator.integers(0, len(histories), n_excluded), generator.integers(1, n_items + 1, n_excluded)], axis=1
    ).astype(np.int32)
    top_items, top_scores, state = backend.run(items, offsets, states, exclude)
    with torch.inference_mode():
        query, expected_state = model.query(*map(torch.from_numpy, (items, offsets, states)))
        scores = model.scores(query)
        scores[exclude[:, 0], exclude[:, 1]] = -torch.inf
        expected_scores = scores.topk(max_k, dim=1).values
        scores_of_given = scores.gather(1, torch.from_numpy(top_items).long())
    tolerated = TOLERANCE * _scale(expected_scores.numpy())
    agreeing = _close(scores_of_given.numpy(), expected_scores.numpy(), tolerated)
    return (
        CaseReport(
            rows=len(histories),
            tokens=len(items),
            top_scores=_difference(top_scores, expected_scores.numpy()),
            state=_difference(state, expected_state.numpy()),
            top_k_agreement=float(agreeing.mean()),
        ),
        state,
    )


def _scale(expected: np.ndarray) -> float:
    finite = np.abs(expected[np.isfinite(expected)])
    return max(1.0, float(finite.max(initial=0.0)))


def _close(given: np.ndarray, expected: np.ndarray, tolerated: float) -> np.ndarray:
    """Elementwise; equal infinities are close."""
    with np.errstate(invalid="ignore"):
        close: np.ndarray = (given == expected) | (np.abs(given - expected) <= tolerated)
    return close


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference relative to the scale of `expected`; NaN where only one of two is finite."""
    with np.errstate(invalid="ignore"):
        difference = np.where(given == expected, 0.0, np.abs(given - expected))
    return float(difference.max(initial=0.0)) / _scale(expected)
