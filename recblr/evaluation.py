"""Ranking quality over the full catalogue: HR, NDCG and MRR."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recblr.batches import gather_rows, pack_rows
from recblr.data import Interactions, Sequences, Targets
from recblr.errors import DataError, TrainingError, shown
from recblr.item_ids import exact_id, id_type_of
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

CUTOFFS = (10, 20)
# Bounds of one scoring run: tokens through the model, and float32 scores held at once (256 MB).
_MAX_TOKENS = 32_768
_MAX_SCORES = 64 * 2**20

_log = logging.getLogger(__name__)

Scorer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: {"hr@10": ..., "ndcg@10": ..., "mrr@10": ..., "hr@20": ..., ...}, means over rows, each from 0 to 1.
        rows: users evaluated.
        unknown_targets: rows whose true next item the model does not know; they count as misses.
        repeated_targets: rows whose true next item is in their history. Where seen items are masked, as in serving,
            they cannot be recommended and count as misses.
        last_item_targets: those of them whose true next item is the last of their history.
    """

    metrics: dict[str, float]
    rows: int
    unknown_targets: int
    repeated_targets: int
    last_item_targets: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        counts = ("rows", "unknown_targets", "repeated_targets", "last_item_targets")
        return {**self.metrics, **{name: getattr(self, name) for name in counts}}


def target_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Rank of each row's target, from 1; tied items all take the mean of the positions they share.

    Args:
        scores: [B, V+1]; column 0 must be -inf.
        targets: [B] integers from 1 to V.

    Returns:
        float64 [B].

    Raises:
        TrainingError: a score is not a number.
    """
    if torch.isnan(scores).any():
        raise TrainingError(
            "the model's scores are not numbers (NaN): its weights are damaged or its training diverged"
        )
    own = scores.gather(1, targets[:, None])
    higher = (scores > own).sum(dim=1)
    equal = (scores == own).sum(dim=1)
    return higher.double() + (equal.double() + 1) / 2


def metrics_of_ranks(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
    """HR, NDCG and MRR at each cutoff: means over `ranks` [R], which start at 1; inf is a miss."""
    result = {}
    for cutoff in cutoffs:
        hit = ranks <= cutoff
        result[f"hr@{cutoff}"] = float(np.mean(hit))
        result[f"ndcg@{cutoff}"] = float(np.mean(np.where(hit, 1 / np.log2(ranks + 1), 0.0)))
        result[f"mrr@{cutoff}"] = float(np.mean(np.where(hit, 1 / ranks, 0.0)))
    return result


def rank_targets(scorer: Scorer, targets: Targets, n_items: int, mask_seen: bool = False) -> np.ndarray:
    """Rank of every row's target among all items, float64 [R].

    Args:
        scorer: (items [N] int64, offsets [B+1] int64) -> scores [B, V+1], column 0 at -inf; they may be
            written to.
        targets: rows with their histories; a target of 0 is an item the model does not know, and ranks at inf.
        mask_seen: leave the history's items out of the ranking, as serving does. A target among them ranks at inf.
    """
    histories, wanted = targets.histories, targets.targets
    lengths = np.diff(histories.offsets)
    ranks = np.full(len(lengths), np.inf)
    max_rows = max(1, _MAX_SCORES // (n_items + 1))
    by_length = np.argsort(lengths, kind="stable")
    for rows in pack_rows(lengths[by_length], _MAX_TOKENS, max_rows):
        index = by_length[rows]
        index = index[wanted[index] > 0]
        if not len(index):
            continue
        place, offsets = gather_rows(histories.items, histories.offsets[index], lengths[index])
        items = torch.from_numpy(histories.items[place]).long()
        target = torch.from_numpy(wanted[index]).long()
        scores = scorer(items, torch.from_numpy(offsets))
        if mask_seen:
            row = torch.repeat_interleave(torch.arange(len(index)), torch.from_numpy(lengths[index]))
            scores[row, items] = -torch.inf
        ranks[index] = target_ranks(scores, target).cpu().numpy()
    if mask_seen:
        ranks[repeated_targets(targets)] = np.inf
    return ranks


def repeated_targets(targets: Targets) -> np.ndarray:
    """Which rows have their target in their history: bool [R]; never an unknown target."""
    histories = targets.histories
    is_target = histories.items == np.repeat(targets.targets, histories.lengths)
    before = np.concatenate([[0], np.cumsum(is_target)])
    repeated: np.ndarray = np.diff(before[histories.offsets]) > 0
    return repeated & (targets.targets > 0)


def _last_item_targets(targets: Targets) -> int:
    histories = targets.histories
    rows = np.flatnonzero(histories.lengths)
    last = histories.items[histories.offsets[1:][rows] - 1]
    return int(np.count_nonzero(last == targets.targets[rows]))


def model_scorer(model: RecBLR) -> Scorer:
    """The scorer of a model, on the model's device, in evaluation mode."""
    device = model.embedding.weight.device

    @torch.no_grad()  # not inference_mode: the ranking writes into the scores
    def score(items: Tensor, offsets: Tensor) -> Tensor:
        model.eval()
        items, offsets = items.to(device), offsets.to(device)
        query, state = model.query(items[:_MAX_TOKENS], offsets.clamp(max=_MAX_TOKENS))
        for start in range(_MAX_TOKENS, len(items), _MAX_TOKENS):  # the rest of each row, from the state before it
            rest = (offsets - start).clamp(min=0, max=_MAX_TOKENS)
            query, state = model.query(items[start : start + _MAX_TOKENS], rest, state)
        return model.scores(query).float().cpu()

    return score


