"""Quotes, lines and bytes of text files: rows are read whole, or the line is named."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recblr.data import Columns, load_interactions
from recblr.data.sources import find_files
from recblr.data.text import text_rows
from recblr.errors import DataError

HEADER = "user_id,item_id,timestamp"


def read(path: Path, columns: Columns | None = None) -> list[tuple[object, object, object]]:
    """(user, item, time) by user."""
    data, _ = load_interactions(path, columns or Columns(), 0, 0)
    users = data.user_ids.repeat(data.lengths).tolist()
    return list(zip(users, data.item_ids[data.items - 1].tolist(), data.timestamps.tolist(), strict=True))


def write(folder: Path, *lines: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes("\n".join(lines).encode())
    return path


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([HEADER, "1,2,3", '1,"2,3', "1,2,3"], ["line 3:", "never closed"]),
        ([HEADER, "1,2,3", '"1', '",2,3'], ["line 3:", "goes on in the next line"]),
        ([HEADER, '1,"2,3', "1,4,5", '1,6",7'], ["line 2:", "goes on in the next line"]),
        ([HEADER, "1,2,3", '1,"2"x,3'], ["line 3:", "text follows a closing quote"]),
        ([HEADER, '"1,2,3', '4"x,2,3'], ["line 3:", "text follows a closing quote", "opens in line 2"]),
        ([HEADER + ",note", '1,2,3,"a', "1,4,5,b", '1,6,7,c"'], ["line 2:", "holds whole rows"]),
        ([HEADER + ",note", "1,2,3,a", '1,2,4,"b', "1,4,5,b"], ["line 3:", "never closed"]),
        (["note," + HEADER, "a,1,2,3", '"two', 'lines",1,3,"4'], ["line 4:", "never closed"]),
        ([HEADER, "1,2,3", "1,\0,4"], ["line 3:", "NUL byte"]),
        ([HEADER, "1,2,3", "1,4"], ["line 3:", "2 values where the header has 3"]),
        ([HEADER, "1,2,3", "1,2,3,4"], ["line 3:", "4 values where the header has 3"]),
    ],
)
def test_damaged_text_names_the_line(lines: list[str], parts: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("n_rows", [10, 400_000])  # less than one of Arrow's blocks, and several
def test_a_quote_that_swallows_the_rest_is_refused_however_long_that_is(n_rows: int, tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, '1,"2,3', *(f"{row},2,3" for row in range(n_rows)))
    with pytest.raises(DataError, match="line 2: a quote .* never closed"):
        read(path)


def test_quotes_at_the_ends_of_blocks(tmp_path: Path) -> None:
    # Rows of 14 bytes shift against blocks of 2 ** 20 bytes: quotes, commas and newlines stand at their ends.
    rows = [f'"{row % 7}","{row:06}",1' for row in range(200_000)]
    path = write(tmp_path, HEADER, *rows)
    assert path.stat().st_size > 2 * 2**20
    assert load_interactions(path, Columns(), 0, 0)[1].rows_read == len(rows)
    rows[150_000] = '"3"x,2,1'
    with pytest.raises(DataError, match="line 150002: text follows"):
        load_interactions(write(tmp_path, HEADER, *rows), Columns(), 0, 0)


def test_quotes_that_are_right(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "\ufeff" + '"user_id","item_id","note","timestamp"',
        '"a""b","x,y","two, with a comma',
        'and ""quotes""","1"',
        'a"b,"",3" pipe,2'.replace('""', '"z"'),
    )
    assert read(path) == [('a"b', "x,y", 1), ('a"b', "z", 2)]


@pytest.mark.parametrize("name", ["data.tsv", "data.inter"])
def test_without_quotes_they_are_characters(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "user_id\titem_id\ttimestamp", '"a\tb"\t1', '"a\t"\t2', name=name)
    assert read(path) == [('"a', 'b"', 1), ('"a', '"', 2)]


def test_empty_lines_before_the_header_and_at_the_end(tmp_path: Path) -> None:
    assert read(write(tmp_path, "", "", HEADER, "", "1,2,3", "", "")) == [(1, 2, 3)]
    assert read(write(tmp_path, "", '"a', 'b",' + HEADER, "x,1,2,3")) == [(1, 2, 3)]


def test_old_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"user_id,item_id,timestamp\r1,2,3\r1,4,x\r")
    with pytest.raises(DataError, match="line 3:"):
        read(path)


VALUES = st.text(st.sampled_from('ab,"\n '), max_size=6)


@given(rows=st.lists(st.lists(VALUES, min_size=2, max_size=3), min_size=1, max_size=6))
def test_rows_are_those_of_the_csv_module(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path = tmp_path_factory.mktemp("rows") / "data.csv"
    path.write_bytes(text.getvalue().encode())
    (file,) = find_files(path)
    assert [row.values for row in text_rows(file)] == rows
    starts = [text.getvalue()[:place].count("\n") + 1 for place in _starts(rows)]
    assert [row.line for row in text_rows(file)] == starts


def _starts(rows: list[list[str]]) -> list[int]:
    """Where each row begins in what the csv module writes."""
    starts = []
    text = io.StringIO()
    for row in rows:
        starts.append(len(text.getvalue()))
        csv.writer(text, lineterminator="\n").writerow(row)
    return starts


def test_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "9,1,x,100", "8,1,y,200")
    header = ["item_id", "user_id", "_", "timestamp"]
    data, report = load_interactions(path, Columns(), 0, 0, header=header)
    assert report.rows_read == 2
    assert data.item_ids.tolist() == [9, 8]
    with pytest.raises(DataError, match="line 1: 4 values where --columns names 3: name them all"):
        load_interactions(path, header=header[1:])
    with pytest.raises(DataError, match=r"no column 'timestamp', only 'item_id', 'user_id', '', ''"):
        load_interactions(path, header=[*header[:3], ""])
    with pytest.raises(DataError, match="--no-header --columns"):
        load_interactions(path)
    with pytest.raises(DataError, match="line 2: timestamp 'z'"):
        load_interactions(write(tmp_path, "9,1,x,100", "8,1,y,z"), header=header)


@pytest.mark.parametrize(
    ("name", "separator", "advice"),
    [("log.csv", ";", "separated by commas"), ("log.tsv", ",", "separated by tabs"), ("log.inter", ",", "by tabs")],
)
def test_values_separated_by_something_else(tmp_path: Path, name: str, separator: str, advice: str) -> None:
    path = tmp_path / name
    path.write_text(
        "".join(separator.join(row) + "\n" for row in (["user_id", "item_id", "timestamp"], ["1", "2", "3"]))
    )
    with pytest.raises(DataError, match=f"has no column .*{advice}"):
        load_interactions(path)
