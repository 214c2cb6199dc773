"""The ONNX graph of a model: PyTorch's exporter with the sequence operations as nodes, and their local functions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnxscript import ir
from torch import Tensor, nn

import recblr
from recblr import ops
from recblr.array_types import Exclude, Items, Offsets, Queries, Scores, States
from recblr.config import LARGEST_ONNX_FILE
from recblr.errors import ConfigError, ExportError
from recblr.export.onnx.functions import IR_VERSION, OPSET, local_functions
from recblr.export.onnx.graph_file import INPUT_NAMES, OUTPUT_NAMES
from recblr.export.onnx.symbolic_ops import SymbolicOps
from recblr.model import RecBLR
from recblr.runtime.bundle.manifest import MODEL_DATA_FILE

LARGEST_MAX_K = 3840  # TensorRT's TopK takes no more, and one file serves every runtime
FINGERPRINT_KEY = "recblr.fingerprint"

_DESCRIPTION = """\
RecBLR: the best next items for users given by their state and their new items.
items: row after row; row b is items[offsets[b]:offsets[b + 1]], possibly empty.
exclude: pairs of (row, item) that are not ranked.
top_items, top_scores: best first; -inf where a row has no more items to rank.
state_out: goes with the row's next items as state_in; its last entries are the row's query vector."""

# They log what the exporter finds about packages and optimisations that do not matter here.
_CHATTY_LOGGERS = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
    "onnx_ir._convenience",
)


class InferenceModel(nn.Module):
    """What a bundle's graph computes: new states, and the k best items that are not excluded."""

    def __init__(self, model: RecBLR, k: int) -> None:
        """Wrap `model`, which is put into evaluation mode.

        Args:
            model: on the CPU.
            k: results per row, at most V.
        """
        super().__init__()
        self.model = model
        self.k = k
        self.eval()

    def forward(
        self, items: Items, offsets: Offsets, state_in: States, exclude: Exclude
    ) -> tuple[Tensor, Tensor, States]:
        """Feed each row's items to its state and rank the catalogue, as `recblr.runtime.Backend.run` does.

        Args:
            items: int32 [N] 1..V.
            offsets: int32 [B+1].
            state_in: float32 [B, S].
            exclude: int32 [M, 2] pairs of (row, item).

        Returns:
            int32 [B, k] items and float32 [B, k] scores, best first; float32 [B, S] new states.
        """
        query, state_out = self.model.query(items, offsets, state_in)
        top_scores, top_items = self.rankable(query, exclude).topk(self.k)
        return top_items.int(), top_scores, state_out

    def rankable(self, queries: Queries, exclude: Exclude) -> Scores:
        """Every item's score [B, V+1]; -inf for item 0 and what is excluded."""
        rows, items = exclude.long().unbind(1)
        return self.model.scores(queries).index_put((rows, items), queries.new_tensor(-torch.inf))


def build_graph(model: RecBLR, max_k: int, fingerprint: str) -> onnx.ModelProto:
    """The model as an ONNX file for every runtime.

    Args:
        model: on the CPU; it is put into evaluation mode.
        max_k: results per row; in a smaller catalogue, as many as it has items.
        fingerprint: of the model, for the file's metadata.

    Returns:
        A graph with the inputs and outputs of `InferenceModel.forward`, any N, B >= 1 and M; its nodes of domain
        "recblr" have a local function each. Of a large model it holds all weights but the items' embedding, which
        `recblr.export.onnx.graph_file.write_graph` writes to a file of its own.

    Raises:
        ConfigError: `max_k` out of range.
        ExportError: the model's settings do not allow it, as `RecBLRConfig.export_obstacle` says.
    """
    if isinstance(max_k, bool) or not isinstance(max_k, int) or not 1 <= max_k <= LARGEST_MAX_K:
        raise ConfigError(f"max-k is {max_k!r}: give a whole number from 1 to {LARGEST_MAX_K}")
    if obstacle := model.config.export_obstacle:
        raise ExportError(obstacle)
    graph = _trace(InferenceModel(model, min(max_k, model.config.n_items)))
    _strip_origins(graph)
    graph.functions.extend(local_functions())
    graph.graph.name = "recblr"
    graph.ir_version = IR_VERSION
    graph.producer_name = "recblr"
    graph.producer_version = recblr.__version__
    graph.doc_string = _DESCRIPTION
    onnx.helper.set_model_props(graph, {FINGERPRINT_KEY: fingerprint})
    return graph


def _trace(inference: InferenceModel) -> onnx.ModelProto:
    # Sizes of 0 and 1 would be taken for constants, so none is either.
    rows = 3
    example = {
        "items": torch.ones(5, dtype=torch.int32),
        "offsets": torch.tensor([0, 2, 3, 5], dtype=torch.int32),
        "state_in": inference.model.initial_state().detach().repeat(rows, 1),
        "exclude": torch.ones(2, 2, dtype=torch.int32),
    }
    tokens_dim, rows_dim, exclusions_dim = map(torch.export.Dim, ("tokens", "rows", "exclusions"))
    with torch.no_grad(), ops.use(SymbolicOps()), _quiet():
        program = torch.onnx.export(
            inference,
            kwargs=example,
            input_names=INPUT_NAMES,
            output_names=OUTPUT_NAMES,
            dynamic_shapes={
                "items": {0: tokens_dim},
                "offsets": {0: rows_dim + 1},
                "state_in": {0: rows_dim},
                "exclude": {0: exclusions_dim},
            },
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("PyTorch's exporter returned nothing: install another version of torch")
    _refer_to_embedding(program.model, "model.embedding.weight", inference.model)
    proto: onnx.ModelProto = program.model_proto
    return proto


def _refer_to_embedding(graph: ir.Model, name: str, model: RecBLR) -> None:
    """Let a large model's graph name the embedding's file instead of holding the embedding; leave a smaller one alone.

    Args:
        graph: as PyTorch's exporter gives it.
        name: of the embedding in it.
        model: that was exported.

    Raises:
        ExportError: the exporter gives the embedding another name.
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to its developers from the terminal."""
    loggers = [logging.getLogger(name) for name in _CHATTY_LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _strip_origins(proto: onnx.ModelProto) -> None:
    """Remove the source files that the exporter notes for each node: they name folders of this machine."""
    graph = proto.graph
    del proto.metadata_props[:]
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
