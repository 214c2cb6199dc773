"""The graph of a TensorRT plan in reduced precision, derived from a bundle's fp32 graph.

Plans are strongly typed: every tensor has the type that the graph says. In fp16 or bf16 (low) are

- weights, inputs and outputs of the dense products, and what lies between two of them: SiLU, splits;
- x, gates, z and y of `recblr::CausalConv1d` and `recblr::GatedScan`.

All else stays fp32: the item embeddings, LayerNorm (its epsilon of 1e-12 is zero in fp16) and the residual stream that
it normalises; the states, and the operations' arithmetic on them; queries, scores and top-k. The product with the
catalogue is fp32, too: near-equal scores decide a ranking, and fp16 scores would tie. So two casts remain around each
LayerNorm: down before the products that read it, and up where their result is added to the residual stream. Items,
offsets and exclusions are integers throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from recblr.errors import ExportError
from recblr.export.onnx.symbolic_ops import CAUSAL_CONV1D, DOMAIN, GATED_SCAN
from recblr.runtime.bundle.plan_section import Precision

_ONNX_TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_PRODUCTS = {"Gemm", "MatMul"}
_ELEMENTWISE = {"Mul", "Sigmoid", "Split"}  # low where all their inputs are
# Places of the low inputs and outputs of our operations; the others are fp32 or offsets.
_LOW_INPUTS = {CAUSAL_CONV1D: (0,), GATED_SCAN: (0, 1, 2)}
_LOW_OUTPUTS = {CAUSAL_CONV1D: (0,), GATED_SCAN: (0,)}


def tensorrt_graph(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """The graph that TensorRT parses: in `precision`, and without the local functions.

    TensorRT's parser prefers a local function to a plugin of the same name; without it the nodes become plugins.

    Args:
        model: the fp32 graph of a bundle; left as it is.

    Raises:
        ExportError: a weight that fp16 cannot hold.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.functions[:]
    if precision != "fp32":
        _Lowering(graph.graph, precision, _cast).run()
    return graph


def emulated_graph(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """The fp32 graph, local functions included, with every value rounded that is low in `tensorrt_graph`.

    It gives on any ONNX runtime what a plan would that multiplies low numbers, adds in fp32 and rounds results.

    Raises:
        ExportError: a weight that fp16 cannot hold.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    if precision != "fp32":
        _Lowering(graph.graph, precision, _round).run()
    return graph


def _cast(source: str, target: str, data_type: int) -> Iterator[NodeProto]:
    yield onnx.helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=data_type)


def _round(source: str, target: str, data_type: int) -> Iterator[NodeProto]:
    if data_type == TensorProto.FLOAT:  # already is
        yield onnx.helper.make_node("Identity", [source], [target], name=f"keep_{target}")
        return
    yield onnx.helper.make_node("Cast", [source], [f"{target}_rounded"], name=f"round_{target}", to=data_type)
    yield onnx.helper.make_node("Cast", [f"{target}_rounded"], [target], name=f"widen_{target}", to=TensorProto.FLOAT)


class _Lowering:
    """Rewrites a graph, node after node."""

    def __init__(
        self, graph: onnx.GraphProto, precision: Precision, convert: Callable[[str, str, int], Iterator[NodeProto]]
    ) -> None:
        self._graph = graph
        self._precision = precision
        self._type = _ONNX_TYPES[precision]
        self._emulated = convert is _round
        self._convert = convert
        self._weights = {weight.name: weight for weight in graph.initializer}
        self._catalogue = {node.input[0] for node in graph.node if node.op_type == "Gather"} & self._weights.keys()
        self._low: set[str] = set()
        self._nodes: list[NodeProto] = []
        self._made: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        for node in list(self._graph.node):
            low_inputs, low_outputs = self._places(node)
            for place, name in enumerate(node.input):
                if place in low_inputs:
                    node.input[place] = self._lowered(name)
                elif name in self._low:
                    node.input[place] = self._converted(name, TensorProto.FLOAT)
            self._nodes.append(node)
            for place in low_outputs:
                self._mark(node, place)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._retype()
        self._drop_unused_weights()

    def _places(self, node: NodeProto) -> tuple[set[int], set[int]]:
        """Which inputs and outputs of a node are low."""
        if node.domain == DOMAIN:
            return set(_LOW_INPUTS[node.op_type]), set(_LOW_OUTPUTS[node.op_type])
        inputs = [name for name in node.input if name]
        if node.op_type in _PRODUCTS and not self._catalogue & set(inputs):
            return set(range(len(inputs))), {0}
        # A product's weight that is split, too, so that the halves are low already.
        floats = [name for name in inputs if not self._is_integer(name)]
        if node.op_type in _ELEMENTWISE and all(name in self._low or name in self._weights for name in floats):
            return {place for place, name in enumerate(node.input) if name in floats}, set(range(len(node.output)))
        return set(), set()

    def _is_integer(self, name: str) -> bool:
        return name in self._weights and self._weights[name].data_type != TensorProto.FLOAT

    def _lowered(self, name: str) -> str:
        if name in self._low:
            return name
        if name in self._weights:
            return self._low_weight(name)
        return self._converted(name, self._type)

    def _low_weight(self, name: str) -> str:
        key = (name, self._type)
        if key not in self._made:
            self._made[key] = f"{name}_{self._precision}"
            values = numpy_helper.to_array(self._weights[name])
            self._graph.initializer.append(self._low_tensor(self._made[key], values))
        return self._made[key]

    def _low_tensor(self, name: str, values: np.ndarray) -> TensorProto:
        if self._precision == "fp16":
            largest = float(np.abs(values).max(initial=0))
            if largest > float(np.finfo(np.float16).max):  # as np.float16 it would overflow in the comparison
                raise ExportError(f"a weight of {name} is {largest:.3g}, fp16 ends at 65504: use --precision bf16")
            low = values.astype(np.float16)
            return numpy_helper.from_array(low.astype(np.float32) if self._emulated else low, name)
        bits = _bfloat16_bits(values)
        if self._emulated:
            return numpy_helper.from_array((bits.astype(np.uint32) << 16).view(np.float32), name)
        return TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=values.shape, raw_data=bits.tobytes())

    def _converted(self, name: str, data_type: int) -> str:
        """`name` in another type: one node, however many read it."""
        key = (name, data_type)
        if key not in self._made:
            suffix = "fp32" if data_type == TensorProto.FLOAT else self._precision
            self._made[key] = f"{name}_{suffix}"
            self._nodes.extend(self._convert(name, self._made[key], data_type))
        return self._made[key]

    def _mark(self, node: NodeProto, place: int) -> None:
        """Note that an output of a node is low; in the emulation, add the nodes that round it."""
        name = node.output[place]
        self._low.add(name)
        if self._emulated and node.op_type != "Split":  # whose parts are rounded as the whole is
            node.output[place] = f"{name}_exact"
            self._nodes.extend(_round(node.output[place], name, self._type))

    def _retype(self) -> None:
        if not self._emulated:
            for value in self._graph.value_info:
                if value.name in self._low:
                    value.type.tensor_type.elem_type = self._type

    def _drop_unused_weights(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [weight for weight in self._graph.initializer if weight.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """uint16: the upper half of each float32, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: np.ndarray = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded
