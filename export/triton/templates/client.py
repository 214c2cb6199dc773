import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton  # pip install 'tritonclient[grpc]'

FOLDER = Path("recblr")
IDS = json.loads((FOLDER / "items.json").read_text(encoding="utf-8"))["ids"]
INDEX = {str(item_id): j for j, item_id in enumerate(IDS, start=1)}  # 25 and "25" are one item
NEW_USER = np.fromfile(FOLDER / "initial_state" / "state_in", np.float32)


def padded(rows: Sequence[Sequence[int | str]]) -> np.ndarray:
    """The known items of each row as int32 [rows, n], zeros behind them."""
    known = [[INDEX[str(item_id)] for item_id in row if str(item_id) in INDEX] for row in rows]
    matrix = np.zeros((len(rows), max(1, *map(len, known))), np.int32)
    for row, items in zip(matrix, known, strict=True):
        row[: len(items)] = items
    return matrix


def recommend(
    client: triton.InferenceServerClient,
    new_items: Sequence[Sequence[int | str]],
    states: np.ndarray,
    exclude: Sequence[Sequence[int | str]],
    k: int = 10,
) -> tuple[list[list[tuple[int | str, float]]], np.ndarray]:
    """One ranking of (item id, score) pairs per row, and the new states."""
    arrays = {"items": padded(new_items), "exclude_items": padded(exclude), "state_in": states}
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), "FP32" if name == "state_in" else "INT32"))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer("recblr", inputs)
    items, scores = result.as_numpy("top_items"), result.as_numpy("top_scores")
    if np.isnan(scores).any():
        raise RuntimeError("a request of this batch held an empty list: send [0] instead")
    rankings = [
        [(IDS[item - 1], score) for item, score in zip(*row, strict=True) if np.isfinite(score)][:k]
        for row in zip(items.tolist(), scores.tolist(), strict=True)
    ]
    return rankings, result.as_numpy("state_out")
