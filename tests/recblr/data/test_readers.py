"""Ids and timestamps through every format, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recblr.data import Columns, DataIdentity, Interactions, load_interactions, write_interactions
from recblr.errors import ConfigError, DataError, OutputError

SUFFIXES = [".parquet", ".csv", ".tsv", ".inter", ".csv.gz", ".tsv.gz", ".inter.gz", ".csv.zst", ".tsv.bz2"]
DELIMITERS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}


def load(path: Path, columns: Columns | None = None) -> Interactions:
    return load_interactions(path, columns or Columns(), 0, 0)[0]


def parquet(folder: Path, users: Any, items: Any, timestamps: Any) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.table({"user_id": users, "item_id": items, "timestamp": timestamps}), path)
    return path


def text(folder: Path, content: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def refused(path: Path, *parts: str, columns: Columns | None = None) -> str:
    """The error's message, which names the file, is one line and has all parts."""
    with pytest.raises(DataError) as caught:
        load(path, columns)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def as_rows(data: Interactions) -> list[list[Any]]:
    """(user, item, time) in the order of the interactions, as Python's own values."""
    users = np.repeat(np.arange(data.n_users), data.lengths)
    columns = data.user_ids[users].tolist(), data.item_ids[data.items - 1].tolist(), data.timestamps.tolist()
    return [list(row) for row in zip(*columns, strict=True)]


def string_ids(forbidden: str) -> st.SearchStrategy[str]:
    """Ids that are not integers, with what text formats must quote or keep apart."""
    characters = st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters=forbidden)
    return st.text(characters, min_size=1, max_size=6).map(lambda value: "x" + value)


FORBIDDEN = {"parquet": "", "csv": "\r\n\0", "tsv": "\r\n\0\t", "inter": "\r\n\0\t"}
INTEGER_IDS = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
def test_ids_survive_every_format(suffix: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kinds = [st.lists(s, min_size=1, unique=True) for s in (string_ids(FORBIDDEN[suffix.split(".")[1]]), INTEGER_IDS)]
    user_ids, item_ids = data.draw(st.one_of(*kinds)), data.draw(st.one_of(*kinds))
    n = max(len(user_ids), len(item_ids))
    users = np.sort(np.arange(n) % len(user_ids))
    interactions = Interactions(
        user_ids=ids_array(user_ids),
        item_ids=ids_array(item_ids),
        items=(np.arange(n) % len(item_ids) + 1).astype(np.int32),
        offsets=np.append(0, np.cumsum(np.bincount(users))),
        timestamps=np.arange(n),
    )
    path = tmp_path_factory.mktemp("ids") / f"data{suffix}"
    write_interactions(interactions, path)
    read = load(path)
    assert read.user_ids.tolist() == user_ids
    assert read.item_ids.tolist() == item_ids
    assert as_rows(read) == as_rows(interactions)
    assert DataIdentity(read).fingerprint == DataIdentity(interactions).fingerprint


def ids_array(ids: list[Any]) -> np.ndarray:
    return np.array(ids, dtype=object if isinstance(ids[0], str) else np.int64)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_parquet_keeps_every_integer_type(kind: str, tmp_path: Path) -> None:
    limits = np.iinfo(kind)
    ids = [limits.max, limits.min, 7]
    data = load(parquet(tmp_path, pa.array(ids, kind), pa.array(ids, kind), [1, 2, 3]))
    assert data.user_ids.tolist() == ids
    assert data.item_ids.tolist() == ids
    assert data.user_ids.dtype == (np.uint64 if kind == "uint64" else np.int64)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_keeps_every_string_type_as_strings(kind: pa.DataType, tmp_path: Path) -> None:
    ids = pa.array(["7", "007", "é", "7"]).cast(kind)
    data = load(parquet(tmp_path, ids, ids, [1, 2, 3, 4]))
    assert data.user_ids.tolist() == ["7", "007", "é"]
    assert data.items.tolist() == [1, 1, 2, 3]


def test_parquet_dictionary_in_another_order_with_repeated_and_unused_values(tmp_path: Path) -> None:
    ids = pa.DictionaryArray.from_arrays(pa.array([3, 1, 2, 3]), pa.array(["unused", "a", "a", "b"]))
    data = load(parquet(tmp_path, ids, ids, [1, 2, 3, 4]))
    assert data.user_ids.tolist() == ["b", "a"]
    assert data.lengths.tolist() == [2, 2]


def test_dictionaries_of_several_row_groups_agree(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    ids = ["a", "b", "c", "a", "d", "b"]
    pq.write_table(pa.table({"user_id": ids, "item_id": ids, "timestamp": range(6)}), path, row_group_size=2)
    data = load(path)
    assert data.user_ids.tolist() == ["a", "b", "c", "d"]
    assert data.items.tolist() == [1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["7", "-3", "0"], [7, -3, 0]),
        (["7", "007", "8"], ["7", "007", "8"]),
        (["7", "+8"], ["7", "+8"]),
        (["7", " 8"], ["7", " 8"]),
        (["7", "-0"], ["7", "-0"]),
        (["7", "9223372036854775808"], ["7", "9223372036854775808"]),
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        (["1.0", "2"], ["1.0", "2"]),
    ],
)
def test_text_ids_are_integers_only_if_all_are_canonical(values: list[str], ids: list[Any], tmp_path: Path) -> None:
    lines = ["user_id,item_id,timestamp"] + [f"{value},{value},{row}" for row, value in enumerate(values)]
    data = load(text(tmp_path, "\n".join(lines) + "\n"))
    assert data.user_ids.tolist() == ids
    assert data.item_ids.tolist() == ids


