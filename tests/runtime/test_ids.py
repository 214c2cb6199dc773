"""Item ids in every form that callers have them in: known, converted, skipped or refused."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recblr.errors import RequestError
from recblr.runtime import Bundle, Engine, open_bundle
from recblr.vocabulary import ItemVocabulary


class Film(enum.IntEnum):
    ALIEN = 20


class Name(str, enum.Enum):  # noqa: UP042 - as str() of these is their name
    ALIEN = "a"


class Encode:
    """What a bundle with some item ids makes of a row: the indices, and how many ids it does not know."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __call__(self, row: object) -> tuple[list[int], int]:
        items, offsets, unknown = self._bundle.core.encode([row], "histories")
        assert (items.dtype, offsets.tolist()) == (np.int32, [0, len(items)])
        return items.tolist(), int(unknown[0])


@pytest.fixture(scope="module")
def make_encode(tmp_path_factory: pytest.TempPathFactory, write_bundle: Callable[..., Any]) -> Callable[..., Encode]:
    def make(ids: list[int] | list[str]) -> Encode:
        return Encode(open_bundle(write_bundle(tmp_path_factory.mktemp("ids") / "bundle", ids).path))

    return make


@pytest.fixture(scope="module")
def numbers(make_encode: Callable[..., Encode]) -> Encode:
    return make_encode([1, 20, 0, -7, 2**63 - 1, 101, 102, 103, 104])


@pytest.fixture(scope="module")
def words(make_encode: Callable[..., Encode]) -> Encode:
    return make_encode(["a", "1", "ü", "", "q", "日本", "x\0y", str(2**64), "h"])


def test_order_and_repeats_are_kept_and_the_unknown_counted(numbers: Encode) -> None:
    assert numbers([20, 99, 1, 20, -7, 2**63 - 1, 0, -1]) == ([2, 1, 2, 4, 5, 3], 2)
    assert numbers([20, 2**63, -(2**63), 2**64, 1]) == ([2, 1], 3)


def test_no_ids(numbers: Encode) -> None:
    for none in ([], (), set(), np.array([]), np.array([], dtype=np.int64)):
        assert numbers(none) == ([], 0)


def test_text_of_any_kind(words: Encode) -> None:
    texts = ["日本", "a", "\ud800", "q", "x\0y", "", "x", "\ud801", "ü"]
    assert words(texts) == ([6, 1, 5, 7, 4, 3], 3)
    assert words(np.array(texts, object)) == ([6, 1, 5, 7, 4, 3], 3)


def test_an_integer_and_the_string_of_its_digits_are_one_id(numbers: Encode, words: Encode) -> None:
    for ids in (["20", 99, "-7", "0", "98", str(2**63 - 1)], np.array(["20", "99", "-7", "0", "98", str(2**63 - 1)])):
        assert numbers(ids) == ([2, 4, 3, 5], 2)
    for ones in ([1, 99, "ü"], np.array([1, 99, "ü"], object), [1, 99, 2**65, 2**64, "ü"]):
        assert words(ones)[0] in ([2, 3], [2, 8, 3])
    assert words([2**64, 1]) == ([8, 2], 0)
    assert words(np.array([2**64 - 1, 1], np.uint64)) == ([2], 1)
    for dtype in (np.int64, np.uint8, np.int16):
        assert words(np.array([1, 2] * 20, dtype)) == ([2] * 20, 20)


NOT_CANONICAL = [
    *("007", "+1", " 1", "1 ", "1\n", "1.0", "1_000", "-0", "--1", "0x1", "1e0", "", "\uff11", "٣", "9" * 101),
]
NO_IDS = [True, 1.0, None, np.float32(1), np.bool_(True), (1,), [1], b"1", np.bytes_(b"1"), np.timedelta64(1), 1 + 0j]


