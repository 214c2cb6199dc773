"""A bundle's graph read, without the embedding that a large model has beside it."""

from __future__ import annotations

from pathlib import Path

import onnx


def read_graph(path: Path) -> onnx.ModelProto:
    """A bundle's graph; an embedding that lies beside it stays there."""
    return onnx.load(path, load_external_data=False)


def external_initializer(graph: onnx.ModelProto) -> str | None:
    """The name of the embedding in a graph that only names its place; None where the graph holds it."""
    external = (i.name for i in graph.graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL)
    return next(external, None)
