"""The items' embedding in a file of its own, where the weights are more than an ONNX file holds."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxscript import ir

from recblr.config import LARGEST_ONNX_FILE
from recblr.errors import ExportError
from recblr.export.onnx.graph_file import external_initializer
from recblr.model import RecBLR
from recblr.runtime.bundle.manifest import MODEL_DATA_FILE, MODEL_FILE

_PIECE = 2**26


def refer_to_embedding(graph: ir.Model, name: str, model: RecBLR) -> None:
    """Let a large model's graph name the place of its embedding instead of holding it; do nothing to a smaller one.

    Args:
        graph: as PyTorch's exporter gives it.
        name: of the embedding in it.
        model: what was exported.

    Raises:
        ExportError: the exporter names the embedding otherwise.
    """
    if sum(weight.nbytes for weight in model.parameters()) <= LARGEST_ONNX_FILE:  # of model.onnx
        return
    value = graph.graph.initializers.get(name)
    if value is None:
        raise ExportError(f"PyTorch's exporter gave the graph no initializer {name}: install another version of torch")
    weight = model.embedding.weight
    value.const_value = ir.ExternalTensor(
        MODEL_DATA_FILE, 0, weight.nbytes, ir.DataType.FLOAT, shape=ir.Shape(weight.shape), name=name
    )


def write_graph(folder: Path, graph: onnx.ModelProto, model: RecBLR) -> list[str]:
    """Write a model's graph, and its embedding, if the graph only names its place.

    Returns:
        The names of the files written.

    Raises:
        OSError: they cannot be written.
    """
    (folder / MODEL_FILE).write_bytes(graph.SerializeToString(deterministic=True))
    if external_initializer(graph) is None:
        return [MODEL_FILE]
    embedding = model.embedding.weight.detach().numpy().reshape(-1)
    with (folder / MODEL_DATA_FILE).open("wb") as file:
        for start in range(0, len(embedding), _PIECE):  # little-endian, whatever this machine is
            file.write(embedding[start : start + _PIECE].astype("<f4", copy=False).data)
    return [MODEL_FILE, MODEL_DATA_FILE]