@pytest.mark.parametrize("stranger", [*NOT_CANONICAL, "A-1", *NO_IDS])
def test_what_can_be_no_integer_id(numbers: Encode, stranger: object) -> None:
    assert numbers([20, stranger, 1]) == ([2, 1], 1)
    assert numbers(["20", stranger, stranger, 1]) == ([2, 1], 2)
    with pytest.raises(RequestError, match="and it knows none of those given"):
        numbers([99, stranger])


@pytest.mark.parametrize("stranger", [*NO_IDS, 10**100])
def test_what_can_be_no_string_id(words: Encode, stranger: object) -> None:
    assert words(["1", stranger]) == ([2], 1)
    with pytest.raises(RequestError, match="and it knows none of those given"):
        words(["zz", stranger])


FLOATS = r'whole numbers, by \.astype\("int64"\); a missing value makes pandas turn integers into floats'


@pytest.mark.parametrize(
    ("name", "ids", "reason"),
    [
        ("numbers", [99, "A-1", None], "item id 'A-1' is of type str, the model's item ids are integers such as 1, "),
        ("numbers", [99, None, "A-1"], 'item id None is of type NoneType, .*: give integers, or text such as "25"'),
        ("numbers", ["007"] * 20, "'007' is of type str"),
        ("numbers", [True, 98], "item id True is of type bool"),
        ("numbers", [[20]], r"item id \[20\] is of type list"),
        ("numbers", np.array([b"20"]), "item id b'20' is of type bytes.*give text, as bytes have to be decoded"),
        ("numbers", np.array([1.0, 20.0]), f"item id 1.0 is of type float, .*{FLOATS}"),
        ("numbers", [np.float32(20)], f"is of type float32.*{FLOATS}"),
        ("numbers", np.array([20, 1], "datetime64[ns]"), "is of type datetime64"),
        (
            "words",
            np.array([1.0, np.nan]),
            "item id 1.0 is of type float, the model's item ids are strings such as 'a'",
        ),
        ("words", [None], "give strings, or integers"),
        ("words", ["zz", 10**100], r"item id 10{56}\.\.\. is of type int"),
        ("words", [10**5000], "item id <int of too many digits> is of type int"),
    ],
)
def test_ids_of_another_catalogue_are_refused(
    name: str, ids: object, reason: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(RequestError, match=reason) as error:
        request.getfixturevalue(name)(ids)
    assert str(error.value).startswith("histories[0]: ")
    assert "\n" not in str(error.value)


def test_integers_that_python_does_not_write_out(numbers: Encode, words: Encode) -> None:
    assert numbers([-(10**5000), 20]) == ([2], 1)
    assert words(["a", 10**5000]) == ([1], 1)


def test_unknown_ids_that_could_be_known_are_not_refused(numbers: Encode, words: Encode) -> None:
    for encode, ids in ((numbers, [99, "98", 10**5000]), (numbers, ["98"]), (words, [99, "zz"]), (words, [-1])):
        assert encode(ids) == ([], len(ids))


def test_numpy_scalars_and_subclasses(numbers: Encode, words: Encode) -> None:
    assert numbers([np.uint8(20), np.int64(-7), Film.ALIEN, 1]) == ([2, 4, 2, 1], 0)
    assert words([np.str_("ü"), "a", Name.ALIEN]) == ([3, 1, 1], 0)
    assert numbers([np.str_("20")]) == ([2], 0)
    assert words([np.int8(1), np.ulonglong(2**63)]) == ([2], 1)


def test_arrays_of_other_libraries(numbers: Encode, words: Encode) -> None:
    torch, pa = pytest.importorskip("torch"), pytest.importorskip("pyarrow")
    for form in (torch.tensor, pa.array, lambda ids: pa.chunked_array([ids[:1], ids[1:]]), np.array):
        assert numbers(form([20, 99, 1])) == ([2, 1], 1)
        assert words(form([99, 1])) == ([2], 1)
        with pytest.raises(RequestError, match=r"item id 20\.0 is of type float"):
            numbers(form([20.0, 1.0]))
    for missing in (pa.array([20, None]), pa.chunked_array([[20], [None]]), pa.array(["20", None])):
        assert numbers(missing) == ([2], 1)
    assert numbers(torch.tensor([[1, 20], [20, 99]])[:, 0]) == ([1, 2], 0)
    with pytest.raises(RequestError, match="item id True is of type bool"):
        numbers(torch.tensor([True]))


def pandas_column(values: list[Any], dtype: str) -> Any:
    import pandas as pd

    return pd.Index(values) if dtype == "index" else pd.Series(values, dtype=None if dtype == "" else dtype)


def polars_column(values: list[Any], dtype: str) -> Any:
    import polars as pl

    if dtype == "chunks":
        return pl.concat([pl.Series(values[:1]), pl.Series(values[1:])], rechunk=False)
    return pl.Series(values, dtype=getattr(pl, dtype) if dtype else None)


INTEGER_COLUMNS = [
    *((pandas_column, dtype) for dtype in ("", "int8", "uint64", "Int64", "int64[pyarrow]", "object", "category")),
    *((pandas_column, dtype) for dtype in ("index", "Sparse[int]")),
    *((polars_column, dtype) for dtype in ("", "UInt8", "chunks", "Object")),
]
TEXT_COLUMNS = [
    *((pandas_column, dtype) for dtype in ("", "object", "string", "string[python]", "string[pyarrow]", "category")),
    *((pandas_column, dtype) for dtype in ("index", "large_string[pyarrow]")),
    *((polars_column, dtype) for dtype in ("", "chunks", "Categorical", "Object")),
]


@pytest.mark.parametrize(("column", "dtype"), INTEGER_COLUMNS)
def test_columns_of_integers(numbers: Encode, words: Encode, column: Callable[..., Any], dtype: str) -> None:
    assert numbers(column([20, 99, 1], dtype)) == ([2, 1], 1)
    assert words(column([99, 1], dtype)) == ([2], 1)


@pytest.mark.parametrize(("column", "dtype"), TEXT_COLUMNS)
def test_columns_of_text(numbers: Encode, words: Encode, column: Callable[..., Any], dtype: str) -> None:
    assert numbers(column(["20", "x", "1"], dtype)) == ([2, 1], 1)
    assert words(column(["x", "1"], dtype)) == ([2], 1)


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        *((pandas_column, dtype) for dtype in ("Int64", "int64[pyarrow]", "object")),
        *((polars_column, dtype) for dtype in ("", "Int64", "Object")),
    ],
)
def test_what_is_missing_in_a_column_is_no_id(numbers: Encode, column: Callable[..., Any], dtype: str) -> None:
    assert numbers(column([20, None, 1], dtype)) == ([2, 1], 1)
    assert numbers(column([None, 20], dtype)) == ([2], 1)


@pytest.mark.parametrize("column", [pandas_column, polars_column])
def test_columns_of_floats_are_refused(numbers: Encode, column: Callable[..., Any]) -> None:
    for values in ([181.0, float("nan")], [20.0]):
        with pytest.raises(RequestError, match=rf"item id {values[0]} is of type float.*{FLOATS}"):
            numbers(column(values, ""))
    with pytest.raises(RequestError, match=rf"item id 20.0 is of type float.*{FLOATS}"):
        numbers(pandas_column([20, None], ""))  # integers, but for what is missing


def test_columns_of_rows(engine: Engine) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    rows = [[10, 20], [30]]
    expected = [ranking.items for ranking in engine.recommend(rows, k=2)]
    frame = {"user": ["u", "u", "v"], "item": [10, 20, 30]}
    for columns in (
        pd.DataFrame(frame).groupby("user").item.apply(list),
        pd.DataFrame(frame).groupby("user").item.apply(np.array),
        pl.DataFrame(frame).group_by("user", maintain_order=True).agg("item")["item"],
        pa.array(rows),
        pa.chunked_array([rows[:1], rows[1:]]),
    ):
        assert [ranking.items for ranking in engine.recommend(columns, k=2)] == expected


@pytest.mark.parametrize("repeats", [1, 20])
def test_what_an_array_masks_is_no_id(numbers: Encode, repeats: int) -> None:
    masked = np.ma.array([20, 1] * repeats, mask=[True, False] * repeats)
    assert numbers(masked) == ([1] * repeats, repeats)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([20, 1], dtype=np.int16), [2, 1]),
        (np.array([20, 1], dtype=">i4"), [2, 1]),
        (np.array([20, 0, 1, 0], dtype=np.int64)[::2], [2, 1]),
        (np.array([1, 20], dtype=np.int8)[::-1], [2, 1]),
        (np.array([2**63 - 1, 2**64 - 1, 1], dtype=np.uint64), [5, 1]),
        (np.array([20, True, 1.0, "1"], dtype=object), [2, 1]),
        (np.array(["1", "+1"]), [1]),
        (np.array(["1", "20"], dtype=np.dtypes.StringDType()), [1, 2]),
        (np.array([(1, 2)], dtype="i4,i4"), []),
    ],
)
def test_arrays(numbers: Encode, array: np.ndarray, expected: list[int]) -> None:
    if not expected:
        with pytest.raises(RequestError, match="is of type tuple"):
            numbers(array)
        return
    assert numbers(array) == (expected, len(array) - len(expected))


