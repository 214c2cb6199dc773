"""Networks that are not what was asked for, layer by layer."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from recblr.errors import ExportError
from recblr.export.onnx.graph_file import INPUT_NAMES, OUTPUT_NAMES
from recblr.runtime.gpu.trt_module import load_tensorrt

# Looked for, not imported: imported before recblr, it lacks the name of its library.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX is not installed"
)


class TestProof:
    """Networks that are not what was asked for, layer by layer."""

    @staticmethod
    def network() -> Any:
        trt = load_tensorrt("tensorrt-rtx")
        from recblr.runtime.gpu.trt_plugins import MessageLog

        builder = trt.Builder(MessageLog())
        return trt, builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def refused(self, network: Any, message: str) -> None:
        from recblr.export.tensorrt.network_proof import prove_precision

        with pytest.raises(ExportError, match=f"the network is not in fp32: {message}.*: report this"):
            prove_precision(network, "fp32", (*INPUT_NAMES, *OUTPUT_NAMES))

    def test_nothing(self) -> None:
        _, network = self.network()
        self.refused(network, "items is missing")

    def test_a_loop(self) -> None:
        trt, network = self.network()
        times = network.add_input("times", trt.int32, ())
        network.add_loop().add_trip_limit(times, trt.TripLimit.COUNT)
        self.refused(network, ".* is a loop, where a plugin should be")

    def test_items_turned_into_floats(self) -> None:
        trt, network = self.network()
        items = network.add_input("items", trt.int32, (-1,))
        network.mark_output(network.add_cast(items, trt.float32).get_output(0))
        self.refused(network, ".* turns the integer items into FLOAT")

    def test_states_in_fp16(self) -> None:
        trt, network = self.network()
        network.add_input("state_in", trt.float16, (-1, 8))
        self.refused(network, "state_in is HALF, not FLOAT")

    def test_scores_ranked_in_fp16(self) -> None:
        trt, network = self.network()
        scores = network.add_input("scores", trt.float16, (-1, 8))
        network.add_topk(scores, trt.TopKOperation.MAX, 3, 2)
        self.refused(network, "the input of top-k is HALF, not FLOAT")
