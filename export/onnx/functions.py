"""The two sequence operations in standard ONNX operators, as local functions that a model file carries.

A runtime without kernels for `recblr::CausalConv1d` and `recblr::GatedScan`, such as ONNX Runtime, runs these instead.
They hold for any number of tokens and rows, empty rows included; offsets may be int32 or int64. All indices are
derived from the offsets alone, so that a runtime that joins equal expressions computes them once for all layers.

The recurrence runs as a `Scan` over time, all rows at once. With rows padded to the longest, T, that is T steps on
[B, H]: good for short rows and for rows of like length. In other batches memory would grow as B T, not as N, and few
rows would mean many small steps. There each row is cut into chunks of about sqrt(T) tokens, all chunks are scanned at
once from a state of zero, a second scan carries the state from chunk to chunk, and every position adds its share of
the carried state: 2 sqrt(T) steps, memory N + 2 B sqrt(T).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx.parser
from onnx import FunctionProto, NodeProto

from recblr.export.onnx.symbolic_ops import CAUSAL_CONV1D, DOMAIN, GATED_SCAN, LAST_ONLY
from recblr.ops.reference import SQRT_EPSILON

# Of the format, the lowest with local functions. (Defaults of their attributes came with 9: nodes give every one.)
IR_VERSION = 8
OPSET = 18

# Padding is used for rows of at most so many tokens, and where T (B + _STEP_COST) <= 2 N: the factor 2 is the cost of
# a token in chunks, _STEP_COST that of a step, in tokens; both were measured with ONNX Runtime.
_SHORT = 16
_STEP_COST = 8

_HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}, "{DOMAIN}" : 1]>'

_CONSTANTS = """
    zero = Constant <value_ints: ints = [0]> ()
    one = Constant <value_ints: ints = [1]> ()
    minus_one = Constant <value_ints: ints = [-1]> ()
    no_end = Constant <value_ints: ints = [9223372036854775807]> ()
    scalar_zero = Constant <value_int: int = 0> ()
    scalar_one = Constant <value_int: int = 1> ()
"""

_ROWS = """
    starts = Slice (offsets, zero, minus_one, zero)
    ends = Slice (offsets, one, no_end, zero)
    n_tokens = Gather <axis: int = 0> (offsets, minus_one)
    lengths = Sub (ends, starts)
    n_rows = Shape (lengths)
"""

# Each token's row, int64 [N]. Offsets: int64.
_TOKEN_ROWS = f"""{_HEADER}
TokenRows (offsets) => (row) {{
    {_CONSTANTS}
    {_ROWS}
    n_places = Add (n_tokens, one)
    no_marks = ConstantOfShape <value: tensor = int64[1] {{0}}> (n_places)
    marks = ConstantOfShape <value: tensor = int64[1] {{1}}> (n_rows)
    rows_ended = ScatterElements <axis: int = 0, reduction: string = "add"> (no_marks, ends, marks)
    row_of_place = CumSum (rows_ended, scalar_zero)
    row = Slice (row_of_place, zero, minus_one, zero)
}}
"""

# Each token's row and its position in that row, int64 [N].
_POSITIONS = f"""
    row = {DOMAIN}.TokenRows (offsets)
    scalar_n_tokens = Squeeze (n_tokens, zero)
    token = Range (scalar_zero, scalar_n_tokens, scalar_one)
    row_start = Gather (starts, row)
    position = Sub (token, row_start)
