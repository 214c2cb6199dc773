"""Item vocabularies: the user's own item ids, the model's indices, and how popular each item is.

Free of PyTorch. The runtime reads them in C++, from the bundles to which export writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from jaxtyping import Int64

from recblr.errors import ConfigError, shown
from recblr.item_ids import IdType, exact_id

CountsArray: TypeAlias = Int64[np.ndarray, "V"]

_ID_TYPES: dict[IdType, type] = {"integer": int, "string": str}


class ItemVocabulary:
    """The item ids of a catalogue, all integers or all strings, in order of the model's indices 1..V.

    Their type is part of the model. Ids of the other type are converted where that is exact, as `exact_id` says: the
    string "25" is the integer 25, and the other way around. A bool, a float, None and all else match no id.

    Attributes:
        ids: [V]
        id_type: "integer" or "string".
        counts: [V]
    """

    ids: list[int] | list[str]
    id_type: IdType
    counts: CountsArray

    def __init__(self, ids: Sequence[int] | Sequence[str] | np.ndarray, counts: Sequence[int] | np.ndarray) -> None:
        """Check and index the ids.

        Args:
            ids: [V] distinct item ids; that of index j stands at j - 1.
            counts: [V] whole numbers >= 0, in the same order: how often the training data holds each item.

        Raises:
            ConfigError: no ids, ids of several or other types, integers beyond 64 bits, an id twice, or counts that
                do not fit.
        """
        self.ids = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)  # type: ignore[assignment]
        self.id_type = _id_type(self.ids)
        if self.id_type == "integer":
            _check_64_bits(cast("list[int]", self.ids))
        self._index: dict[Any, int] = dict(zip(self.ids, range(1, len(self.ids) + 1), strict=True))
        if len(self._index) != len(self.ids):
            twice = next(item_id for j, item_id in enumerate(self.ids) if self._index[item_id] != j + 1)
            raise ConfigError(f"item id {twice!r} occurs more than once: each item needs its own id")
        self.counts = _checked_counts(counts, len(self.ids))

    @property
    def n_items(self) -> int:
        """V, the number of items."""
        return len(self.ids)

    def index(self, item_id: object) -> int:
        """The model's index of one item id, 1..V; 0 for one it does not know."""
        return self._index.get(exact_id(item_id, self.id_type), 0)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON-ready values."""
        return {"id_type": self.id_type, "ids": list(self.ids), "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, value: object) -> ItemVocabulary:
        """Inverse of `to_json`.

        Raises:
            ConfigError: `value` is no vocabulary.
        """
        if not isinstance(value, Mapping) or not {"id_type", "ids", "counts"} <= value.keys():
            raise ConfigError("no item vocabulary: it needs id_type, ids and counts; write it again")
        ids, counts = value["ids"], value["counts"]
        if not isinstance(ids, list) or not isinstance(counts, list):
            raise ConfigError("no item vocabulary: ids and counts must be lists; write it again")
        vocabulary = cls(ids, counts)
        if value["id_type"] != vocabulary.id_type:
            raise ConfigError(f"id_type is {value['id_type']!r}, but the ids are {vocabulary.id_type}s")
        return vocabulary


def _id_type(ids: Sequence[object]) -> IdType:
    types = set(map(type, ids))
    for name, id_type in _ID_TYPES.items():
        if types == {id_type}:
            return name
    if not ids:
        raise ConfigError("a vocabulary without items: give at least one item id")
    names = ", ".join(sorted(found.__name__ for found in types))
    raise ConfigError(f"item ids of type {names}: give only Python integers, or only strings")


def _check_64_bits(ids: list[int]) -> None:
    for item_id in (min(ids), max(ids)):
        if not -(2**63) <= item_id < 2**63:
            raise ConfigError(f"item id {shown(item_id)} is beyond 64 bits: make the ids strings, by --id-type string")


def _checked_counts(counts: Sequence[int] | np.ndarray, n_items: int) -> CountsArray:
    try:
        array = np.asarray(counts)
    except ValueError as error:  # nested lists of unequal lengths
        raise ConfigError("item counts must be one list of whole numbers") from error
    if array.shape != (n_items,) or array.dtype.kind not in "iu":
        raise ConfigError(
            f"item counts of shape {array.shape} and type {array.dtype}: give {n_items} whole numbers, one per item"
        )
    checked = array.astype(np.int64)
    if checked.min() < 0:
        raise ConfigError(f"an item count is {checked.min()}: counts are at least 0")
    checked.flags.writeable = False
    return checked
