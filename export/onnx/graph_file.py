"""A bundle's ONNX file; the items' embedding is in a file of its own where an ONNX file cannot hold all weights.

Neither PyTorch nor ONNX Script is needed to read one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from recblr.runtime.bundle.manifest import MODEL_DATA_FILE, MODEL_FILE

if TYPE_CHECKING:
    from recblr.model import RecBLR

INPUT_NAMES = ("items", "offsets", "state_in", "exclude")
OUTPUT_NAMES = ("top_items", "top_scores", "state_out")

_PIECE = 2**26


def read_graph(path: Path) -> onnx.ModelProto:
    """A bundle's graph. An embedding that is in a file of its own is not read."""
    return onnx.load(path, load_external_data=False)


def has_external_data(graph: onnx.ModelProto) -> bool:
    """Whether the embedding is in a file of its own."""
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.graph.initializer)


def write_graph(folder: Path, graph: onnx.ModelProto, model: RecBLR) -> list[str]:
    """Write a model's graph, and its embedding, if the graph does not hold it.

    Returns:
        The names of the files written.

    Raises:
        OSError: they cannot be written.
    """
    (folder / MODEL_FILE).write_bytes(graph.SerializeToString(deterministic=True))
    if not has_external_data(graph):
        return [MODEL_FILE]
    embedding = model.embedding.weight.detach().numpy().reshape(-1)
    with (folder / MODEL_DATA_FILE).open("wb") as file:
        for start in range(0, len(embedding), _PIECE):  # little-endian, whatever this machine is
            file.write(embedding[start : start + _PIECE].astype("<f4", copy=False).data)
    return [MODEL_FILE, MODEL_DATA_FILE]
