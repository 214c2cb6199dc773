"""The graph as Triton Inference Server batches for it: requests of any length, merged without padding.

Triton concatenates the ragged inputs of the requests in a batch and gives each row's length; rows get their numbers
only then, and an empty list must not reach it (its copying of a ragged input ends at the first request that has none).
So this graph, unlike a bundle's, takes lists padded with item 0:

  items           int32 [N]     row after row, each row's new items and then zeros; at least one entry per row
  item_counts     int32 [B]     entries of `items` per row, zeros included; made by Triton
  exclude_items   int32 [M]     row after row, items that are not ranked; zeros exclude nothing; at least one per row
  exclude_counts  int32 [B]     entries of `exclude_items` per row; made by Triton
  state_in        float32 [B, S]

and gives what a bundle's gives. All is done by standard operators on shapes that do not depend on data. An item outside
1..V counts as 0, so that a wrong request harms no other in its batch. Where a row has no entry at all, the batch cannot
be trusted: item 0, score NaN and the unchanged state are the answer in all its rows.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from recblr.errors import ExportError
from recblr.export.onnx.graph_file import INPUT_NAMES, OUTPUT_NAMES

TRITON_INPUT_NAMES = ("items", "item_counts", "exclude_items", "exclude_counts", "state_in")

_PREFIX = "triton."  # of all names that are added

_DESCRIPTION = """\
RecBLR for Triton Inference Server: the best next items for users given by their state and their new items.
items, exclude_items: row after row, each at least one entry, padded with 0.
item_counts, exclude_counts: entries per row, made by Triton (BATCH_ITEM_SHAPE_FLATTEN).
top_items, top_scores: best first; -inf where a row has no more items to rank.
state_out: goes with the row's next items as state_in."""

# Each row becomes two for the model: its items, and its padding, whose results are dropped. No token moves, and rows
# stay short. Names that end in _ are the bundle's inputs.
_BEFORE = """
before (
    int32[N] items, int32[B] item_counts, int32[M] exclude_items, int32[B] exclude_counts, float[B, S] state_in
) => (
    int32[N] items_, int32[O] offsets_, float[R, S] state_in_, int32[M, 2] exclude_
) {
    row_count = Shape (item_counts)
    row_scalar = Squeeze (row_count)
    row_long = Range (first, row_scalar, step)
    row = Cast <to: int = 6> (row_long)
    column_row = Unsqueeze (row, axis_1)
    up_to = LessOrEqual (row, column_row)
    item_counts_up_to = Where (up_to, item_counts, zero)
    item_ends = ReduceSum <keepdims: int = 0> (item_counts_up_to, axis_1)
    item_starts = Sub (item_ends, item_counts)
    exclude_counts_up_to = Where (up_to, exclude_counts, zero)
    exclude_ends = ReduceSum <keepdims: int = 0> (exclude_counts_up_to, axis_1)

    item_above = Greater (items, zero)
    item_below = Less (items, beyond)
    is_item = And (item_above, item_below)
    items_ = Where (is_item, items, zero)
    token_count = Shape (items)
    token_scalar = Squeeze (token_count)
    token_long = Range (first, token_scalar, step)
    token = Cast <to: int = 6> (token_long)
    token_end = Add (token, one)
    column_item_end = Unsqueeze (item_ends, axis_1)
    before_end = Less (token, column_item_end)
    item_before_end = And (before_end, is_item)
    end_if_item = Where (item_before_end, token_end, zero)
    last_end = ReduceMax <keepdims: int = 0> (end_if_item, axis_1)
    item_stops = Max (last_end, item_starts)
    column_item_stop = Unsqueeze (item_stops, axis_1)
    stop_and_end = Concat <axis: int = 1> (column_item_stop, column_item_end)
    stops_and_ends = Reshape (stop_and_end, flat)
    offsets_ = Concat <axis: int = 0> (zero, stops_and_ends)
    states_twice = Concat <axis: int = 1> (state_in, state_in)
    state_in_ = Reshape (states_twice, state_shape)

    exclusion_above = Greater (exclude_items, zero)
    exclusion_below = Less (exclude_items, beyond)
    is_exclusion = And (exclusion_above, exclusion_below)
    excluded = Where (is_exclusion, exclude_items, zero)
    exclusion_count = Shape (exclude_items)
    exclusion_scalar = Squeeze (exclusion_count)
    exclusion_long = Range (first, exclusion_scalar, step)
    exclusion = Cast <to: int = 6> (exclusion_long)
    column_exclude_end = Unsqueeze (exclude_ends, axis_1)
    row_ended = GreaterOrEqual (exclusion, column_exclude_end)
    row_ended_number = Cast <to: int = 6> (row_ended)
    exclusion_row = ReduceSum <keepdims: int = 0> (row_ended_number, axis_0)
    column_exclusion_row = Unsqueeze (exclusion_row, axis_1)
    column_excluded = Unsqueeze (excluded, axis_1)
    exclude_ = Concat <axis: int = 1> (column_exclusion_row, column_excluded)
}
"""