def evaluate(model: RecBLR, targets: Targets, mask_seen: bool = False) -> Evaluation:
    """HR, NDCG and MRR at 10 and 20 over the full catalogue.

    Raises:
        DataError: no rows.
        TrainingError: scores that are not numbers.
    """
    if not len(targets.targets):
        raise DataError("no user is left to evaluate: give data with longer histories, or other split times")
    ranks = rank_targets(model_scorer(model), targets, model.config.n_items, mask_seen)
    return Evaluation(
        metrics_of_ranks(ranks),
        rows=len(ranks),
        unknown_targets=int(np.sum(targets.targets == 0)),
        repeated_targets=int(np.sum(repeated_targets(targets))),
        last_item_targets=_last_item_targets(targets),
    )


def translate_targets(targets: Targets, interactions: Interactions, vocabulary: ItemVocabulary) -> Targets:
    """The same rows in a model's indices.

    Items the model does not know are dropped from histories; as targets they become 0. Ids of the other type than the
    model's are converted where that is exact, with a word in the log.

    Raises:
        DataError: the model knows none of the data's items.
    """
    item_ids = interactions.item_ids.tolist()
    table = np.array([0, *map(vocabulary.index, item_ids)], np.int32)
    n_known = int(np.count_nonzero(table))
    types = f"the data's item ids are {id_type_of(item_ids[0])}s such as {_some(item_ids)}"
    if not n_known:
        raise DataError(
            f"the model knows none of the data's {len(item_ids):,} items: {types}, its own {vocabulary.id_type}s such "
            f"as {_some(vocabulary.ids)}; give data with the ids that it was trained with"
        )
    if id_type_of(item_ids[0]) != vocabulary.id_type:
        n_converted = sum(exact_id(item_id, vocabulary.id_type) is not None for item_id in item_ids)
        _log.warning(
            "%s, the model's %ss: %s of %s were converted, and it knows %s",
            *(types, vocabulary.id_type, f"{n_converted:,}", f"{len(item_ids):,}", f"{n_known:,}"),
        )
    items = table[targets.histories.items]
    known_before = np.concatenate([[0], np.cumsum(items > 0)])
    histories = Sequences(items[items > 0], known_before[targets.histories.offsets])
    return dataclasses.replace(targets, histories=histories, targets=table[targets.targets])


def _some(item_ids: list[Any]) -> str:
    return ", ".join(map(shown, item_ids[:3]))
