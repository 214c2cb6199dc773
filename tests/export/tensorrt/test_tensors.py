"""Tensors of graphs and plans, and their sizes under a profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from recblr.config import LARGEST_TENSOR
from recblr.errors import ConfigError, ExportError
from recblr.export.tensorrt.tensors import check_tensor_sizes, check_tensors, graph_tensors, input_shapes
from recblr.export.triton.graph import triton_graph
from recblr.runtime.bundle.plan_section import Extent, Profile


def _profile(rows: int, tokens: int, exclusions: int) -> Profile:
    return Profile(Extent(1, 2, rows), Extent(1, 2, tokens), Extent(1, 2, exclusions))


def test_shapes_of_a_bundles_inputs(bundle: Path) -> None:
    shapes = input_shapes(onnx.load(bundle / "model.onnx"), _profile(3, 7, 9))
    size = len(np.load(bundle / "initial_state.npy"))
    assert shapes == {
        "items": ((1,), (2,), (7,)),
        "offsets": ((2,), (3,), (4,)),
        "state_in": ((1, size), (2, size), (3, size)),
        "exclude": ((1, 2), (2, 2), (9, 2)),
    }


def test_tensors_larger_than_tensorrt_counts(bundle: Path) -> None:
    """In the variant for Triton each row is two where the bundle's graph has one."""
    model = onnx.load(bundle / "model.onnx")
    size = len(np.load(bundle / "initial_state.npy"))
    most = LARGEST_TENSOR // size
    check_tensor_sizes(model, _profile(most, 2, 2))
    check_tensor_sizes(triton_graph(model), _profile(most // 2, 2, 2))
    with pytest.raises(ConfigError, match=f"max-rows is {most}: with {2 * size} numbers .* at most {most // 2}"):
        check_tensor_sizes(triton_graph(model), _profile(most, 2, 2))


def test_tensors_are_compared_whole(bundle: Path) -> None:
    tensors = graph_tensors(triton_graph(onnx.load(bundle / "model.onnx")))
    check_tensors(tensors, reversed(tensors))
    first = tensors[0]
    for wrong in (
        replace(first, name="other"),
        replace(first, dtype="int64"),
        replace(first, shape=(-1, 1)),
        replace(first, is_input=False),
    ):
        with pytest.raises(ExportError, match="where the graph has"):
            check_tensors(tensors, (wrong, *tensors[1:]))
    with pytest.raises(ExportError, match="the plan has extra, the graph has not"):
        check_tensors(tensors, (*tensors, replace(first, name="extra")))
