"""Item vocabularies: the user's own item ids, the model's indices, and how popular each item is.

Free of PyTorch: training, export and the runtime share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from jaxtyping import Int64

from recblr.array_types import ItemId, ItemsArray
from recblr.errors import ConfigError, RequestError, shown
from recblr.item_ids import CANONICAL_INTEGER, IdType, as_list, exact_id

CountsArray: TypeAlias = Int64[np.ndarray, "V"]
IdsArray: TypeAlias = Int64[np.ndarray, "n"]

_ID_TYPES: dict[IdType, type] = {"integer": int, "string": str}
# Integer ids are looked up in a table where it has at most so many places for an item, and so many at once, where that
# is faster than a dict.
_PLACES_PER_ITEM = 8
_FEWEST_FOR_TABLE = 16


class _Table(NamedTuple):
    """Indices by id: `indices[id - before]`, clipped; 0 where there is none."""

    indices: ItemsArray
    before: int


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

    def encode(self, item_ids: Iterable[object]) -> tuple[ItemsArray, int]:
        """The model's indices of item ids.

        This decides for all of recblr what an id that a caller gives means. One of the vocabulary's type is known or
        not. One of the other type is converted where that is exact, and then known or not. What is left, such as
        "A-1" or 1.0 for integers or None, can be no id of this model, and is skipped like an unknown one as long as
        another id is known. Where none is, the caller evidently speaks of another catalogue, or in another type.

        Args:
            item_ids: any number of ids, as a list, tuple, set or iterator, or as an array with one dimension of NumPy,
                or of another library: a tensor, a pandas Series, an Arrow array. NumPy arrays of
                integers and lists of Python's `int`, or of `str` for string ids, are the fastest.

        Returns:
            int32 [n] the indices of the known ones, in order, and how many others were skipped.

        Raises:
            RequestError: no id is known, and one can be no id of this model; the message names the first such.
        """
        if type(item_ids) is np.ndarray:  # no subclass: what a masked array masks is no id
            is_integer = item_ids.dtype.kind in "iu" and np.can_cast(item_ids.dtype, np.int64)
            if is_integer and len(item_ids) >= _FEWEST_FOR_TABLE and self._table is not None:
                return self._encode_integers(item_ids.astype(np.int64), self._table)
        item_ids = as_list(item_ids)
        if set(map(type, item_ids)) <= {_ID_TYPES[self.id_type]}:
            if len(item_ids) >= _FEWEST_FOR_TABLE and self._table is not None:
                with contextlib.suppress(OverflowError):  # an id beyond 64 bits
                    integers = np.fromiter(cast("Iterable[int]", item_ids), np.int64, len(item_ids))
                    return self._encode_integers(integers, self._table)
            indices = list(map(self._index.get, item_ids, repeat(0)))
        else:
            indices = self._indices_of_any_type(item_ids)
        n_unknown = indices.count(0)
        if n_unknown:
            indices = [index for index in indices if index]
        return np.fromiter(indices, dtype=np.int32, count=len(indices)), n_unknown

    def _indices_of_any_type(self, item_ids: Sequence[object]) -> list[int]:
        """The index of each, 0 where it has none.

        Raises:
            RequestError: see `encode`.
        """
        own = [exact_id(item_id, self.id_type) for item_id in item_ids]
        indices = [self._index.get(item_id, 0) for item_id in own]
        if None in own and not any(indices):
            stranger = item_ids[own.index(None)]
            advice = 'integers, or text such as "25"' if self.id_type == "integer" else "strings, or integers"
            if isinstance(stranger, float | np.floating):
                advice = 'whole numbers, by .astype("int64"); a missing value makes pandas turn integers into floats'
            elif isinstance(stranger, bytes):
                advice = "text, as bytes have to be decoded"
            raise RequestError(
                f"item id {shown(stranger)} is of type {type(stranger).__name__}, the model's item ids are "
                f"{self.id_type}s such as {shown(self.ids[0])}, and it knows none of those given: give {advice}"
            )
        return indices

    def in_own_type(self, item_ids: list[ItemId]) -> list[ItemId]:
        """Ids in the vocabulary's type, in order, without those that have no exact form in it."""
        if set(map(type, item_ids)) <= {_ID_TYPES[self.id_type]}:
            return item_ids
        own = (exact_id(item_id, self.id_type) for item_id in item_ids)
        return [item_id for item_id in own if item_id is not None]

    def _encode_integers(self, item_ids: IdsArray, table: _Table) -> tuple[ItemsArray, int]:
        # `take` would give Python's lock away, which other threads may want, and wait for it.
        places = np.minimum(np.maximum(item_ids, table.before), table.before + len(table.indices) - 1) - table.before
        indices = table.indices[places]
        n_unknown = len(indices) - int(np.count_nonzero(indices))
        return (indices[indices > 0] if n_unknown else indices), n_unknown

    @cached_property
    def _table(self) -> _Table | None:
        """The index of each integer from the least id to the largest; None for strings, or where it would be large."""
        if self.id_type == "string":
            return None
        least, largest = cast(int, min(self.ids)), cast(int, max(self.ids))
        n_places = largest - least + 3  # one more at each end, for what is beyond
        if n_places > _PLACES_PER_ITEM * (self.n_items + 1) or least < -(2**62) or largest >= 2**62:
            return None
        indices = np.zeros(n_places, np.int32)
        indices[np.array(self.ids, np.int64) - (least - 1)] = np.arange(1, self.n_items + 1)
        return _Table(indices, least - 1)

    def decode(self, indices: ItemsArray) -> list[ItemId]:
        """The item ids of indices 1..V."""
        ids = self.ids
        return [ids[j - 1] for j in indices.tolist()]

    def parse(self, text: str) -> ItemId:
        """An item id as typed in a shell; blanks around an integer do not count.

        Raises:
            ConfigError: the ids are integers, and `text` is none in its canonical decimal form.
        """
        if self.id_type == "string":
            return text
        if not CANONICAL_INTEGER.fullmatch(text.strip()):
            raise ConfigError(
                f"item id {shown(text)} is not an integer in plain decimal form, as this model's ids are: check the ids"
            )
        return int(text)

    def popular(self) -> ItemsArray:
        """int32 [V] all indices, the most popular first, equally popular ones by index; read-only."""
        return self._popular

    @cached_property
    def _popular(self) -> ItemsArray:
        order = np.argsort(-self.counts, kind="stable").astype(np.int32) + np.int32(1)
        order.flags.writeable = False
        return order

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
