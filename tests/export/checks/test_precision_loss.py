"""What fp16 and bf16 cost in ranking quality: the manifest's figures, and the measure itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import pytest

from recblr.checkpoint import load_checkpoint
from recblr.data import Sequences, Targets
from recblr.errors import ConfigError, DataError
from recblr.evaluation import evaluate, translate_targets
from recblr.export.bundle import export_bundle
from recblr.export.checks.precision_loss import emulated_loss, precision_loss
from recblr.export.onnx.precision import emulated_graph
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.preparation import DataSettings, prepare
from recblr.runtime import Limits, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.plan_section import Precision

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


def _evaluation(bundle: Path) -> dict[str, Any]:
    section: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())["plan"]
    evaluation: dict[str, Any] = section["evaluation"]
    return evaluation


def _targets(model: Path, data: Path) -> Targets:
    checkpoint = load_checkpoint(model)
    prepared = prepare(data, DataSettings.from_dict(checkpoint.data["settings"]))
    return translate_targets(prepared.split.test, prepared.interactions, checkpoint.vocabulary)


def _rows(histories: Sequences, wanted: Sequence[int] | np.ndarray) -> Targets:
    return Targets(np.arange(len(wanted)), histories, np.array(wanted, np.int32))


def _best(graph: onnx.ModelProto, targets: Targets, initial_state: np.ndarray) -> list[list[int]]:
    """One user after another, without anything that the measure is made of."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    best = []
    for begin, end in zip(targets.histories.offsets[:-1], targets.histories.offsets[1:], strict=True):
        inputs = {
            "items": targets.histories.items[begin:end].astype(np.int32),
            "offsets": np.array([0, end - begin], np.int32),
            "state_in": initial_state[None],
            "exclude": np.empty((0, 2), np.int32),
        }
        (items,) = session.run(["top_items"], inputs)
        best.append(items[0].tolist())
    return best


def _overlap(low: list[list[int]], full: list[list[int]]) -> float:
    return float(np.mean([len(set(a[:10]) & set(b[:10])) / 10 for a, b in zip(low, full, strict=True)]))


def _ndcg(best: list[list[int]], targets: np.ndarray) -> float:
    gains = [
        1 / np.log2(items[:10].index(target) + 2) if target in items[:10] else 0.0
        for items, target in zip(best, targets.tolist(), strict=True)
    ]
    return float(np.mean(gains))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_evaluation_data(
    plan_bundle: MakePlanBundle, trained_path: Path, interactions_path: Path, precision: Precision
) -> None:
    """The manifest's figures against counting by hand, user by user."""
    bundle = plan_bundle(precision).path
    evaluation = _evaluation(bundle)
    targets = _targets(trained_path, interactions_path)
    graph, initial_state = onnx.load(bundle / "model.onnx"), open_bundle(bundle).initial_state
    low = _best(emulated_graph(graph, precision), targets, initial_state)
    full = _best(graph, targets, initial_state)

    assert evaluation["measured"] == f"{precision} emulated in ONNX Runtime on the CPU, not the plan"
    assert evaluation["users"] == len(targets.targets) > 100
    # Batched otherwise, sums differ in the last bits: a near tie of one user in a thousand may fall the other way.
    assert evaluation["top_10_overlap"] == pytest.approx(_overlap(low, full), abs=2e-3)
    assert evaluation["ndcg@10"] == pytest.approx(_ndcg(low, targets.targets), abs=2e-3)
    assert evaluation["ndcg@10_fp32"] == pytest.approx(_ndcg(full, targets.targets), abs=2e-3)
    assert evaluation["ndcg@10_loss"] == evaluation["ndcg@10_fp32"] - evaluation["ndcg@10"]


def test_fp32_is_what_recblr_evaluate_measures(
    plan_bundle: MakePlanBundle, trained_path: Path, interactions_path: Path
) -> None:
    measured = evaluate(load_checkpoint(trained_path).model, _targets(trained_path, interactions_path))
    evaluation = _evaluation(plan_bundle("fp16").path)
    assert evaluation["ndcg@10_fp32"] == pytest.approx(measured.metrics["ndcg@10"], abs=2e-3)
    assert measured.metrics["ndcg@10"] > 0.2  # the model has learnt something that can be lost


def test_a_trained_model_loses_little(plan_bundle: MakePlanBundle) -> None:
    fp16, bf16 = (_evaluation(plan_bundle(precision).path) for precision in ("fp16", "bf16"))
    assert 1 >= fp16["top_10_overlap"] >= bf16["top_10_overlap"] > 0.95
    assert abs(fp16["ndcg@10_loss"]) <= abs(bf16["ndcg@10_loss"]) < 0.02


def test_without_evaluation_data_nothing_is_claimed(plan_bundle: MakePlanBundle) -> None:
    exported = plan_bundle("fp32")
    assert _evaluation(exported.path) == {}
    assert "NDCG" not in exported.printed


@pytest.mark.usefixtures("plugin_library")
def test_no_plan_of_so_few_results(trained_path: Path, tmp_path: Path) -> None:
    targets = _rows(Sequences(np.array([1], np.int32), np.array([0, 1])), [2])
    builder = PlanBuilder(PlanSettings(target="tensorrt-rtx", precision="fp16"))
    with pytest.raises(ConfigError, match="max-k is 5: with evaluation data"):
        export_bundle(load_checkpoint(trained_path), tmp_path / "bundle", 5, builder, targets)