def test_recbole_columns_are_named_without_their_types(tmp_path: Path) -> None:
    path = text(tmp_path, "user_id:token\titem_id:token\trating:float\ttimestamp:float\n3\tx\t5\t8.5\n", "d.inter")
    assert as_rows(load(path)) == [[3, "x", 8.5]]
    columns = Columns("user_id", "item_id", "rating")
    assert as_rows(load(path, columns)) == [[3, "x", 5]]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_with_marks_quotes_blank_lines_and_other_columns(newline: str, tmp_path: Path) -> None:
    lines = ["\ufeffnote,who,what,when", '"a, ""b""\nc",u 1,i,  5 ', "", "é,u 1,j,4"]
    data = load(text(tmp_path, newline.join(lines)), Columns("who", "what", "when"))
    assert as_rows(data) == [["u 1", "j", 4], ["u 1", "i", 5]]


def test_suffix_in_any_case(tmp_path: Path) -> None:
    assert load(text(tmp_path, "user_id\titem_id\ttimestamp\n1\t2\t3\n", "DATA.TSV")).n_interactions == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([3, 1], "int8"), [1, 3]),
        (pa.array([3, 1], "uint64"), [1, 3]),
        (pa.array([2.5, 1], "float32"), [1.0, 2.5]),
        (pa.array([2, 1], pa.timestamp("ms", "UTC")), [1, 2]),
        (pa.array([2, 1], pa.date32()), [1, 2]),
        (pa.array(["2", "1.5"]), [1.5, 2.0]),
    ],
)
def test_timestamp_types(values: pa.Array, expected: list[float], tmp_path: Path) -> None:
    data = load(parquet(tmp_path, [1, 1], [1, 2], values))
    assert data.timestamps.tolist() == expected
    assert data.timestamps.dtype == (np.float64 if isinstance(expected[0], float) else np.int64)


def test_large_integer_times_are_exact(tmp_path: Path) -> None:
    data = load(text(tmp_path, "user_id,item_id,timestamp\n1,1,9007199254740993\n1,2,9007199254740992\n"))
    assert data.timestamps.tolist() == [9007199254740992, 9007199254740993]
    assert data.items.tolist() == [2, 1]


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("missing", [None, ""])
@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_missing_parquet_id_names_the_row(column: str, missing: str | None, kind: str, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"user_id": ["a", "b", "c"], "item_id": ["a", "b", "c"], "timestamp": [1, 2, 3]}
    columns[column] = pa.array(["a", "b", missing], kind)
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(columns), path)
    refused(path, "row 2 (counting from 0)", f"{column} is empty")


