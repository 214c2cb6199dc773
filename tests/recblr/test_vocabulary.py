"""Item vocabularies: ids of both types, order, popularity, and what is refused."""

from __future__ import annotations

import enum
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recblr.errors import ConfigError, RequestError
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


def test_encode_keeps_order_and_repeats_and_counts_the_unknown(numbers: ItemVocabulary) -> None:
    items, unknown = numbers.encode([20, 99, 1, 20, -7, 2**63 - 1, 0, -1])
    assert items.dtype == np.int32
    assert items.tolist() == [2, 1, 2, 4, 5, 3]
    assert unknown == 2


def test_no_ids(numbers: ItemVocabulary) -> None:
    for none in ([], (), np.array([]), np.array([], dtype=np.int64)):
        items, unknown = numbers.encode(none)
        assert (items.dtype, items.shape, unknown) == (np.int32, (0,), 0)


def test_an_integer_and_the_string_of_its_digits_are_one_id(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    for ids in (["20", 99, "-7", "0", "98", str(2**63 - 1)], np.array(["20", "99", "-7", "0", "98", str(2**63 - 1)])):
        items, unknown = numbers.encode(ids)
        assert (items.dtype, items.tolist(), unknown) == (np.int32, [2, 4, 3, 5], 2)
    for ones in ([1, 99, "ü"], np.array([1, 99, "ü"], object)):
        items, unknown = words.encode(ones)
        assert (items.dtype, items.tolist(), unknown) == (np.int32, [2, 3], 1)
    for dtype in (np.int64, np.uint8, np.int16):
        assert words.encode(np.array([1, 2] * 20, dtype))[0].tolist() == [2] * 20
    for item_id in numbers.ids:
        assert numbers.index(str(item_id)) == numbers.index(item_id) > 0


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


@pytest.mark.parametrize("stranger", [*NOT_CANONICAL, "A-1", *NO_IDS])
def test_what_can_be_no_integer_id(numbers: ItemVocabulary, stranger: object) -> None:
    items, unknown = numbers.encode([20, stranger, 1])
    assert items.tolist() == [2, 1]
    assert unknown == 1
    assert numbers.index(stranger) == 0


@pytest.mark.parametrize("stranger", [*NO_IDS, 10**100])
def test_what_can_be_no_string_id(words: ItemVocabulary, stranger: object) -> None:
    items, unknown = words.encode(["1", stranger])
    assert items.tolist() == [2]
    assert unknown == 1
    assert words.index(stranger) == 0


@pytest.mark.parametrize(
    ("name", "ids", "reason"),
    [
        ("numbers", [99, "A-1", "B"], "item id 'A-1' is of type str, the model's item ids are integers such as 1, "),
        ("numbers", ["007"] * 20, "'007' is of type str"),
        ("numbers", [None], "item id None is of type NoneType"),
        ("numbers", [True, 98], "item id True is of type bool"),
        ("numbers", [[20]], r"item id \[20\] is of type list"),
        ("numbers", np.array([b"20"]), "item id b'20' is of type bytes.*bytes have to be decoded"),
        ("numbers", np.array([1.0, 20.0]), r'item id 1.0 is of type float.*\.astype\("int64"\)'),
        ("numbers", [np.float32(20)], r'is of type float32.*\.astype\("int64"\)'),
        ("numbers", np.array([20, 1], "datetime64[ns]"), "is of type datetime64"),
        (
            "words",
            np.array([1.0, np.nan]),
            "item id 1.0 is of type float, the model's item ids are strings such as 'a'",
        ),
        ("words", ["zz", 10**100], r"item id 10{56}\.\.\. is of type int"),
    ],
)
def test_ids_of_another_catalogue_are_refused(
    name: str, ids: object, reason: str, request: pytest.FixtureRequest
) -> None:
    vocabulary: ItemVocabulary = request.getfixturevalue(name)
    with pytest.raises(RequestError, match=reason) as error:
        vocabulary.encode(ids)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_integers_that_python_does_not_write_out(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    assert numbers.encode([-(10**5000), 20])[1] == 1
    assert words.encode(["a", 10**5000])[1] == 1
    with pytest.raises(RequestError, match="item id <int of too many digits> is of type int"):
        words.encode([10**5000])


def test_unknown_ids_that_could_be_known_are_not_refused(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    for vocabulary, ids in ((numbers, [99, "98", 10**5000]), (numbers, ["98"]), (words, [99, "zz"]), (words, [-1])):
        items, unknown = vocabulary.encode(ids)
        assert (items.tolist(), unknown) == ([], len(ids))


def test_numpy_scalars_and_subclasses_match(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    assert numbers.encode([np.uint8(20), np.int64(-7), Film.ALIEN, 1])[0].tolist() == [2, 4, 2, 1]
    assert words.encode([np.str_("ü"), "a", Name.ALIEN])[0].tolist() == [3, 1, 1]
    assert numbers.encode([np.str_("20")])[0].tolist() == [2]
    assert words.encode([np.int8(1)])[0].tolist() == [2]


def test_arrays_of_other_libraries(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    torch, pa = pytest.importorskip("torch"), pytest.importorskip("pyarrow")
    forms = [torch.tensor, pa.array, lambda ids: pa.chunked_array([ids[:1], ids[1:]]), iter]
    for form in forms:
        assert numbers.encode(form([20, 99, 1]))[0].tolist() == [2, 1]
        assert words.encode(form([99, 1]))[0].tolist() == [2]
        with pytest.raises(RequestError, match=r"item id 20\.0 is of type float"):
            numbers.encode(form([20.0, 1.0]))
    assert numbers.encode(pa.array(["20", None]))[1] == 1


@pytest.mark.parametrize("repeats", [1, 20])
def test_what_an_array_masks_is_no_id(numbers: ItemVocabulary, repeats: int) -> None:
    items, unknown = numbers.encode(np.ma.array([20, 1] * repeats, mask=[True, False] * repeats))
    assert (items.tolist(), unknown) == ([1] * repeats, repeats)


def test_ids_in_the_models_type(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    assert numbers.in_own_type([20, "20", "A-1", "007", 99, "-5"]) == [20, 20, 99, -5]
    assert words.in_own_type([20, "20", "A-1", 10**100]) == ["20", "20", "A-1"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([20, 1], dtype=np.int16), [2, 1]),
        (np.array([2**63 - 1, 1], dtype=np.uint64), [5, 1]),
        (np.array([20, True, 1.0, "1"], dtype=object), [2, 1]),
        (np.array(["1", "+1"]), [1]),
        (np.array(["1", "20"], dtype=np.dtypes.StringDType()), [1, 2]),
    ],
)
def test_arrays(numbers: ItemVocabulary, array: np.ndarray, expected: list[int]) -> None:
    items, unknown = numbers.encode(array)
    assert items.tolist() == expected
    assert unknown == len(array) - len(expected)


@given(
    st.lists(st.integers(-40, 40), min_size=1, max_size=30, unique=True),
    st.sampled_from([0, 7, -(2**62) + 50, 2**62 - 50, 2**62, -(2**63) + 40, 2**63 - 41]),
    st.lists(st.one_of(st.integers(-45, 45), st.integers(-(2**65), 2**65)), max_size=40),
    st.sampled_from([np.int8, np.int64, np.uint64]),
)
def test_many_ids_are_encoded_as_one_by_one(
    ids: list[int], base: int, asked: list[int], dtype: type[np.integer]
) -> None:
    vocabulary = ItemVocabulary([base + item_id for item_id in ids], np.ones(len(ids), np.int64))
    asked = [base + item_id for item_id in asked]
    limits = np.iinfo(dtype)
    for row in (asked, np.array([item_id for item_id in asked if limits.min <= item_id <= limits.max], dtype)):
        expected = [vocabulary.index(item_id) for item_id in row]
        items, unknown = vocabulary.encode(row)
        assert items.dtype == np.int32
        assert items.tolist() == [index for index in expected if index]
        assert unknown == expected.count(0)


def test_arrays_of_strings_and_iterators(words: ItemVocabulary) -> None:
    assert words.encode(np.array(["ü", "zz", "a"]))[0].tolist() == [3, 1]
    assert words.encode(letter for letter in "aü")[0].tolist() == [1, 3]


def test_decode_is_the_inverse_of_encode(numbers: ItemVocabulary) -> None:
    ids = [2**63 - 1, 1, 0]
    decoded = numbers.decode(numbers.encode(ids)[0])
    assert decoded == ids
    assert all(type(item_id) is int for item_id in decoded)


def test_popular_items_first_and_equal_ones_by_index(numbers: ItemVocabulary) -> None:
    assert numbers.popular().tolist() == [2, 3, 5, 1, 4]
    assert numbers.popular().dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        numbers.popular()[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        numbers.counts[0] = 1


def test_parse(numbers: ItemVocabulary, words: ItemVocabulary) -> None:
    assert numbers.parse(" -7 ") == -7
    assert words.parse(" x") == " x"
    for text in (*NOT_CANONICAL[:2], *NOT_CANONICAL[5:], "a", "9" * 5000):
        with pytest.raises(ConfigError, match="is not an integer"):
            numbers.parse(text)


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