@pytest.fixture(scope="module")
def sparse(make_encode: Callable[..., Encode]) -> tuple[ItemVocabulary, Encode]:
    ids = [-(2**63), -(2**62), -5, 0, 3, 4, 2**31, 2**62, 2**63 - 1]
    return ItemVocabulary(ids, [1] * len(ids)), make_encode(ids)


near_ids = st.one_of(*(st.integers(base - 3, base + 3) for base in (-(2**63), -(2**62), 0, 2**31, 2**63, 2**64)))


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(near_ids, max_size=40), dtype=st.sampled_from([np.int8, np.int64, np.uint64]))
def test_many_ids_are_encoded_as_one_by_one(
    sparse: tuple[ItemVocabulary, Encode], asked: list[int], dtype: type[np.integer]
) -> None:
    vocabulary, encode = sparse
    limits = np.iinfo(dtype)
    array = np.array([item_id for item_id in asked if limits.min <= item_id <= limits.max], dtype)
    for row in (asked, tuple(asked), list(map(str, asked)), array):
        expected = [vocabulary.index(item_id) for item_id in row]
        assert encode(row) == ([index for index in expected if index], expected.count(0))


def test_what_is_no_row(numbers: Encode) -> None:
    for row in (20, "20", None, {1: 2}, np.array(20), np.array([[20]]), iter([20])):
        with pytest.raises(RequestError, match=r"histories\[0\] is .*: give a sequence of item ids per row"):
            numbers(row)


def test_a_list_that_changes_meanwhile_is_read_safely(numbers: Encode) -> None:
    ids: list[Any] = []

    class Shrinking:
        def __repr__(self) -> str:
            ids.clear()
            return "shrinking"

    ids += [20, Shrinking(), 1, 20]
    assert numbers(ids) == ([2], 1)


def test_ids_of_a_bundle(tmp_path: Path, write_bundle: Callable[..., Any]) -> None:
    ids = ["a", "1", "ü", "", "q", "日本", "x\0y", "g", "h"]
    bundle = open_bundle(write_bundle(tmp_path / "bundle", ids).path)
    assert bundle.item_ids() == ids
    assert [bundle.item(index) for index in bundle.indices(ids).tolist()] == ids
    for index in (0, 10, -1):
        with pytest.raises(RequestError, match="index"):
            bundle.item(index)
