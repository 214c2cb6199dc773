"""The texts of a model repository: Triton's configurations and the README."""

from __future__ import annotations

from string import Template

_HEAD = """\
$mark, for the model $fingerprint.
# Rows are merged without padding; batch_input tells the graph each row's length, from which it makes the offsets.
name: "$name"
backend: "$backend"
max_batch_size: $max_rows
"""

_ITEMS = """\
  {
    name: "items"
    data_type: TYPE_INT32
    dims: [ -1 ]
    allow_ragged_batch: true
  },
  {
    name: "exclude_items"
    data_type: TYPE_INT32
    dims: [ -1 ]
    allow_ragged_batch: true
  }"""

_BATCH_INPUT = """\
batch_input [
  {
    kind: BATCH_ITEM_SHAPE_FLATTEN
    target_name: "item_counts"
    data_type: TYPE_INT32
    source_input: "items"
  },
  {
    kind: BATCH_ITEM_SHAPE_FLATTEN
    target_name: "exclude_counts"
    data_type: TYPE_INT32
    source_input: "exclude_items"
  }
]
"""

_TOP = """\
  {
    name: "top_items"
    data_type: TYPE_INT32
    dims: [ $k ]
  },
  {
    name: "top_scores"
    data_type: TYPE_FP32
    dims: [ $k ]
  }"""

_TAIL = """\
instance_group [
  {
    kind: $instance_kind
    count: 1
  }
]
parameters {
  key: "recblr.fingerprint"
  value: { string_value: "$fingerprint" }
}
"""

CONFIG = Template(
    _HEAD
    + "input [\n"
    + _ITEMS
    + """,
  {
    name: "state_in"
    data_type: TYPE_FP32
    dims: [ $state_size ]
  }
]
"""
    + _BATCH_INPUT
    + "output [\n"
    + _TOP
    + """,
  {
    name: "state_out"
    data_type: TYPE_FP32
    dims: [ $state_size ]
  }
]
dynamic_batching {
  max_queue_delay_microseconds: $max_queue_delay
}
"""
    + _TAIL
    + """\
model_warmup [
$warmup
]
"""
)

WARMUP = Template("""\
  {
    name: "$sample"
    batch_size: $batch_size
    inputs {
      key: "items"
      value: { data_type: TYPE_INT32 dims: [ $warmup_items ] input_data_file: "items" }
    }
    inputs {
      key: "exclude_items"
      value: { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }
    }
    inputs {
      key: "state_in"
      value: { data_type: TYPE_FP32 dims: [ $state_size ] input_data_file: "state_in" }
    }
  }""")

# No warm-up: its requests belong to no sequence, so that Triton has no state to give them.
IMPLICIT_STATE = Template(
    _HEAD
    + "input [\n"
    + _ITEMS
    + "\n]\n"
    + _BATCH_INPUT
    + "output [\n"
    + _TOP
    + """
]
sequence_batching {
  max_sequence_idle_microseconds: $idle_microseconds
  oldest {
    max_candidate_sequences: $sequences
    max_queue_delay_microseconds: $max_queue_delay
  }
  state [
    {
      input_name: "state_in"
      output_name: "state_out"
      data_type: TYPE_FP32
      dims: [ $state_size ]
      initial_state: {
        name: "new user"
        data_type: TYPE_FP32
        dims: [ $state_size ]
        data_file: "state_in"
      }
    }
  ]
}
"""
    + _TAIL
)

ONNX_NOTES = Template("""\
The model is an ONNX file for the ONNX Runtime backend, on the CPU:

    docker run --rm -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$$PWD:/models:ro" \\
      nvcr.io/nvidia/tritonserver:24.12-py3 tritonserver --model-repository=/models

Any later release with the ONNX Runtime backend serves as well.""")

