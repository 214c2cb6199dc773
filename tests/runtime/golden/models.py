"""The models of the golden answers: their weights and item ids, and their bundles as the installed code writes them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
MODELS = ("integer", "string", "large")


def write_model(name: str, settings: dict[str, Any], max_k: int, ids: np.ndarray, equal: list[list[int]]) -> None:
    """Draw a model's weights and popularity, and write them with its ids to data/NAME.npz.

    Weights are multiples of 1/64, which keeps the files small.

    Args:
        name: one of `MODELS`; its place there is the seed.
        settings: of `RecBLRConfig`, without n_items.
        max_k: the most results per row of the bundle.
        ids: [V] the item ids, int64 or str.
        equal: groups of indices, from 1, of items that share their embedding, so that their scores are equal.
    """
    from recblr.config import RecBLRConfig
    from recblr.model import RecBLR

    settings = {"n_items": len(ids), **settings}
    random = np.random.Generator(np.random.PCG64(MODELS.index(name)))
    arrays = {}
    for weight, tensor in RecBLR(RecBLRConfig(**settings)).state_dict().items():
        if weight.endswith("decay"):  # what it keeps of a state per item is then between 0.73 and 0.998
            low, high = -6 * 64, -1 * 64
        else:
            low, high = -40, 40
        drawn = random.integers(low, high, tensor.shape, endpoint=True) / 64
        arrays[weight] = (drawn + weight.endswith("norm.weight")).astype(np.float32)
    embedding = arrays["embedding.weight"]
    embedding[0] = 0
    for first, *others in equal:
        embedding[others] = embedding[first]
    counts = random.integers(0, 12, len(ids), endpoint=True)
    np.savez_compressed(
        DATA / f"{name}.npz",
        settings=np.array(json.dumps(settings)),
        max_k=np.array(max_k),
        ids=ids,
        counts=counts,
        **{f"weights/{weight}": array for weight, array in arrays.items()},
    )


def read_data(name: str) -> Any:
    """A JSON file of data/."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@cache
def item_ids(name: str) -> list[int] | list[str]:
    """A model's item ids, in order of its indices."""
    with np.load(DATA / f"{name}.npz") as file:
        ids: list[int] | list[str] = file["ids"].tolist()
    return ids


def export_model(name: str, folder: Path) -> None:
    """Write a model's bundle to the folder `folder / name`."""
    import torch

    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    with np.load(DATA / f"{name}.npz") as file:
        model = RecBLR(RecBLRConfig(**json.loads(str(file["settings"]))))
        prefix = "weights/"
        model.load_state_dict(
            {key.removeprefix(prefix): torch.from_numpy(file[key]) for key in file.files if key.startswith(prefix)}
        )
        checkpoint = Checkpoint(model, ItemVocabulary(item_ids(name), file["counts"]))
        export_bundle(checkpoint, folder / name, max_k=int(file["max_k"]))
