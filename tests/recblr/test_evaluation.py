"""Ranking metrics against a brute-force ranking."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recblr import evaluation
from recblr.config import RecBLRConfig
from recblr.data import Interactions, Sequences, Targets
from recblr.errors import DataError, TrainingError
from recblr.evaluation import (
    evaluate,
    metrics_of_ranks,
    model_scorer,
    rank_targets,
    target_ranks,
    translate_targets,
)
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

V = 15


def make_model(n_items: int = V) -> RecBLR:
    torch.manual_seed(0)
    return RecBLR(RecBLRConfig(n_items=n_items, dim=8, layers=1))


def make_targets(histories: list[list[int]], targets: list[int]) -> Targets:
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Targets(np.arange(len(targets)), Sequences(items, offsets), np.array(targets, dtype=np.int32))


def random_targets(n_rows: int = 40, n_items: int = V, unknown: bool = True) -> Targets:
    draw = np.random.default_rng(1)
    histories = [draw.integers(1, n_items + 1, draw.integers(0, 9)).tolist() for _ in range(n_rows)]
    return make_targets(histories, draw.integers(0 if unknown else 1, n_items + 1, n_rows).tolist())


def rows_of(targets: Targets) -> list[tuple[list[int], int]]:
    histories = targets.histories
    bounds = zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
    return [(histories.items[a:b].tolist(), int(t)) for (a, b), t in zip(bounds, targets.targets, strict=True)]


def brute_force_rank(scores: list[float], target: int, left_out: set[int]) -> float:
    """The mean position of the target among all orders that sort the scores."""
    candidates = [item for item in range(1, len(scores)) if item == target or item not in left_out]
    ordered = sorted((scores[item] for item in candidates), reverse=True)
    positions = [n for n, score in enumerate(ordered, start=1) if score == scores[target]]
    return sum(positions) / len(positions)


def brute_force_metrics(ranks: list[float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for k in (10, 20):
        hits = [rank for rank in ranks if rank <= k]
        totals[f"hr@{k}"] = len(hits) / len(ranks)
        totals[f"ndcg@{k}"] = sum(1 / math.log2(rank + 1) for rank in hits) / len(ranks)
        totals[f"mrr@{k}"] = sum(1 / rank for rank in hits) / len(ranks)
    return totals


class TiedScorer:
    """Scores of a few levels, by the row's number of items and its last item: full of ties."""

    def __init__(self, n_items: int = V, levels: int = 4) -> None:
        self.table = torch.randint(0, levels, (10, n_items + 1), generator=torch.Generator().manual_seed(0)).float()
        self.table[:, 0] = -torch.inf

    def __call__(self, items: Tensor, offsets: Tensor) -> Tensor:
        return self.table[offsets.diff() % 10].clone()

    def of(self, history: list[int]) -> list[float]:
        return self.table[len(history) % 10].tolist()


