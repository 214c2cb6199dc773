"""A bundle's weights: where the manifest says that each is, and how it is mapped into memory.

In manifest.json, "weights" has an entry for each of the model's parameters, by its name in PyTorch, such as
"embedding.weight": {"file", "offset", "shape", "dtype": "float32"}, little-endian, row after row in one piece from that
byte of that file on; or {"zeros": true, "shape", "dtype"} for one that is zero and in no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from recblr.array_types import WeightArray

EMBEDDING = "embedding.weight"
_MOST_DIMENSIONS = 8


def check_weights(weights: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Refuse weights that are not float32 within the bundle's files.

    Args:
        weights: a manifest's "weights".
        sizes: of the files in it, in bytes.

    Raises:
        ValueError: names the first weight that is not.
    """
    for name, place in weights.items():
        if not isinstance(place, dict) or place.get("dtype") != "float32" or not _is_shape(place.get("shape")):
            raise ValueError(f"the weight {name} has no shape, or is not float32")
        if place.get("zeros") is True:
            continue
        file, offset = place.get("file"), place.get("offset")
        if not isinstance(file, str) or file not in sizes:
            raise ValueError(f"the weight {name} is in the file {file!r:.60}, which is not listed")
        if not _is_size(offset) or offset + 4 * math.prod(place["shape"]) > sizes[file]:
            raise ValueError(f"the weight {name} of shape {place['shape']} at byte {offset!r:.60} is not within {file}")


def read_weight(folder: Path, place: Mapping[str, Any]) -> WeightArray:
    """A weight by its checked place.

    Args:
        folder: the bundle's.
        place: its entry in the manifest's "weights".

    Returns:
        float32 of its shape, read-only, backed by the file; not necessarily aligned. Zeros are made.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is shorter than it was.
    """
    shape = tuple(place["shape"])
    if place.get("zeros") is True:
        zeros = np.zeros(shape, np.float32)
        zeros.flags.writeable = False
        return zeros
    return np.memmap(folder / place["file"], "<f4", mode="r", offset=place["offset"], shape=shape)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_DIMENSIONS and all(_is_size(n) and n > 0 for n in value)
