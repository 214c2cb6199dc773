"""The comparison of two ways to run a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from recblr.errors import ExportError
from recblr.export.checks import verify
from recblr.export.checks.comparison import TOLERANCE, compare
from recblr.runtime import Limits, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend


def _alter_weight(model: onnx.ModelProto) -> None:
    (weight,) = [
        weight for weight in model.graph.initializer if weight.name.endswith("blocks.0.recurrent.out_proj.weight")
    ]
    weight.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weight), weight.name))


def test_the_largest_case_is_as_large_as_the_profile(bundle: Path) -> None:
    """And nothing is larger; with ONNX Runtime in a plan's place, which runs on GPUs alone."""
    opened = open_bundle(bundle)
    sizes: list[tuple[int, int, int]] = []

    class Watched(OnnxRuntimeBackend):
        def run(self, items: Any, offsets: Any, state_in: Any, exclude: Any, k: int | None = None) -> Any:
            sizes.append((len(state_in), len(items), len(exclude)))
            return super().run(items, offsets, state_in, exclude, k)

    for limits in (Limits(rows=40, tokens=900, exclusions=17), Limits(rows=1, tokens=1, exclusions=1)):
        sizes.clear()
        backend = Watched(opened.model_path)
        report = compare(backend, verify.bundle_reference(opened), "ONNX Runtime", TOLERANCE, limits)
        assert sizes[-1] == (limits.rows, limits.tokens, limits.exclusions)
        assert all(rows <= limits.rows and tokens <= limits.tokens for rows, tokens, _ in sizes)
        assert all(exclusions <= limits.exclusions for *_, exclusions in sizes)
        assert (report["cases"]["largest"]["rows"], report["cases"]["largest"]["tokens"]) == sizes[-1][:2]


def test_tolerances_of_plans_are_no_licence(bundle: Path) -> None:
    """What differs beyond the tolerance of its precision is refused; here weights off by 1%, by fp32's."""
    opened = open_bundle(bundle)
    wrong = onnx.load(bundle / "model.onnx")
    _alter_weight(wrong)
    backend = OnnxRuntimeBackend(opened.model_path)
    reference = verify.OnnxReference(wrong, 60, opened.initial_state, bundle)
    with pytest.raises(ExportError, match="a plan and model.onnx in ONNX Runtime differ in the case 'cold'"):
        compare(backend, reference, "a plan", verify.PLAN_TOLERANCES["fp32"])
    assert compare(backend, reference, "a plan", verify.PLAN_TOLERANCES["bf16"])["top_k_agreement"] == 1