# Of the two rows for each, the first; here for the queries before they are scored.
_QUERIES = """
queries (float[R, D] query_) => (float[B, D] query) {
    query_pairs = Reshape (query_, query_pair_shape)
    query = Slice (query_pairs, axis_0, query_size, axis_1)
}
"""

_AFTER = """
after (
    int32[B, k] top_items_, float[B, k] top_scores_, float[R, S] state_out_,
    int32[B] item_counts, int32[B] exclude_counts, float[B, S] state_in
) => (int32[B, k] top_items, float[B, k] top_scores, float[B, S] state_out) {
    state_pairs = Reshape (state_out_, state_pair_shape)
    state = Slice (state_pairs, axis_0, state_size, axis_1)
    fewest_items = ReduceMin <keepdims: int = 1> (item_counts, axis_0)
    fewest_exclusions = ReduceMin <keepdims: int = 1> (exclude_counts, axis_0)
    fewest = Min (fewest_items, fewest_exclusions)
    whole = Greater (fewest, zero)
    top_items = Where (whole, top_items_, zero)
    top_scores = Where (whole, top_scores_, not_a_number)
    state_out = Where (whole, state, state_in)
}
"""


def triton_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The variant of a bundle's graph that Triton's ragged batching can feed.

    Args:
        model: as `recblr.export.onnx.graph.build_graph` makes it; left as it is.

    Returns:
        A graph with the inputs `TRITON_INPUT_NAMES` described at the top of this module, and the outputs of `model`:
        top_items int32 [B, k], top_scores float32 [B, k], state_out float32 [B, S]. Its nodes of domain "recblr" and
        their local functions are those of `model`.

    Raises:
        ExportError: `model` is another graph.
    """
    variant = onnx.ModelProto()
    variant.CopyFrom(model)
    graph = variant.graph
    if {i.name for i in graph.input} != set(INPUT_NAMES) or {o.name for o in graph.output} != set(OUTPUT_NAMES):
        names = ", ".join(value.name for value in (*graph.input, *graph.output))
        raise ExportError(f"not a bundle's graph, its inputs and outputs are {names}: export the bundle again")
    state_size = _last_dim(graph, "state_in")
    scoring, embedding = _scoring(graph)
    n_items, dim = embedding.dims[0] - 1, embedding.dims[1]

    def renamed(name: str) -> str:
        return f"{_PREFIX}{name}_" if name in (*INPUT_NAMES, *OUTPUT_NAMES) else name

    for node in graph.node:
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    query = scoring.input[0]
    scoring.input[0] = f"{_PREFIX}query"
    constants = _constants(n_items, dim, state_size)
    queries = _nodes(_QUERIES, {"query_": query})
    at = next(i for i, node in enumerate(graph.node) if node == scoring)
    _double_rows(graph, scoring)
    nodes = [*_nodes(_BEFORE), *graph.node[:at], *queries, *graph.node[at:], *_nodes(_AFTER)]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    state_in = next(value for value in graph.input if value.name == "state_in")
    state_type = state_in.type.tensor_type.elem_type
    graph.value_info.append(helper.make_tensor_value_info(f"{_PREFIX}state_in_", state_type, ["2 * rows", state_size]))
    integer = TensorProto.INT32
    inputs = {
        "items": helper.make_tensor_value_info("items", integer, ["tokens"]),
        "item_counts": helper.make_tensor_value_info("item_counts", integer, ["rows"]),
        "exclude_items": helper.make_tensor_value_info("exclude_items", integer, ["exclusions"]),
        "exclude_counts": helper.make_tensor_value_info("exclude_counts", integer, ["rows"]),
        "state_in": helper.make_tensor_value_info("state_in", state_type, ["rows", state_size]),
    }
    del graph.input[:]
    graph.input.extend(inputs[name] for name in TRITON_INPUT_NAMES)
    variant.doc_string = _DESCRIPTION
    return variant


def _double_rows(graph: GraphProto, scoring: NodeProto) -> None:
    """Make "rows" "2 * rows" in the declared shapes of all values that do not follow from the scores."""
    of_scores = set(scoring.output)
    for node in graph.node:
        if of_scores & set(node.input):
            of_scores.update(node.output)
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "rows" and value.name not in of_scores:
                dim.dim_param = "2 * rows"


def _last_dim(graph: GraphProto, name: str) -> int:
    value = next(value for value in graph.input if value.name == name)
    size: int = value.type.tensor_type.shape.dim[-1].dim_value
    return size


def _scoring(graph: GraphProto) -> tuple[NodeProto, TensorProto]:
    """The node that multiplies queries with the embedding, and the embedding [V+1, D]."""
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[1] == "items"]
    embedding = next((i for i in graph.initializer if gathers and i.name == gathers[0].input[0]), None)
    if embedding is not None and len(embedding.dims) == 2:
        scoring = [n for n in graph.node if n.op_type == "Gemm" and n.input[1] == embedding.name]
        if len(scoring) == 1:
            return scoring[0], embedding
    raise ExportError("the graph does not score by one product with its embedding: export the bundle again")


def _constants(n_items: int, dim: int, state_size: int) -> list[TensorProto]:
    values: dict[str, np.ndarray] = {
        "zero": np.array([0], np.int32),
        "one": np.array([1], np.int32),
        "beyond": np.array([n_items + 1], np.int32),
        "not_a_number": np.array([np.nan], np.float32),
        "first": np.array(0, np.int64),
        "step": np.array(1, np.int64),
        "axis_0": np.array([0], np.int64),
        "axis_1": np.array([1], np.int64),
        "flat": np.array([-1], np.int64),
        "state_shape": np.array([-1, state_size], np.int64),
        "state_pair_shape": np.array([-1, 2 * state_size], np.int64),
        "state_size": np.array([state_size], np.int64),
        "query_pair_shape": np.array([-1, 2 * dim], np.int64),
        "query_size": np.array([dim], np.int64),
    }
    return [numpy_helper.from_array(value, f"{_PREFIX}{name}") for name, value in values.items()]


def _nodes(text: str, names: dict[str, str] | None = None) -> list[NodeProto]:
    """The nodes of a graph in ONNX's textual form, all names but inputs and outputs prefixed, or as `names` says."""
    parsed = onnx.parser.parse_graph(text)
    given = {name: name for name in (*TRITON_INPUT_NAMES, *OUTPUT_NAMES)} | (names or {})
    nodes = list(parsed.node)
    for node in nodes:
        node.input[:] = [given.get(name, f"{_PREFIX}{name}") for name in node.input]
        node.output[:] = [given.get(name, f"{_PREFIX}{name}") for name in node.output]
        node.name = f"{_PREFIX}{node.output[0].removeprefix(_PREFIX)}"
    return nodes
