from collections.abc import Sequence
from itertools import chain

import numpy as np
import tritonclient.grpc as triton  # pip install 'tritonclient[grpc]'

ID_TYPE = "DATATYPE"


def tensor(name: str, datatype: str, values: Sequence[int | str]) -> triton.InferInput:
    """An input of one dimension."""
    array = np.array(list(values), np.object_ if datatype == "BYTES" else np.int64)
    made = triton.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(array)
    return made


def recommend(
    client: triton.InferenceServerClient, histories: Sequence[Sequence[int | str]], k: int = 10
) -> list[list[tuple[int | str, float]]]:
    """One ranking of (item id, score) pairs per user."""
    inputs = [
        tensor("item_ids", ID_TYPE, [*chain.from_iterable(histories)]),
        tensor("lengths", "INT64", [len(history) for history in histories]),
    ]
    outputs = [triton.InferRequestedOutput(name) for name in ("items", "scores", "counts")]
    result = client.infer("recblr", inputs, outputs=outputs, parameters={"k": k})
    items, scores, counts = (result.as_numpy(name).tolist() for name in ("items", "scores", "counts"))
    if ID_TYPE == "BYTES":
        items = [[item.decode() for item in row] for row in items]
    return [
        list(zip(row_items, row_scores, strict=True))[:count]
        for row_items, row_scores, count in zip(items, scores, counts, strict=True)
    ]
