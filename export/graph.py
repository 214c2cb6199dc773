"""The inference graph: items and states in, the best items and new states out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import Tensor, nn

from recblr import ops
from recblr.array_types import Exclude, Items, Offsets, States
from recblr.export.functions import LAST_OVERLOAD, OPSET, local_functions
from recblr.export.symbolic_ops import DOMAIN, GATED_SCAN, LAST_ONLY, SymbolicOps
from recblr.model import RecBLR

INPUTS = ("items", "offsets", "state_in", "exclude")
OUTPUTS = ("top_items", "top_scores", "state_out")
# The first IR version in which functions have overloads.
_IR_VERSION = 10


class InferenceModel(nn.Module):
    """What the exported graph computes.

    Args:
        model: in evaluation mode.
        max_k: k; no more than the catalogue has items.
    """

    def __init__(self, model: RecBLR, max_k: int) -> None:
        super().__init__()
        self.model = model
        self.max_k = max_k

    def forward(self, items: Items, offsets: Offsets, state_in: States, exclude: Exclude) -> tuple[Tensor, ...]:
        """Rank the catalogue for each row.

        Args:
            items: int32 [N].
            offsets: int32 [B+1].
            state_in: float32 [B, S].
            exclude: int32 [M, 2], pairs of (row, item) that must not be recommended.

        Returns:
            top_items int32 [B, k], top_scores float32 [B, k], best first, and state_out float32 [B, S].
        """
        query, state_out = self.model.query(items, offsets, state_in)
        scores = self.model.scores(query)
        row, item = exclude.long().unbind(dim=1)
        scores = scores.index_put((row, item), scores.new_full((), -torch.inf))
        top_scores, top_items = scores.topk(self.max_k, dim=1)
        return top_items.int(), top_scores, state_out


def build_graph(model: RecBLR, max_k: int, metadata: dict[str, str]) -> onnx.ModelProto:
    """The model as ONNX: nodes `recblr::CausalConv1d` and `recblr::GatedScan`, and a local function for each.

    Args:
        model: in evaluation mode, on the CPU.
        max_k: results per row.
        metadata: kept in the file's metadata.
    """
    config = model.config
    n_rows = 3  # any size but 0 and 1, which the tracer takes for constants
    example = (
        torch.tensor([1, 1, 1, 1, 1], dtype=torch.int32),
        torch.tensor([0, 2, 4, 5], dtype=torch.int32),
        torch.zeros(n_rows, config.state_size),
        torch.zeros(2, 2, dtype=torch.int32),
    )
    dynamic = torch.export.Dim.DYNAMIC
    with ops.use(SymbolicOps()), _quiet(), torch.no_grad():
        program = torch.onnx.export(
            InferenceModel(model, max_k).eval(),
            example,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes={
                "items": {0: dynamic},
                "offsets": {0: dynamic},
                "state_in": {0: dynamic},
                "exclude": {0: dynamic},
            },
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _name_dimensions(proto)
    for node in proto.graph.node:
        if node.op_type == GATED_SCAN and any(a.name == LAST_ONLY and a.i for a in node.attribute):
            node.overload = LAST_OVERLOAD
    proto.functions.extend(local_functions())
    proto.ir_version = max(proto.ir_version, _IR_VERSION)
    if not any(opset.domain == DOMAIN for opset in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    onnx.helper.set_model_props(proto, metadata)
    return proto


def _name_dimensions(proto: onnx.ModelProto) -> None:
    """Call the dynamic dimensions of inputs and outputs what they are."""
    names = {
        "items": ("tokens",),
        "offsets": ("rows_plus_1",),
        "state_in": ("rows", None),
        "exclude": ("exclusions", None),
        "top_items": ("rows", None),
        "top_scores": ("rows", None),
        "state_out": ("rows", None),
    }
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names[value.name], strict=True):
            if name is not None:
                dimension.dim_param = name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress report and its advice to developers from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