ENGINE_NOTES = Template("""\
The model is a TensorRT engine. It opens with TensorRT $tensorrt_version, on the kind of GPU it was built for: take the
Triton release whose release notes name that version. The engine carries its plugin library, and Triton lets an engine
bring code only with `version-compatible=true`; so use it for engines you trust. (Triton's `plugins=` option and
LD_PRELOAD only load a library; they do not register the plugins in this one.)

    docker run --rm --gpus=1 -p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$$PWD:/models:ro" \\
      nvcr.io/nvidia/tritonserver:<release>-py3 tritonserver --model-repository=/models \\
      --backend-config=tensorrt,version-compatible=true

The engine takes $max_tokens entries of `items` and $max_exclusions of `exclude_items` per batch, zeros included. Triton
counts rows only: a batch with more fails as a whole. With at most $row_tokens items and $row_exclusions exclusions per
row no batch can have more. A longer history is sent in pieces, each with the state that the piece before it gave.""")

README = Template('''\
# A recblr model for Triton Inference Server

Written by recblr-export. recblr's tests check such configurations against Triton's own schema, and the graph in ONNX
Runtime with batches merged as Triton merges them; no Triton server takes part in them.

Model: $fingerprint, $n_items items, up to $k results per row.

## Serve

In this folder:

$notes

The server is ready when `curl -f localhost:8000/v2/models/$name/ready` succeeds.

## Ask

| input | type, shape | |
|---|---|---|
| `items` | int32 [rows, n] | each row's new items, oldest first, then zeros; `[0]` for none |
| `exclude_items` | int32 [rows, m] | each row's items that must not be ranked; zeros exclude nothing |
| `state_in` | float32 [rows, $state_size] | each row's last `state_out`, or `$name/initial_state/state_in` |

| output | type, shape | |
|---|---|---|
| `top_items` | int32 [rows, $k] | best first |
| `top_scores` | float32 [rows, $k] | -inf where no more items are left to rank |
| `state_out` | float32 [rows, $state_size] | keep it until the user's next items |

Items are the model's indices from 1: item j is `ids[j - 1]` of `$name/items.json`. Index 0 is padding, and so is every
number that is no item. n and m must be at least 1 and may differ between requests; a request may have up to $max_rows
rows. An empty list must never be sent: Triton's copying of ragged inputs stops there, for the requests behind it too.
The graph notices, and answers the whole batch with item 0, score NaN and the states that came.

```python
import json
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton  # pip install 'tritonclient[grpc]'

FOLDER = Path("$name")
IDS = json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))["ids"]
INDEX = {str(item_id): j for j, item_id in enumerate(IDS, start=1)}  # 25 and "25" are one item
NEW_USER = np.fromfile(FOLDER / "initial_state" / "state_in", np.float32)


def padded(rows):
    """The known items of each row as int32 [rows, n], zeros behind them."""
    rows = [[INDEX[str(item_id)] for item_id in row if str(item_id) in INDEX] for row in rows]
    matrix = np.zeros((len(rows), max(1, *map(len, rows))), np.int32)
    for row, items in zip(matrix, rows):
        row[: len(items)] = items
    return matrix


def recommend(client, new_items, states, exclude, k=10):
    """One ranking of (item id, score) pairs per row, and the new states."""
    arrays = {"items": padded(new_items), "exclude_items": padded(exclude), "state_in": states}
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), "FP32" if name == "state_in" else "INT32"))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer("$name", inputs)
    items, scores = result.as_numpy("top_items"), result.as_numpy("top_scores")
    if np.isnan(scores).any():
        raise RuntimeError("a request of this batch held an empty list: send [0] instead")
    rankings = [
        [(IDS[item - 1], score) for item, score in zip(*row) if np.isfinite(score)][:k]
        for row in zip(items.tolist(), scores.tolist())
    ]
    return rankings, result.as_numpy("state_out")
```

For two new users who have seen two items and one, and then for the first of them again, with nothing new:

    client = triton.InferenceServerClient("localhost:8001")
    history = [IDS[:2], IDS[2:3]]
    rankings, states = recommend(client, history, np.stack([NEW_USER, NEW_USER]), exclude=history)
    rankings, _ = recommend(client, [[]], states[:1], exclude=history[:1])

## States in the server

With `--model-config-name=implicit_state` Triton keeps the states itself, one per sequence (user): requests have no
`state_in` and one row each, and carry the user as `sequence_id`, with `sequence_start` in the first. Triton keeps them
in one server's memory and forgets a sequence after $idle_seconds s without a request, or at `sequence_end`. That suits
sessions; for users who come back tomorrow, keep `state_out` yourself.
''')