"""

# Each token's place, int64 [N], among rows padded to equal lengths, position after position.
_PADDED_PLACES = f"""{_HEADER}
PaddedPlaces (offsets) => (place) {{
    {_CONSTANTS}
    {_ROWS}
    {_POSITIONS}
    places_before = Mul (position, n_rows)
    place = Add (places_before, row)
}}
"""

# Past inputs and tokens are one pool of vectors; every window is gathered from it.
_CAUSAL_CONV1D = f"""{_HEADER}
{CAUSAL_CONV1D} (x, weight, bias, offsets_in, tail) => (y, new_tail) {{
    {_CONSTANTS}
    offsets = Cast <to: int = 7> (offsets_in)
    {_ROWS}
    width = Shape <start: int = 0, end: int = 1> (weight)
    n_taps = Shape <start: int = 1, end: int = 2> (weight)
    n_past = Sub (n_taps, one)
    n_pasts = Mul (n_rows, n_past)
    past_shape = Concat <axis: int = 0> (n_pasts, width)
    past = Reshape <allowzero: int = 1> (tail, past_shape)
    pool = Concat <axis: int = 0> (past, x)

    {_POSITIONS}
    scalar_n_taps = Squeeze (n_taps, zero)
    tap = Range (scalar_zero, scalar_n_taps, scalar_one)
    lag = Sub (tap, n_past)
    column_position = Unsqueeze (position, one)
    window_position = Add (column_position, lag)
    in_row = GreaterOrEqual (window_position, zero)
    token_place = Add (token, n_pasts)
    column_token_place = Unsqueeze (token_place, one)
    place_in_row = Add (column_token_place, lag)
    row_past_start = Mul (row, n_past)
    row_past_end = Add (row_past_start, n_past)
    column_past_end = Unsqueeze (row_past_end, one)
    place_in_past = Add (column_past_end, window_position)
    window = Where (in_row, place_in_row, place_in_past)
    inputs = Gather <axis: int = 0> (pool, window)
    taps = Transpose <perm: ints = [1, 0]> (weight)
    products = Mul (inputs, taps)
    conv = ReduceSum <keepdims: int = 0> (products, one)
    total = Add (conv, bias)
    gate = Sigmoid (total)
    y = Mul (total, gate)

    past_lag = Slice (lag, zero, minus_one, zero)
    column_length = Unsqueeze (lengths, one)
    tail_position = Add (column_length, past_lag)
    tail_in_row = GreaterOrEqual (tail_position, zero)
    column_end = Unsqueeze (ends, one)
    end_place = Add (column_end, n_pasts)
    tail_place_in_row = Add (end_place, past_lag)
    scalar_n_rows = Squeeze (n_rows, zero)
    each_row = Range (scalar_zero, scalar_n_rows, scalar_one)
    each_past_start = Mul (each_row, n_past)
    each_past_end = Add (each_past_start, n_past)
    column_each_past_end = Unsqueeze (each_past_end, one)
    tail_place_in_past = Add (column_each_past_end, tail_position)
    tail_window = Where (tail_in_row, tail_place_in_row, tail_place_in_past)
    new_tail = Gather <axis: int = 0> (pool, tail_window)
}}
"""


def _padded(name: str, *, products: bool, every_step: bool) -> str:
    """h_t = a_t h_{t-1} + b_t along rows padded to n_steps tokens.

    Inputs a, b [N, H], offsets int64 [B+1], n_steps (a scalar, at least 1), h0 [B, H]; outputs h [n_steps, B, H] where
    `every_step`, and last_h [B, H].

    Args:
        name: of the function.
        products: compute p_t = a_t p_{t-1} as well, in the same way: input p0, outputs p, last_p.
        every_step: give h (and p) at every position; otherwise the last only.
    """
    states = ["h", "p"] if products else ["h"]
    steps = [f"{s}_t" for s in states] if every_step else []
    inputs = ", ".join(["a", "b", "offsets", "n_steps", *(f"{s}0" for s in states)])
    last = [f"last_{s}" for s in states]
    every = states if every_step else []
    body_inputs = ", ".join(f"float[?, ?] {name}" for name in [*(f"{s}_before" for s in states), "a_t", "b_t"])
    body_outputs = ", ".join(f"float[?, ?] {name}" for name in [*(f"{s}_after" for s in states), *steps])
    initial = ", ".join(f"{s}0" for s in states)
    body = ["decayed = Mul (a_t, h_before)", "h_after = Add (decayed, b_t)"]
    body += ["p_after = Mul (a_t, p_before)"] if products else []
    body += [f"{s}_t = Identity ({s}_after)" for s in every]
    # Past a row's end, a = 1 and b = 0 keep its state.
    return f"""{_HEADER}
{name} ({inputs}) => ({", ".join([*every, *last])}) {{
    {_CONSTANTS}
    {_ROWS}
    t = Range (scalar_zero, n_steps, scalar_one)
    column_t = Unsqueeze (t, one)
    within = Less (column_t, lengths)
    place_within = Add (column_t, starts)
    place = Where (within, place_within, n_tokens)
    width = Shape <start: int = 1> (a)
    vector_shape = Concat <axis: int = 0> (one, width)
    keep = ConstantOfShape <value: tensor = float[1] {{1.0}}> (vector_shape)
    nothing = ConstantOfShape <value: tensor = float[1] {{0.0}}> (vector_shape)
    a_or_keep = Concat <axis: int = 0> (a, keep)
    b_or_nothing = Concat <axis: int = 0> (b, nothing)
    a_padded = Gather <axis: int = 0> (a_or_keep, place)
    b_padded = Gather <axis: int = 0> (b_or_nothing, place)
    {", ".join([*last, *every])} = Scan <
        num_scan_inputs: int = 2, body: graph = step ({body_inputs}) => ({body_outputs}) {{ {" ".join(body)} }}
    > ({initial}, a_padded, b_padded)
}}
"""


def _chunked(name: str, *, every_step: bool) -> str:
    """h_t = a_t h_{t-1} + b_t in chunks.

    Inputs a, b [N, H], offsets int64 [B+1], longest (a scalar), h0 [B, H]; output last_h [B, H]. Where `every_step`,
    there are before it h [size, chunks, H], of the chunks padded to equal lengths, and behind it the chunks' offsets.
    """
    chunk_outputs = "h_from_zero, share, chunk_h, chunk_a" if every_step else "chunk_h, chunk_a"
    across_outputs = "carried, last_h" if every_step else "last_h"
    level = "" if every_step else "Last"
    join = f"""
    chunk_place = {DOMAIN}.PaddedPlaces (row_chunks)
    state_rows_shape = Concat <axis: int = 0> (minus_one, width)
    carried_rows = Reshape (carried, state_rows_shape)
    h0_and_carried = Concat <axis: int = 0> (h0, carried_rows)
    chunk_h0 = Gather <axis: int = 0> (h0_and_carried, chunk_place)
    from_h0 = Mul (share, chunk_h0)
    h = Add (h_from_zero, from_h0)
