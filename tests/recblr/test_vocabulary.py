"""Item vocabularies: ids of both types, order, popularity, and what is refused."""

from __future__ import annotations

import enum
import json

import numpy as np
import pytest

from recblr.errors import ConfigError
from recblr.item_ids import in_type, parse_id
from recblr.vocabulary import ItemVocabulary


class Film(enum.IntEnum):
    ALIEN = 20


class Name(str, enum.Enum):  # noqa: UP042 - as str() of these is their name
    ALIEN = "a"


@pytest.fixture
def numbers() -> ItemVocabulary:
    return ItemVocabulary([1, 20, 0, -7, 2**63 - 1], [5, 9, 9, 0, 9])


@pytest.fixture
def words() -> ItemVocabulary:
    return ItemVocabulary(["a", "1", "ü", ""], [1, 2, 3, 4])


NOT_CANONICAL = [
    "007",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "1.0",
    "1_000",
    "-0",
    "--1",
    "0x1",
    "1e0",
    "",
    "\uff11",
    "٣",
    "9" * 101,
]
NO_IDS = [True, 1.0, None, np.float32(1), np.bool_(True), (1,), [1], b"1", np.bytes_(b"1"), np.timedelta64(1), 1 + 0j]


def test_the_index_of_an_id(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    for vocabulary in (numbers, words):
        assert [vocabulary.index(item_id) for item_id in vocabulary.ids] == list(range(1, vocabulary.n_items + 1))
    for item_id in numbers.ids:
        assert numbers.index(str(item_id)) == numbers.index(item_id) > 0
    assert [words.index(1), words.index(99)] == [2, 0]
    assert [numbers.index(Film.ALIEN), words.index(Name.ALIEN), numbers.index(np.uint8(20))] == [2, 1, 2]


@pytest.mark.parametrize("stranger", [*NOT_CANONICAL, "A-1", *NO_IDS])
def test_what_can_be_no_integer_id(numbers: ItemVocabulary, stranger: object) -> None:
    assert numbers.index(stranger) == 0


@pytest.mark.parametrize("stranger", [*NO_IDS, 10**100])
def test_what_can_be_no_string_id(words: ItemVocabulary, stranger: object) -> None:
    assert words.index(stranger) == 0


def test_ids_in_a_type() -> None:
    assert in_type([20, "20", "A-1", "007", 99, "-5"], "integer") == [20, 20, 99, -5]
    assert in_type([20, "20", "A-1", 10**100], "string") == ["20", "20", "A-1"]


def test_ids_as_typed() -> None:
    assert parse_id(" -7 ", "integer") == -7
    assert parse_id(" x", "string") == " x"
    for text in (*NOT_CANONICAL[:2], *NOT_CANONICAL[5:], "a", "9" * 5000):
        with pytest.raises(ConfigError, match="is not an integer"):
            parse_id(text, "integer")


def test_counts_do_not_change(numbers: ItemVocabulary) -> None:
    with pytest.raises(ValueError, match="read-only"):
        numbers.counts[0] = 1


def test_ids_from_arrays_become_python_values() -> None:
    assert ItemVocabulary(np.array([3, 4]), np.array([1, 1])).to_json()["ids"] == [3, 4]
    assert ItemVocabulary(np.array(["x", "y"], dtype=object), [1, 1]).id_type == "string"


@pytest.mark.parametrize("name", ["numbers", "words"])
def test_json_round_trip(name: str, request: pytest.FixtureRequest) -> None:
    vocabulary: ItemVocabulary = request.getfixturevalue(name)
    copy = ItemVocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert copy.ids == vocabulary.ids
    assert copy.counts.tolist() == vocabulary.counts.tolist()
    assert copy.id_type == vocabulary.id_type


@pytest.mark.parametrize(
    ("ids", "counts", "reason"),
    [
        ([], [], "without items"),
        ([1, "a"], [1, 1], "int, str"),
        ([1, True], [1, 1], "bool, int"),
        ([1.5], [1], "float"),
        ([7, 8, 7], [1, 1, 1], "item id 7 occurs more than once"),
        ([1, 2], [1], "give 2 whole numbers"),
        ([1, 2], [1, -1], "an item count is -1"),
        ([1, 2], [1.0, 2.0], "float64"),
        ([1, 2], [[1], [2, 3]], "one list"),
    ],
)
def test_what_is_no_vocabulary(ids: list[int], counts: list[int], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ItemVocabulary(ids, counts)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "it needs id_type"),
        ([], "it needs id_type"),
        ({"ids": [1], "counts": [1]}, "it needs id_type"),
        ({"id_type": "string", "ids": "ab", "counts": [1, 1]}, "must be lists"),
        ({"id_type": "string", "ids": [1], "counts": [1]}, "id_type is 'string'"),
        (
            {"id_type": "integer", "ids": [1, 2**63], "counts": [1, 1]},
            "9223372036854775808 is beyond 64 bits.*--id-type",
        ),
        ({"id_type": "integer", "ids": [-(2**63) - 1, 1], "counts": [1, 1]}, "-9223372036854775809 is beyond 64 bits"),
        ({"id_type": "integer", "ids": [1, None], "counts": [1, 1]}, "NoneType"),
        ({"id_type": "integer", "ids": [1], "counts": [None]}, "whole numbers"),
    ],
)
def test_json_that_is_no_vocabulary(value: object, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ItemVocabulary.from_json(value)