@pytest.mark.parametrize("mask_seen", [False, True])
@pytest.mark.parametrize("bounds", [{}, {"_MAX_TOKENS": 5}, {"_MAX_SCORES": 3 * (V + 1)}, {"_MAX_SCORES": 1}])
def test_ranks_equal_brute_force(mask_seen: bool, bounds: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(evaluation, name, value)
    targets, scorer = random_targets(), TiedScorer()
    wanted = [
        brute_force_rank(scorer.of(history), target, set(history) if mask_seen else set())
        if target and not (mask_seen and target in history)
        else math.inf
        for history, target in rows_of(targets)
    ]
    found = rank_targets(scorer, targets, V, mask_seen)
    assert found.tolist() == wanted
    assert math.inf in wanted
    assert any(rank % 1 for rank in wanted)  # a tie at a half position
    metrics = metrics_of_ranks(found)
    assert metrics == pytest.approx(brute_force_metrics(wanted))


@pytest.mark.parametrize("mask_seen", [False, True])
def test_a_models_evaluation_equals_brute_force(mask_seen: bool) -> None:
    model, targets = make_model(40), random_targets(30, 40)
    wanted = []
    for history, target in rows_of(targets):
        with torch.no_grad():
            query = model.eval().query(torch.tensor(history, dtype=torch.long), torch.tensor([0, len(history)]))[0]
            scores = (query[0] @ model.embedding.weight.T).tolist()
        seen = set(history) if mask_seen else set()
        wanted.append(brute_force_rank(scores, target, seen) if target and target not in seen else math.inf)
    found = evaluate(model, targets, mask_seen)
    rows = rows_of(targets)
    assert found.rows == 30
    assert found.unknown_targets == sum(target == 0 for _, target in rows) > 0
    assert found.repeated_targets == sum(target in history for history, target in rows) > 0
    assert found.last_item_targets == sum(history[-1:] == [target] for history, target in rows) > 0
    assert found.metrics == pytest.approx(brute_force_metrics(wanted))
    assert found.to_dict() == {
        **found.metrics,
        "rows": 30,
        "unknown_targets": found.unknown_targets,
        "repeated_targets": found.repeated_targets,
        "last_item_targets": found.last_item_targets,
    }
    assert all(type(value) is float for value in found.metrics.values())


def test_a_constant_scorer_does_not_look_good() -> None:
    def constant(items: Tensor, offsets: Tensor) -> Tensor:
        scores = torch.zeros(len(offsets) - 1, V + 1)
        scores[:, 0] = -torch.inf
        return scores

    targets = random_targets(unknown=False)
    assert set(rank_targets(constant, targets, V)) == {(V + 1) / 2}
    for (history, target), rank in zip(rows_of(targets), rank_targets(constant, targets, V, True), strict=True):
        assert rank == (math.inf if target in history else (len(set(range(1, V + 1)) - set(history)) + 1) / 2)


def test_masked_users_who_cycle_through_few_items_get_what_serving_shows_them() -> None:
    """Serving leaves out what a user has seen, so it never recommends the next item of such a cycle."""
    model = make_model(6)
    cycle = make_targets([[1, 2, 3, 4] * 5 for _ in range(9)], [1] * 9)
    masked = evaluate(model, cycle, mask_seen=True)
    assert set(masked.metrics.values()) == {0.0}
    assert masked.repeated_targets == masked.rows
    assert evaluate(model, cycle).metrics["hr@10"] == 1  # of six items, all are among the first ten


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_long_histories_are_fed_in_pieces_with_the_same_result(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(40)
    items = torch.randint(1, 41, (20,), generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([0, 11, 11, 12, 20])
    whole = model_scorer(model)(items, offsets)
    monkeypatch.setattr(evaluation, "_MAX_TOKENS", piece)
    torch.testing.assert_close(model_scorer(model)(items, offsets), whole)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_tied_targets_rank_at_their_mean_position(levels: list[int], data: st.DataObject) -> None:
    scores = [-math.inf, *map(float, levels)]
    target = data.draw(st.integers(1, len(levels)))
    found = target_ranks(torch.tensor([scores]), torch.tensor([target]))
    assert found.dtype == torch.float64
    assert found.tolist() == [brute_force_rank(scores, target, set())]


def test_metrics_by_hand() -> None:
    metrics = metrics_of_ranks(np.array([1.0, 10.0, 10.5, 20.0, 21.0, np.inf]))
    assert metrics["hr@10"] == pytest.approx(2 / 6)
    assert metrics["hr@20"] == pytest.approx(4 / 6)
    assert metrics["mrr@10"] == pytest.approx((1 + 1 / 10) / 6)
    assert metrics["ndcg@20"] == pytest.approx((1 + sum(1 / math.log2(r + 1) for r in (10, 10.5, 20))) / 6)
    assert set(metrics_of_ranks(np.array([np.inf])).values()) == {0.0}


def test_scores_that_are_not_numbers() -> None:
    model = make_model()
    with torch.no_grad():
        model.embedding.weight[3, 2] = torch.nan
    with pytest.raises(TrainingError, match="not numbers"):
        evaluate(model, random_targets())


def test_no_rows() -> None:
    with pytest.raises(DataError, match="no user is left to evaluate"):
        evaluate(make_model(), make_targets([], []))


def test_all_targets_unknown() -> None:
    found = evaluate(make_model(), make_targets([[1, 2], []], [0, 0]))
    assert (found.rows, found.unknown_targets, set(found.metrics.values())) == (2, 2, {0.0})


def test_evaluation_is_without_dropout_and_leaves_weights_alone() -> None:
    model = make_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (evaluate(model, random_targets()).metrics for _ in range(2))
    assert first == second
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    scores = model_scorer(model)(torch.tensor([1, 2]), torch.tensor([0, 2, 2]))
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert torch.isneginf(scores[:, 0]).all()


def interactions_of(item_ids: Any) -> Interactions:
    n = len(item_ids)
    return Interactions(
        user_ids=np.array([1]),
        item_ids=np.array(item_ids, dtype=object if isinstance(item_ids[0], str) else np.uint64),
        items=np.arange(1, n + 1, dtype=np.int32),
        offsets=np.array([0, n]),
        timestamps=np.arange(n),
    )


@pytest.mark.parametrize("ids", [[70, 80, 90, 2**63 - 1], ["g", "h", "i", "zz"]])
def test_translation_to_a_models_indices(ids: Any) -> None:
    # The model knows the data's items 3, 1 and 4, in this order, and one more.
    other: Any = 5 if isinstance(ids[0], int) else "else"
    vocabulary = ItemVocabulary([ids[2], ids[0], other, ids[3]], [1, 1, 1, 1])
    targets = make_targets([[1, 2, 3, 3], [2, 2], [], [4, 2, 1]], [3, 4, 2, 1])
    targets = Targets(np.array([4, 5, 6, 9]), targets.histories, targets.targets, without_history=3)
    found = translate_targets(targets, interactions_of(ids), vocabulary)
    assert rows_of(found) == [([2, 1, 1], 1), ([], 4), ([], 0), ([4, 2], 2)]
    assert found.users.tolist() == [4, 5, 6, 9]
    assert found.without_history == 3
    assert found.histories.items.dtype == found.targets.dtype == np.int32
    assert evaluate(make_model(4), found).unknown_targets == 1


@pytest.mark.parametrize(
    ("ids", "known", "note"),
    [
        (
            ["7", "A-1", "007", "9"],
            [9, 7],
            "strings such as '7', 'A-1', '007', the model's integers: 2 of 4",
        ),
        ([7, 8, 30, 9], ["9", "A-1", "7"], "integers such as 7, 8, 30, the model's strings: 4 of 4"),
    ],
)
def test_translation_to_a_model_with_ids_of_the_other_type(
    ids: Any, known: Any, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = translate_targets(
        make_targets([[1, 2, 3, 4], [2]], [4, 1]), interactions_of(ids), ItemVocabulary(known, [1] * len(known))
    )
    seven = known.index(ids[0] if type(known[0]) is type(ids[0]) else type(known[0])(ids[0])) + 1
    assert rows_of(found) == [([seven, 1], 1), ([], seven)]
    assert f"{note} were converted, and it knows 2" in caplog.text


@pytest.mark.parametrize(
    ("ids", "known", "reason"),
    [
        (
            ["a", "b"],
            [1, 2],
            "none of the data's 2 items: the data's item ids are strings such as 'a', 'b', its own int",
        ),
        ([5, 6], [1, 2], "none of the data's 2 items: .* integers such as 5, 6, its own integers such as 1, 2;"),
        ([5], ["05"], "integers such as 5, its own strings such as '05'"),
    ],
)
def test_no_translation_to_a_model_of_other_items(ids: Any, known: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        translate_targets(make_targets([[1]], [1]), interactions_of(ids), ItemVocabulary(known, [1] * len(known)))
