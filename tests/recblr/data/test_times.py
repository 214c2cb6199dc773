"""Dates and times in text and Parquet, their units and zones, and splits at them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recblr.data import Columns, Interactions, load_interactions, split_at_times, write_interactions
from recblr.data.times import parse_moment
from recblr.errors import ConfigError, DataError


def load(*sources: Path, **options: Any) -> Interactions:
    return load_interactions(sources, Columns(), 0, 0, **options)[0]


def parquet(folder: Path, times: Any, name: str = "data.parquet") -> Path:
    path = folder / name
    pq.write_table(pa.table({"user_id": [1] * len(times), "item_id": range(len(times)), "timestamp": times}), path)
    return path


def text(folder: Path, *times: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"1,{row},{time}\n" for row, time in enumerate(times)))
    return path


def refused(*sources: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(*sources)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def microseconds(moment: datetime) -> int:
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-01", datetime(2024, 5, 1)),
        ("2024-05-01 12:34", datetime(2024, 5, 1, 12, 34)),
        ("2024-05-01 12:34:56", datetime(2024, 5, 1, 12, 34, 56)),
        (" 2024-05-01 12:34:56.5 ", datetime(2024, 5, 1, 12, 34, 56, 500_000)),
        ("2024-05-01T12:34:56.123456", datetime(2024, 5, 1, 12, 34, 56, 123_456)),
        ("2024-05-01T12:34:56Z", datetime(2024, 5, 1, 12, 34, 56)),
        ("2024-05-01T12:34:56+02:00", datetime(2024, 5, 1, 12, 34, 56, tzinfo=timezone(timedelta(hours=2)))),
        ("2024-05-01T12:34:56.000001-0530", datetime(2024, 5, 1, 18, 4, 56, 1)),
        ("2024-05-01 12:34:56+02", datetime(2024, 5, 1, 10, 34, 56)),
        ("1969-12-31 23:59:59", datetime(1969, 12, 31, 23, 59, 59)),
        ("2024-02-29", datetime(2024, 2, 29)),
        ("9999-12-31", datetime(9999, 12, 31)),
    ],
)
def test_iso_text(value: str, expected: datetime, tmp_path: Path) -> None:
    for path in (text(tmp_path, value), parquet(tmp_path, [value]), parquet(tmp_path, pa.array([value], "binary"))):
        data = load(path)
        assert data.timestamps.tolist() == [microseconds(expected)]
        assert data.timestamps.dtype == np.int64
        assert data.time_unit == "us"
    assert parse_moment(value) == microseconds(expected) * 1000


def test_zones_are_instants(tmp_path: Path) -> None:
    data = load(text(tmp_path, "2024-05-01 12:00:00+02:00", "2024-05-01T11:00:00Z", "2024-05-01 09:30:00+0000"))
    assert data.item_ids[data.items - 1].tolist() == [2, 0, 1]


def test_nanoseconds_where_there_are_some(tmp_path: Path) -> None:
    data = load(text(tmp_path, "2024-05-01 00:00:00.000000002", "2024-05-01", "2024-05-01 00:00:00.0000000015"[:-1]))
    assert data.time_unit == "ns"
    assert (data.timestamps - data.timestamps[0]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("times", "part"),
    [
        (["2024-05-01", "2023-02-30"], "line 3: timestamp '2023-02-30' is not a finite number of 64 bits, nor a date"),
        (["2024-05-01", "2024-13-01"], "line 3: timestamp '2024-13-01' is not"),
        (["2024-05-01", "2024-05-01 24:30:00"], "line 3: timestamp '2024-05-01 24:30:00' is not"),
        (["2024-05-01", "1714521600"], "line 3: timestamp '1714521600' is one of plain numbers, and those before"),
        (["1714521600", "5.5", "2024-05-01"], "line 4: timestamp '2024-05-01' is one of dates and times without"),
        (
            ["2024-05-01", "2024-05-01T00:00:00Z"],
            "line 3: timestamp '2024-05-01T00:00:00Z' is one of dates and times w",
        ),
        (["2024-05-01T00:00:00Z", "2024-05-01 00:00:00"], "line 3: timestamp '2024-05-01 00:00:00' is one of dates"),
        (["2024-05-01", ""], "line 3: timestamp is empty"),
        (["soon", "2024-05-01"], "line 2: timestamp 'soon' is not"),
        (
            ["9999-12-31", "2024-05-01 00:00:00.0000001"],
            "line 3: timestamp '2024-05-01 00:00:00.0000001' and those bef",
        ),
        (["2024-05-01 00:00:00.0000001", "9999-12-31"], "line 3: timestamp '9999-12-31' and those before do not fit"),
        (["2024-05-01", "NaT"], "drop such rows with --null-values NaT"),
    ],
)
def test_what_is_no_time_names_the_line(times: list[str], part: str, tmp_path: Path) -> None:
    path = text(tmp_path, *times)
    assert str(path) in refused(path)
    assert part in refused(path)


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (pa.array([date(2024, 5, 1)], pa.date32()), "D"),
        (pa.array([date(2024, 5, 1)], pa.date64()), "D"),  # as Parquet stores it
        (pa.array([datetime(2024, 5, 1)], pa.timestamp("ms")), "ms"),
        (pa.array([datetime(2024, 5, 1)], pa.timestamp("us", "Europe/Berlin")), "us"),
        (pa.array([datetime(2024, 5, 1)], pa.timestamp("ns")), "ns"),
        (pa.array(["2024-05-01"]).dictionary_encode(), "us"),
    ],
)
def test_units_of_typed_times(times: pa.Array, unit: str, tmp_path: Path) -> None:
    data = load(parquet(tmp_path, times))
    assert data.time_unit == unit
    assert data.timestamps.tolist() == [np.datetime64("2024-05-01", unit).astype(np.int64)]


def test_files_of_several_units_have_the_finest(tmp_path: Path) -> None:
    days = parquet(tmp_path, pa.array([date(2024, 5, 2)]), "days.parquet")
    millis = parquet(tmp_path, pa.array([datetime(2024, 5, 1, 12)], pa.timestamp("ms")), "ms.parquet")
    data = load(days, millis, text(tmp_path, "2024-05-01 12:00:00.000001"))
    assert data.time_unit == "us"
    expected = [datetime(2024, 5, 1, 12), datetime(2024, 5, 1, 12, 0, 0, 1), datetime(2024, 5, 2)]
    assert data.timestamps.tolist() == [microseconds(moment) for moment in expected]
    zoned = parquet(tmp_path, pa.array([datetime(2024, 5, 1, 12)], pa.timestamp("ms", "UTC")), "zoned.parquet")
    message = refused(days, zoned)
    assert message.startswith(f"{zoned}: the timestamps are dates and times with a time zone, and dates and times wi")
    assert str(days) in message
    assert "plain numbers" in refused(days, parquet(tmp_path, [1, 2], "numbers.parquet"))
    far = parquet(tmp_path, pa.array([datetime(9999, 5, 1)], pa.timestamp("ms")), "far.parquet")
    fine = parquet(tmp_path, pa.array([datetime(2024, 5, 1)], pa.timestamp("ns")), "fine.parquet")
    assert f"{far}: a timestamp lies outside the range of 64 bits in ns" in refused(far, fine)


def many(folder: Path, times: Any) -> Path:
    """Three users with an item at each time."""
    path = folder / "data.parquet"
    rows = [(user, item) for item in range(len(times)) for user in range(3)]
    column = pa.array(times).take(pa.array([item for _, item in rows]))
    users, items = zip(*rows, strict=True)
    pq.write_table(pa.table({"user_id": users, "item_id": items, "timestamp": column}), path)
    return path


DAYS = [datetime(2024, 5, day) for day in range(1, 11)]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([day.date() for day in DAYS], pa.date32()),
        pa.array(DAYS, pa.timestamp("ms")),
        pa.array(DAYS, pa.timestamp("ns", "UTC")),
        pa.array([f"{day:%Y-%m-%d}" for day in DAYS]),
    ],
)
@pytest.mark.parametrize(
    ("validation", "test", "trained"),
    [
        ("2024-05-04", "2024-05-08", 3),
        ("2024-05-04T00:00:00Z", "2024-05-08 02:00:00+02:00", 3),
        ("2024-05-04 00:00:00.000000001", "2024-05-08", 4),
        ("2024-05-03 12:00:00", "2024-05-08", 3),
    ],
)
def test_split_at_dates(times: pa.Array, validation: str, test: str, trained: int, tmp_path: Path) -> None:
    data = load(many(tmp_path, times))
    split = split_at_times(data, validation, test)
    assert split.train.lengths.tolist() == [trained] * 3
    assert data.item_ids[split.validation.targets - 1].tolist() == [trained] * 3
    assert data.item_ids[split.test.targets - 1].tolist() == [7] * 3


def test_splits_that_do_not_do_show_dates(tmp_path: Path) -> None:
    data = load(many(tmp_path, pa.array(DAYS, pa.timestamp("ms"))))
    with pytest.raises(DataError, match=r"before 2023-01-01: the data reach from 2024-05-01.* to 2024-05-10"):
        split_at_times(data, "2023-01-01", "2024-05-08")
    with pytest.raises(DataError, match=r"before 5: the data reach .* to 2024-05-10 \(in ms since 1970-01-01\)"):
        split_at_times(data, 5, 9)
    with pytest.raises(ConfigError, match="the earlier first"):
        split_at_times(data, "2024-05-08", "2024-05-04")
    with pytest.raises(ConfigError, match="'2024-05-40' is neither a number nor a date"):
        split_at_times(data, "2024-05-40", "2024-06-01")
    numbers = load(many(tmp_path, pa.array([3, 9])))
    with pytest.raises(DataError, match="2024-05-04 is a date or time, .* plain numbers from 3 to 9"):
        split_at_times(numbers, "2024-05-04", "2024-05-08")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".inter"])
@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us")])
def test_written_times_read_back_equal(suffix: str, kind: pa.DataType, tmp_path: Path) -> None:
    data = load(parquet(tmp_path, pa.array(DAYS, pa.timestamp("us")).cast(kind)))
    write_interactions(data, tmp_path / f"copy{suffix}")
    copy = load(tmp_path / f"copy{suffix}")
    assert copy.time_unit == (data.time_unit if suffix == ".parquet" else "us")
    days = [data.timestamps.astype(f"datetime64[{data.time_unit}]"), copy.timestamps.astype(f"M8[{copy.time_unit}]")]
    assert np.array_equal(*days)
