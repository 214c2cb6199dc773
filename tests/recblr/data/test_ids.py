"""Ids keep their type or say why not; what stands for null is refused or dropped and counted."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recblr.data import Columns, Interactions, load_interactions
from recblr.data.nulls import NULL_TOKENS
from recblr.errors import DataError


def load(*sources: Path, **options: Any) -> Interactions:
    return load_interactions(sources, Columns(), 0, 0, **options)[0]


def notes(*sources: Path, **options: Any) -> tuple[str, ...]:
    return load_interactions(sources, Columns(), 0, 0, **options)[1].notes


def parquet(folder: Path, ids: Any, name: str = "data.parquet", **columns: Any) -> Path:
    path = folder / name
    pq.write_table(pa.table({"user_id": [1] * len(ids), "item_id": ids, "timestamp": range(len(ids))} | columns), path)
    return path


def text(folder: Path, *ids: Any, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"1,{value},{row}\n" for row, value in enumerate(ids)))
    return path


def refused(*sources: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(*sources, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


UUIDS = [uuid.UUID(int=2**127 + n) for n in range(3)]


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array([7.0, -3.0, 2.0**53]), [7, -3, 2**53]),
        (pa.array([7.0, 8.0], "float32"), [7, 8]),
        (pa.array([7.0], "float16"), [7]),
        (pa.array([Decimal("7.00"), Decimal("-8.00")]), [7, -8]),
        (pa.array([Decimal(2**62)], pa.decimal256(50, 3)), [2**62]),
        (pa.array([b"a", "é".encode()]), ["a", "é"]),
        (pa.array([b"7", b"a"], pa.large_binary()), ["7", "a"]),
        (pa.array([b"7", b"a"], pa.binary_view()), ["7", "a"]),
        (pa.array([b"7", b"a"]).dictionary_encode(), ["7", "a"]),
        (pa.array([5, 6, 5]).dictionary_encode(), [5, 6]),
        (pa.array([value.bytes for value in UUIDS], pa.uuid()), [str(value) for value in UUIDS]),
    ],
)
def test_types_of_ids(values: pa.Array, ids: list[Any], tmp_path: Path) -> None:
    data = load(parquet(tmp_path, values))
    assert data.item_ids.tolist() == ids
    assert data.item_ids.dtype in (np.int64, object)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (pa.array([7.0, 7.5]), "row 1 (counting from 0): item_id 7.5 is no whole number"),
        (pa.array([7.0, 2.0**53 + 2]), "row 1 (counting from 0): item_id 9007199254740994.0 is no"),
        (pa.array([7.0, float("inf")]), "row 1 (counting from 0): item_id inf is no"),
        (pa.array([Decimal("7.00"), Decimal("7.25")]), "row 1 (counting from 0): item_id Decimal('7.25') is no whole"),
        (pa.array([b"a", b"\xff"]), "row 1 (counting from 0): item_id b'\\xff' is not UTF-8"),
        (pa.array([b"a" * 16], pa.binary(16)), "column 'item_id' holds fixed_size_binary[16]"),
        (pa.array([True, False]), "column 'item_id' holds bool"),
        (pa.array([1, 2], pa.timestamp("us")), "column 'item_id' holds timestamp[us]"),
    ],
)
def test_types_and_values_that_are_no_ids(values: pa.Array, part: str, tmp_path: Path) -> None:
    path = parquet(tmp_path, values)
    assert str(path) in refused(path)
    assert part in refused(path)


def test_categories_that_differ_by_file_and_row_group(tmp_path: Path) -> None:
    first = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], "int8"), ["b", "a"])
    second = pa.DictionaryArray.from_arrays(pa.array([1, 0], "int16"), pa.array(["c", "b"], "large_string"))
    paths = [parquet(tmp_path, first, "1.parquet"), parquet(tmp_path, second, "2.parquet")]
    data = load(*paths)
    assert data.item_ids.tolist() == ["b", "a", "c"]
    assert np.sort(data.items).tolist() == [1, 1, 1, 2, 3]
    schema = pa.schema({"user_id": "int64", "item_id": pa.dictionary("int32", "string"), "timestamp": "int64"})
    groups = tmp_path / "groups.parquet"
    with pq.ParquetWriter(groups, schema) as writer:
        for categories in (["x", "y"], ["y", "z"]):
            ids = pa.DictionaryArray.from_arrays(pa.array([0, 1], "int32"), categories)
            writer.write_table(pa.table({"user_id": [1, 1], "item_id": ids, "timestamp": [0, 0]}, schema))
    data = load(groups)
    assert data.item_ids[data.items - 1].tolist() == ["x", "y", "y", "z"]


def test_files_of_several_types(tmp_path: Path) -> None:
    integers = parquet(tmp_path, pa.array([7, 8], "int32"), "i.parquet")
    unsigned = parquet(tmp_path, pa.array([8, 9], "uint64"), "u.parquet")
    large = parquet(tmp_path, pa.array([2**63], "uint64"), "l.parquet")
    negative = parquet(tmp_path, pa.array([-1]), "n.parquet")
    strings = parquet(tmp_path, pa.array(["7", "x"]), "s.parquet")
    canonical, words = text(tmp_path, 7, 10), text(tmp_path, "a", 7, name="w.csv")
    assert load(integers, unsigned, canonical).item_ids.tolist() == [7, 8, 9, 10]
    assert load(integers, unsigned).item_ids.dtype == np.int64
    assert load(integers, large).item_ids.tolist() == [7, 8, 2**63]
    assert f"below 0 in {negative} and such beyond 63 bits in {large}: --id-type string" in refused(large, negative)
    assert load(large, negative, id_type="string").item_ids.tolist() == [str(2**63), "-1"]
    assert load(strings, canonical).item_ids.tolist() == ["7", "x", "10"]
    message = refused(integers, strings)
    for part in (str(integers), str(strings), "--id-type string"):
        assert part in message
    assert load(integers, strings, id_type="string").item_ids.tolist() == ["7", "8", "x"]
    assert load(integers, words).item_ids.tolist() == ["7", "8", "a"]
    (note,) = notes(integers, words)
    assert f"1 of 4 rows hold no integer, the first 'a' in {words}, line 2" in note


def test_int_refuses_other_ids(tmp_path: Path) -> None:
    for value in ("A-1", "007", "+1", str(2**63)):
        message = refused(text(tmp_path, 1, 2, value), id_type="int")
        assert f"line 4: item_id '{value}' is no integer" in message
    assert load(text(tmp_path, 1, -2), id_type="int").item_ids.tolist() == [1, -2]
    assert load(parquet(tmp_path, ["7", "-8"]), id_type="int").item_ids.tolist() == [7, -8]
    assert "row 1 (counting from 0): item_id 'x' is no integer" in refused(parquet(tmp_path, ["7", "x"]), id_type="int")


def test_string_keeps_text_and_makes_integers_strings(tmp_path: Path) -> None:
    for path in (text(tmp_path, 7, 8), parquet(tmp_path, [7, 8]), parquet(tmp_path, [7.0, 8.0])):
        data = load(path, id_type="string")
        assert data.item_ids.tolist() == ["7", "8"]
        assert data.user_ids.tolist() == ["1"]


def test_few_rows_that_make_all_ids_strings_are_told(tmp_path: Path) -> None:
    many = list(range(250))
    (note,) = notes(text(tmp_path, *many, "A-1", "007", 5))
    assert "every item_id is a string because 2 of 253 rows hold no integer, the first 'A-1' in " in note
    assert "data.csv, line 252: --id-type int refuses them" in note
    assert not notes(text(tmp_path, *many, "A-1"), id_type="string")
    assert not notes(text(tmp_path, *many, "A-1", "B", "C"))  # more than 1%
    assert not notes(text(tmp_path, *many))
    assert not notes(parquet(tmp_path, [*map(str, many), "A-1"]))  # typed


@pytest.mark.parametrize("value", NULL_TOKENS)
def test_what_looks_like_null_is_refused_dropped_or_kept(value: str, tmp_path: Path) -> None:
    for path in (text(tmp_path, "a", value), parquet(tmp_path, ["a", value])):
        message = refused(path)
        assert ("line 3" if path.suffix == ".csv" else "row 1") in message
        assert f"item_id is {value!r}, which often stands for null" in message
        assert "--null-values none" in message
        data, report = load_interactions(path, Columns(), 0, 0, null_values=[value])
        assert data.item_ids.tolist() == ["a"]
        assert (report.rows_read, report.null_rows, report.interactions) == (2, 1, 1)
        assert load(path, null_values=[]).item_ids.tolist() == ["a", value]
        assert not notes(path, null_values=[])
        assert load(path, null_values=["x"]).item_ids.tolist() == ["a", value]
        (note,) = notes(path, null_values=["x"])
        assert f"1 rows have an item_id that often stands for null, the first {value!r} in {path}" in note


def test_null_users_and_times_and_typed_nulls(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("user_id,item_id,timestamp\n1,NULL,1\nNULL,2,2\n1,3,NULL\n1,4,\n1,5,5\n,6,6\n2,7,2024\n")
    data, report = load_interactions(path, Columns(), 0, 0, null_values=["", "NULL"])
    assert data.item_ids.tolist() == [5, 7]
    assert data.user_ids.tolist() == [1, 2]
    assert data.timestamps.tolist() == [5, 2024]
    assert report.null_rows == 5
    message = refused(path, null_values=["", "x"])
    assert "line 4: timestamp 'NULL' is not" in message
    assert message.endswith("drop such rows with --null-values NULL")
    typed = parquet(
        tmp_path,
        pa.array([1.0, float("nan"), 3.0, None]),
        user_id=pa.array([1, 1, None, 1]),
        timestamp=pa.array([1, 2, 3, 4], pa.timestamp("s")),
    )
    assert "row 2 (counting from 0): user_id is empty" in refused(typed)
    assert "--null-values ''" in refused(typed)
    assert "row 1 (counting from 0): item_id nan is no whole number" in refused(typed, null_values=[""])
    assert load(typed, null_values=["", "nan"]).item_ids.tolist() == [1]
    message = refused(parquet(tmp_path, pa.array([1.0, float("nan")])))
    assert "item_id is 'nan', which often" in message
    assert message.endswith("--null-values nan")  # which no option makes an id
    nil = uuid.UUID(int=0)
    path = parquet(tmp_path, pa.array([value.bytes for value in (*UUIDS, nil)], pa.uuid()))
    assert load(path, null_values=[str(nil)]).item_ids.tolist() == [str(value) for value in UUIDS]


def test_numbers_that_stand_for_null(tmp_path: Path) -> None:
    path = parquet(tmp_path, [7, -1, 8, 9], timestamp=pa.array([1, 2, -1, 4]))
    data, report = load_interactions(path, Columns(), 0, 0, null_values=["-1"])
    assert data.item_ids.tolist() == [7, 9]
    assert report.null_rows == 2
    assert load(text(tmp_path, 7, -1), null_values=["-1"]).item_ids.tolist() == [7]


def test_nothing_but_nulls(tmp_path: Path) -> None:
    path = parquet(tmp_path, pa.array([None, None]), timestamp=pa.array([None, None]))
    assert "item_id is empty" in refused(path)
    assert "all 2 rows have a null" in refused(path, null_values=[""])