"""
    return f"""{_HEADER}
{name} (a, b, offsets, longest, h0) => ({"h, last_h, chunk_offsets" if every_step else "last_h"}) {{
    {_CONSTANTS}
    {_ROWS}
    float_longest = Cast <to: int = 1> (longest)
    root = Sqrt (float_longest)
    whole_root = Ceil (root)
    size = Cast <to: int = 7> (whole_root)
    size_less_one = Sub (size, scalar_one)
    rounding_up = Add (lengths, size_less_one)
    n_chunks = Div (rounding_up, size)
    most_chunks = ReduceMax <keepdims: int = 0> (n_chunks)
    chunks_until = CumSum (n_chunks, scalar_zero)
    row_chunks = Concat <axis: int = 0> (zero, chunks_until)
    chunk_row = {DOMAIN}.TokenRows (row_chunks)
    n_all_chunks = Shape (chunk_row)
    scalar_n_chunks = Squeeze (n_all_chunks, zero)
    chunk = Range (scalar_zero, scalar_n_chunks, scalar_one)
    row_first_chunk = Gather (row_chunks, chunk_row)
    number = Sub (chunk, row_first_chunk)
    row_start = Gather (starts, chunk_row)
    tokens_before = Mul (number, size)
    chunk_starts = Add (row_start, tokens_before)
    chunk_offsets = Concat <axis: int = 0> (chunk_starts, n_tokens)

    width = Shape <start: int = 1> (a)
    state_shape = Concat <axis: int = 0> (n_all_chunks, width)
    zeros = ConstantOfShape <value: tensor = float[1] {{0.0}}> (state_shape)
    ones = ConstantOfShape <value: tensor = float[1] {{1.0}}> (state_shape)
    {chunk_outputs} = {DOMAIN}.PaddedWithProducts{level} (a, b, chunk_offsets, size, zeros, ones)
    {across_outputs} = {DOMAIN}.Padded{level} (chunk_a, chunk_h, row_chunks, most_chunks, h0)
    {join if every_step else ""}
}}
"""


# The tokens of the longest row, a scalar of at least 1, and whether to pad. It is apart from its use because
# runtimes join equal expressions of the graph itself, but not those within an If.
_LAYOUT = f"""{_HEADER}
Layout (offsets) => (longest, pad) {{
    {_CONSTANTS}
    {_ROWS}
    longest_or_zero = ReduceMax <keepdims: int = 0> (lengths)
    longest = Max (longest_or_zero, scalar_one)
    short = Constant <value_int: int = {_SHORT}> ()
    is_short = LessOrEqual (longest, short)
    step_cost = Constant <value_ints: ints = [{_STEP_COST}]> ()
    rows_and_cost = Add (n_rows, step_cost)
    padded_cost = Mul (longest, rows_and_cost)
    chunked_cost = Add (n_tokens, n_tokens)
    is_dense = LessOrEqual (padded_cost, chunked_cost)
    scalar_is_dense = Squeeze (is_dense, zero)
    pad = Or (is_short, scalar_is_dense)
}}
"""


# h_t = a_t h_{t-1} + b_t at every token, and the last; at the last alone. Padded, or in chunks.
# Places are computed from the If's result, though they are known before: in OpenVINO's CPU plugin (2026.4), a node that
# reads a result of an If reads other memory whenever the result grows, unless shapes that depend on the If's results
# come between.
_RECURRENCES = [
    f"""{_HEADER}