class TestMeasure:
    """`precision_loss` of two backends that differ in a known way."""

    LIMITS = Limits(rows=3, tokens=40)

    @staticmethod
    def targets(n_items: int = 60) -> Targets:
        """Of users with histories of 0 to 60 items, longer than the limits; one target is unknown."""
        random = np.random.default_rng(4)
        lengths = [0, 60, 1, 7, 0, 30, 12, 45]
        items = random.integers(1, n_items + 1, sum(lengths), dtype=np.int32)
        wanted = random.integers(1, n_items + 1, len(lengths), dtype=np.int32)
        wanted[3] = 0
        return _rows(Sequences(items, np.cumsum([0, *lengths])), wanted)

    def test_nothing_is_lost_to_itself(self, bundle: Path) -> None:
        opened = open_bundle(bundle)
        backend = OnnxRuntimeBackend(opened.model_path)
        report = precision_loss(backend, backend, self.targets(), opened.initial_state, self.LIMITS)
        assert report["users"] == 8
        assert (report["ndcg@10_loss"], report["top_10_overlap"]) == (0, 1)

    def test_histories_are_cut_to_their_end_and_batched(self, bundle: Path) -> None:
        opened, targets = open_bundle(bundle), self.targets()
        runs: list[tuple[int, int]] = []

        class Watched(OnnxRuntimeBackend):
            def run(self, items: Any, offsets: Any, state_in: Any, exclude: Any, k: int | None = None) -> Any:
                runs.append((len(state_in), len(items)))
                return super().run(items, offsets, state_in, exclude, k)

        backend = Watched(opened.model_path)
        report = precision_loss(backend, backend, targets, opened.initial_state, self.LIMITS)
        assert max(rows for rows, _ in runs) <= 3
        assert max(tokens for _, tokens in runs) == 40
        assert sum(rows for rows, _ in runs) == 2 * 8

        bounds = zip(targets.histories.offsets[:-1], targets.histories.offsets[1:], strict=True)
        cut = [targets.histories.items[max(begin, end - 40) : end] for begin, end in bounds]
        lengths = np.cumsum([0, *map(len, cut)])
        shorter = _rows(Sequences(np.concatenate(cut), lengths), targets.targets)
        best = _best(onnx.load(opened.model_path), shorter, opened.initial_state)
        assert report["ndcg@10_fp32"] == pytest.approx(_ndcg(best, targets.targets))

    @pytest.mark.parametrize("wanted", [0, 5, 14])
    def test_a_ranking_that_begins_with_the_sixth(self, bundle: Path, wanted: int) -> None:
        """Half of the items are shared; every user's target is the `wanted`th in fp32, counted from 0."""
        opened, targets = open_bundle(bundle), self.targets()

        class Shifted(OnnxRuntimeBackend):
            def run(self, *batch: Any) -> Any:
                top_items, top_scores, states = super().run(*batch[:4])
                return top_items[:, 5:15], top_scores[:, 5:15], states

        best = _best(onnx.load(opened.model_path), targets, opened.initial_state)
        targets = _rows(targets.histories, [items[wanted] for items in best])
        backends = Shifted(opened.model_path), OnnxRuntimeBackend(opened.model_path)
        report = precision_loss(*backends, targets, opened.initial_state, Limits(rows=3, tokens=60))
        assert report["top_10_overlap"] == pytest.approx(0.5)
        ndcg, fp32 = {0: (0, 1), 5: (1, 1 / np.log2(7)), 14: (1 / np.log2(11), 0)}[wanted]
        assert report["ndcg@10"] == pytest.approx(ndcg)
        assert report["ndcg@10_fp32"] == pytest.approx(fp32)
        assert report["ndcg@10_loss"] == pytest.approx(fp32 - ndcg)

    def test_emulated_bf16_is_not_fp32(self, bundle: Path) -> None:
        """Of weights as random as here some items change places; counted by hand, too."""
        opened, random = open_bundle(bundle), np.random.default_rng(0)
        lengths = random.geometric(0.1, 200)
        histories = Sequences(random.integers(1, 61, lengths.sum(), dtype=np.int32), np.cumsum([0, *lengths]))
        targets = _rows(histories, random.integers(1, 61, 200))
        graph = onnx.load(opened.model_path)
        report = emulated_loss(opened, "bf16", targets)
        low, full = (_best(g, targets, opened.initial_state) for g in (emulated_graph(graph, "bf16"), graph))
        assert 0.9 < report["top_10_overlap"] < 1
        assert report["top_10_overlap"] == pytest.approx(_overlap(low, full), abs=1e-3)
        assert report["ndcg@10"] == pytest.approx(_ndcg(low, targets.targets), abs=1e-3)
        assert report["measured"] == "bf16 emulated in ONNX Runtime on the CPU, not the plan"

    def test_no_users(self, bundle: Path) -> None:
        nobody = _rows(Sequences(np.empty(0, np.int32), np.zeros(1, np.int64)), [])
        with pytest.raises(DataError, match="no user is left to evaluate"):
            emulated_loss(open_bundle(bundle), "fp16", nobody)
