"""Graphs in fp16 and bf16, and their emulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from recblr.errors import ExportError
from recblr.export.onnx.precision import emulated_graph, tensorrt_graph
from recblr.runtime.bundle.plan_section import PRECISIONS


@pytest.mark.filterwarnings("error")
def test_weights_that_fp16_cannot_hold(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    (weight,) = [w for w in model.graph.initializer if w.name.endswith("blocks.0.feed_forward.up.weight")]
    weight.CopyFrom(onnx.numpy_helper.from_array(1e6 * onnx.numpy_helper.to_array(weight), weight.name))
    with pytest.raises(ExportError, match="fp16 ends at 65504: use --precision bf16"):
        tensorrt_graph(model, "fp16")
    assert tensorrt_graph(model, "bf16").graph.node


def test_emulation_rounds(bundle: Path) -> None:
    """fp16 is nearer to fp32 than bf16, and neither is equal to it."""
    model = onnx.load(bundle / "model.onnx")
    inputs = {
        "items": np.arange(1, 41, dtype=np.int32),
        "offsets": np.array([0, 25, 40], np.int32),
        "state_in": np.tile(np.load(bundle / "initial_state.npy"), (2, 1)),
        "exclude": np.empty((0, 2), np.int32),
    }
    states = {}
    for precision in PRECISIONS:
        graph = emulated_graph(model, precision).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        (states[precision],) = session.run(["state_out"], inputs)
    fp16, bf16 = (np.abs(states[precision] - states["fp32"]).max() for precision in ("fp16", "bf16"))
    assert 0 < fp16 < bf16 < 0.5 * np.abs(states["fp32"]).max()