Recurrence (a, b, offsets, longest, pad, h0) => (h, last_h) {{
    h_padded, last_h, padded_offsets = If <
        then_branch: graph = padded () => (float[?, ?, ?] h_1, float[?, ?] last_h_1, int64[?] offsets_1) {{
            h_1, last_h_1 = {DOMAIN}.Padded (a, b, offsets, longest, h0)
            offsets_1 = Identity (offsets)
        }},
        else_branch: graph = chunked () => (float[?, ?, ?] h_2, float[?, ?] last_h_2, int64[?] offsets_2) {{
            h_2, last_h_2, offsets_2 = {DOMAIN}.Chunked (a, b, offsets, longest, h0)
        }}
    > (pad)
    place = {DOMAIN}.PaddedPlaces (padded_offsets)
    any = Constant <value_ints: ints = [-1]> ()
    width = Shape <start: int = 1> (a)
    flat_shape = Concat <axis: int = 0> (any, width)
    h_flat = Reshape (h_padded, flat_shape)
    h = Gather <axis: int = 0> (h_flat, place)
}}
""",
    f"""{_HEADER}
RecurrenceLast (a, b, offsets, longest, pad, h0) => (last_h) {{
    last_h = If <
        then_branch: graph = padded () => (float[?, ?] last_h_1) {{
            last_h_1 = {DOMAIN}.PaddedLast (a, b, offsets, longest, h0)
        }},
        else_branch: graph = chunked () => (float[?, ?] last_h_2) {{
            last_h_2 = {DOMAIN}.ChunkedLast (a, b, offsets, longest, h0)
        }}
    > (pad)
}}
""",
]


# With t = tanh(u / 2), -expm1(u) = 2 t / (t - 1): no cancellation near u = 0, no overflow far from it.
# Sigmoid as 1 / (1 + exp(-x)): runtimes' own is exact to an absolute error only, and a small r would be lost.
# The condition is a constant of each node, so that runtimes drop the other branch when they load the file.
_GATED_SCAN = f"""{_HEADER}
{GATED_SCAN} <{LAST_ONLY}> (x, gates, z, decay, offsets_in, h0) => (y, last_h) {{
    offsets = Cast <to: int = 7> (offsets_in)
    float_one = Constant <value_float: float = 1.0> ()
    two = Constant <value_float: float = 2.0> ()
    epsilon = Constant <value_float: float = {SQRT_EPSILON}> ()
    minus_gates = Neg (gates)
    exp_gates = Exp (minus_gates)
    exp_gates_and_one = Add (exp_gates, float_one)
    open_gates = Reciprocal (exp_gates_and_one)
    r, i = Split <axis: int = 1, num_outputs: int = 2> (open_gates)
    rate = Softplus (decay)
    minus_rate = Neg (rate)
    log_alpha = Mul (minus_rate, r)
    alpha = Exp (log_alpha)
    t = Tanh (log_alpha)
    twice_t = Mul (two, t)
    t_less_one = Sub (t, float_one)
    one_less_square = Div (twice_t, t_less_one)
    square = Add (one_less_square, epsilon)
    root = Sqrt (square)
    beta = Mul (root, i)
    b = Mul (beta, x)
    z_gate = Sigmoid (z)
    gate = Mul (z, z_gate)
    longest, pad = {DOMAIN}.Layout (offsets)
    last_only = Constant <value_int: int = @{LAST_ONLY}> ()
    is_last_only = Cast <to: int = 9> (last_only)
    y, last_h = If <
        then_branch: graph = last_position () => (float[?, ?] y_last, float[?, ?] h_last) {{
            h_last = {DOMAIN}.RecurrenceLast (alpha, b, offsets, longest, pad, h0)
            y_last = Mul (gate, h_last)
        }},
        else_branch: graph = all_positions () => (float[?, ?] y_all, float[?, ?] h_end) {{
            h_all, h_end = {DOMAIN}.Recurrence (alpha, b, offsets, longest, pad, h0)
            y_all = Mul (gate, h_all)
        }}
    > (is_last_only)
}}
"""


def local_functions() -> list[FunctionProto]:
    """The functions of `recblr::CausalConv1d` and `recblr::GatedScan`, and those that they call.

    With last_only = 1, GatedScan never forms h at every position.
    """
    texts = [_TOKEN_ROWS, _PADDED_PLACES, _CAUSAL_CONV1D, _LAYOUT]
    for every_step, suffix in ((True, ""), (False, "Last")):
        texts += [
            _padded(f"Padded{suffix}", products=False, every_step=every_step),
            _padded(f"PaddedWithProducts{suffix}", products=True, every_step=every_step),
            _chunked(f"Chunked{suffix}", every_step=every_step),
        ]
    texts += [*_RECURRENCES, _GATED_SCAN]
    return [_without_unused(onnx.parser.parse_function(text)) for text in texts]


def _without_unused(function: FunctionProto) -> FunctionProto:
    """Remove from a function, in place, the nodes whose outputs nothing reads.

    The texts share more than each needs, and ONNX Runtime 1.16 to 1.18 computes wrong numbers around such nodes in
    batches after a session's first.
    """
    needed = set(function.output)
    kept: list[NodeProto] = []
    for node in reversed(function.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_inputs(node))
    del function.node[:]
    function.node.extend(reversed(kept))
    return function


def _inputs(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, those read by graphs within it included."""
    yield from node.input
    for attribute in node.attribute:
        yield from (output.name for output in attribute.g.output)
        for inner in attribute.g.node:
            yield from _inputs(inner)