def test_null_integer_id_and_null_in_a_dictionary_name_the_row(tmp_path: Path) -> None:
    refused(parquet(tmp_path, pa.array([1, None, 3]), [1, 2, 3], [1, 2, 3]), "row 1 ", "user_id is empty")
    ids = pa.DictionaryArray.from_arrays(pa.array([0, 0, None], "uint8"), pa.array(["a", "b"]))
    refused(parquet(tmp_path, [1, 2, 3], ids, [1, 2, 3]), "row 2 ", "item_id is empty")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".inter", ".csv.gz"])
def test_missing_text_id_names_the_line(suffix: str, tmp_path: Path) -> None:
    note = '"two\nlines"' if suffix.startswith(".csv") else '"'  # which is no quote in the others
    rows = [["note", "user_id", "item_id", "timestamp"], [note, "1", "2", "3"], ["", "1", "", "4"]]
    content = "\n\n".join(DELIMITERS[suffix.removesuffix(".gz")].join(row) for row in rows) + "\n"
    path = tmp_path / f"data{suffix}"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith(".gz") else content.encode())
    refused(path, "line 6:" if suffix.startswith(".csv") else "line 5:", "item_id is empty")


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("", "timestamp is empty"),
        ("  ", "timestamp is empty"),
        ("soon", "'soon' is not a finite number"),
        (
            "2020-01-01",
            "'2020-01-01' is one of dates and times without a time zone, and those before are plain numbers",
        ),
        ("2020-02-30", "'2020-02-30' is not a finite number of 64 bits, nor a date"),
        ("nan", "is not a finite number"),
        ("-inf", "is not a finite number"),
        ("1e999", "is not a finite number"),
        ("null", "'null' is not"),
    ],
)
@pytest.mark.parametrize("others", ["5", "5.5"])
def test_bad_text_timestamp_names_the_line(value: str, part: str, others: str, tmp_path: Path) -> None:
    lines = ["user_id,item_id,timestamp", *[f"1,2,{others}"] * 9, f"1,2,{value}", *["1,2,x"] * 3]
    refused(text(tmp_path, "\n".join(lines)), "line 11:", part)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (pa.array([1, None]), "timestamp is empty"),
        (pa.array([1.0, float("nan")]), "nan is not a finite number"),
        (pa.array([1.0, float("inf")]), "inf is not a finite number"),
        (pa.array([1, 2**63], "uint64"), "9223372036854775808 is not"),
        (pa.array(["1", "x"]), "'x' is not"),
        (pa.array([None, 1], pa.timestamp("s"))[::-1], "timestamp is empty"),
    ],
)
def test_bad_parquet_timestamp_names_the_row(values: pa.Array, part: str, tmp_path: Path) -> None:
    refused(parquet(tmp_path, [1, 1], [1, 2], values), "row 1 (counting from 0)", part)


@pytest.mark.parametrize("values", [pa.array([True]), pa.array([[1]]), pa.array([b"a"], pa.binary(1))])
def test_ids_of_other_types_are_refused(values: pa.Array, tmp_path: Path) -> None:
    refused(parquet(tmp_path, values, [1], [1]), "'user_id'", str(values.type).partition("<")[0])
    refused(parquet(tmp_path, [1], values, [1]), "'item_id'", str(values.type).partition("<")[0])


