"""A bundle's ONNX file less parts of it, without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator

from recblr.runtime.bundle.protobuf import Encoded, Field, encode_bytes, fields, texts

# Numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_TENSOR_NAME = 8
_VALUE_NAME = 1


def without_functions(model: Encoded) -> bytes:
    """The encoded model without its local functions; everything else is byte for byte as it was.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    start = 0
    for function in fields(model, 0, len(model), _MODEL_FUNCTIONS):
        kept.append(model[start : function.begin])
        start = function.stop
    kept.append(model[start:])
    return b"".join(kept)


def without_ranking(model: Encoded) -> bytes:
    """The encoded model with the output `state_out` alone, and the nodes and initializers that it needs.

    Asking ONNX Runtime for fewer outputs would not do: it computes all nodes.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    for field in fields(model, 0, len(model)):
        if field.number == _MODEL_GRAPH:
            kept.append(encode_bytes(_MODEL_GRAPH, _pruned(model, field)))
        else:
            kept.append(model[field.begin : field.stop])
    return b"".join(kept)


def _pruned(model: Encoded, graph: Field) -> bytes:
    needed = {b"state_out"}
    nodes = set()
    for node in reversed(list(fields(model, graph.start, graph.stop, _GRAPH_NODE))):  # they are in order of use
        if needed.intersection(texts(model, node, _NODE_OUTPUT)):
            nodes.add(node)
            needed.update(_inputs(model, node))
    names = {_GRAPH_INITIALIZER: _TENSOR_NAME, _GRAPH_OUTPUT: _VALUE_NAME}
    kept: list[bytes] = []
    for field in fields(model, graph.start, graph.stop):
        if field.number == _GRAPH_NODE:
            keep = field in nodes
        else:
            name = names.get(field.number)
            keep = name is None or bool(needed.intersection(texts(model, field, name)))
        if keep:
            kept.append(model[field.begin : field.stop])
    return b"".join(kept)


def _inputs(model: Encoded, node: Field) -> Iterator[bytes]:
    """The names that a node reads, those that its inner graphs read included."""
    yield from texts(model, node, _NODE_INPUT)
    for attribute in fields(model, node.start, node.stop, _NODE_ATTRIBUTE):
        for number in _ATTRIBUTE_GRAPHS:
            for graph in fields(model, attribute.start, attribute.stop, number):
                yield from (
                    name
                    for output in fields(model, graph.start, graph.stop, _GRAPH_OUTPUT)
                    for name in texts(model, output, _VALUE_NAME)
                )
                for inner in fields(model, graph.start, graph.stop, _GRAPH_NODE):
                    yield from _inputs(model, inner)
