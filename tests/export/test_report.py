"""The summary of an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from recblr.runtime import open_bundle
from recblr.runtime.bundle.plan_section import PRECISIONS, Precision

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_printed(plan_bundle: MakePlanBundle, precision: Precision) -> None:
    exported = plan_bundle(precision)
    size, parity, engine, profile, proof, *evaluation, status, seconds = exported.printed.splitlines()
    assert size.startswith(f"{exported.path}: ")
    assert parity.startswith("On the CPU, against PyTorch: ")
    installed = open_bundle(exported.path).plan.version
    assert engine.startswith(f"model.plan: TensorRT-RTX {installed}, {precision}, ")
    assert profile.startswith("it takes 1 to 256 rows (best at 16), 0 to 65,536 new items (best at 1,024) and ")
    products = 12 if precision == "fp32" else 11
    assert f"4 sequence operations, {products} products; in fp32 5 LayerNorms" in proof
    assert len(evaluation) == (precision != "fp32")
    assert status.startswith("plan: built, not run (no GPU here): recblr-export --verify ")
    assert seconds.startswith("exported in ")


def test_it_is_printed(plan_bundle: MakePlanBundle) -> None:
    exported = plan_bundle("bf16")
    evaluation = open_bundle(exported.path).plan.evaluation
    assert (
        f"NDCG@10 {evaluation['ndcg@10']:.4f}, in fp32 {evaluation['ndcg@10_fp32']:.4f}; "
        f"{evaluation['top_10_overlap']:.2%} of the ten best are the same "
        "(bf16 emulated in ONNX Runtime on the CPU, not the plan)"
    ) in exported.printed