def test_timestamps_of_other_types_are_refused(tmp_path: Path) -> None:
    refused(parquet(tmp_path, [1], [1], pa.array([True])), "'timestamp'", "bool")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_and_empty_files_and_folders(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    refused(path, "does not exist")
    path.write_bytes(b"")
    refused(path, "is empty")
    path.unlink()
    path.mkdir()
    refused(path, "is a folder without files")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbage_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"\xff\xfe\x00garbage\x1f\x8b" * 20)
    refused(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_truncated_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    n = 1000
    data = Interactions(
        user_ids=np.arange(n),
        item_ids=np.arange(n) * 7919 % 104729,
        items=np.arange(1, n + 1, dtype=np.int32),
        offsets=np.arange(n + 1),
        timestamps=np.arange(n),
    )
    write_interactions(data, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "cannot be read as")


def test_no_rows(tmp_path: Path) -> None:
    refused(text(tmp_path, "user_id,item_id,timestamp\n"), "no interactions")
    refused(text(tmp_path, "\n\n"), "only empty lines")
    nothing = pa.array([], pa.int64())
    refused(parquet(tmp_path, nothing, nothing, nothing), "no interactions")


def test_wrong_columns_are_listed_with_the_options(tmp_path: Path) -> None:
    options = ["--user-column", "--item-column", "--timestamp-column"]
    refused(text(tmp_path, "uid,item_id,time\n1,2,3\n"), "'user_id', 'timestamp'", "'uid'", "'time'", *options)
    path = parquet(tmp_path, [1], [2], [3])
    refused(path, "no column 'uid'", "'item_id'", *options, columns=Columns(user="uid"))
    many = ",".join(f"c{number}" for number in range(50))
    refused(text(tmp_path, f"{many}\n"), "'c19' and 30 more")


def test_doubled_column_is_refused(tmp_path: Path) -> None:
    refused(text(tmp_path, "user_id,user_id,item_id,timestamp\n1,1,2,3\n"), "2 columns named 'user_id'")


def test_one_column_for_two_purposes_is_refused() -> None:
    with pytest.raises(ConfigError, match="not three different"):
        Columns(user="id", item="id")


@pytest.mark.parametrize(
    ("suffix", "value"), [(".csv", "a\nb"), (".tsv", "a\tb"), (".inter", "a\rb"), (".csv.gz", "\0")]
)
def test_ids_that_a_text_format_cannot_hold_are_not_written(suffix: str, value: str, tmp_path: Path) -> None:
    data = load(parquet(tmp_path, ["x"], [value], [1]))
    with pytest.raises(DataError, match="cannot stand in") as caught:
        write_interactions(data, tmp_path / f"out{suffix}")
    assert repr(value) in str(caught.value)
    assert not (tmp_path / f"out{suffix}").exists()


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    path = text(tmp_path, "user_id,item_id,timestamp\n1,2,3\n", "data.xlsx")
    refused(path, ".parquet", ".inter")
    data = load(text(tmp_path, "user_id,item_id,timestamp\n1,2,3\n"))
    with pytest.raises(DataError, match="suffix"):
        write_interactions(data, tmp_path / "out.json")


@pytest.mark.parametrize("row", ["1,2", "1,2,3,4"])
def test_line_with_another_number_of_values_is_named(row: str, tmp_path: Path) -> None:
    path = text(tmp_path, f"user_id,item_id,timestamp\n1,2,3\n\n{row}\n1,2,3\n")
    refused(path, "line 4:", f"{row.count(',') + 1} values where the header has 3")


def test_undecodable_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"user_id,item_id,timestamp\n1,2,3\ncaf\xe9,2,3\n")
    refused(path, "line 3,", "UTF-8")
    path.write_bytes("user_id,item_id,timestamp\n1,2,3\n".encode("utf-16"))
    refused(path, "line 1,", "UTF-8")


def test_other_columns_need_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"note,user_id,item_id,timestamp\ncaf\xe9,1,2,3\nx,1,2,soon\n")
    refused(path, "line 3:", "'soon'")
    path.write_bytes(b"note,user_id,item_id,timestamp\ncaf\xe9,1,2,3\n")
    assert as_rows(load(path)) == [[1, 2, 3]]


def test_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    refused(text(tmp_path, 'user_id,item_id,timestamp\n1,2,3\n1,"2,3\n1,2,3\n'), "line 3:")


def test_file_below_a_file_does_not_exist(tmp_path: Path) -> None:
    refused(text(tmp_path, "x\n") / "data.csv", "does not exist")


def test_unwritable_place_leaves_nothing(tmp_path: Path) -> None:
    data = load(text(tmp_path, "user_id,item_id,timestamp\n1,2,3\n"))
    with pytest.raises(OutputError, match="folder"):
        write_interactions(data, tmp_path / "none" / "data.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]
