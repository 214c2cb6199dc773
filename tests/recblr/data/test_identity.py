"""Equal data is known as such in any order of rows, and comes back in the order it had."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recblr.data import Columns, DataIdentity, Interactions, load_interactions

Rows = list[tuple[object, object, object]]
BASE: Rows = [(1, 1, 1), (1, 2, 2), (2, 1, 3)]


def load(rows: Rows, folder: Path) -> Interactions:
    path = folder / "data.parquet"
    names = ("user_id", "item_id", "timestamp")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    return load_interactions(path, Columns(), 0, 0)[0]


def fingerprint(rows: Rows, folder: Path) -> str:
    return DataIdentity(load(rows, folder)).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        [(9, 1, 1), (9, 2, 2), (2, 1, 3)],
        [(1, 2, 1), (1, 1, 2), (2, 1, 3)],
        [*BASE, (2, 2, 4)],
        [*BASE, (2, 1, 3)],
        [(1, 1, 1), (2, 2, 2), (2, 1, 3)],
        [(1, 1, 1), (1, 2, 2), (2, 1, 4)],
        [(1, "1", 1), (1, "2", 2), (2, "1", 3)],
        [("1", 1, 1), ("1", 2, 2), ("2", 1, 3)],
    ],
)
def test_the_fingerprint_tells_other_data(other: Rows, tmp_path: Path) -> None:
    assert fingerprint(other, tmp_path) != fingerprint(BASE, tmp_path)


def test_the_fingerprint_does_not_tell_how_times_are_stored(tmp_path: Path) -> None:
    as_floats: Rows = [(user, item, float(time)) for user, item, time in BASE]  # type: ignore[arg-type]
    assert fingerprint(as_floats, tmp_path) == fingerprint(BASE, tmp_path)
    halves: Rows = [(user, item, float(time) + 0.5) for user, item, time in BASE]  # type: ignore[arg-type]
    assert fingerprint(halves, tmp_path) != fingerprint(BASE, tmp_path)


def test_the_fingerprint_tells_instants_whatever_their_unit(tmp_path: Path) -> None:
    day = datetime.date(2024, 5, 1)
    columns = {"user_id": [1, 1, 2], "item_id": [1, 2, 1]}
    found = set()
    for kind in (pa.date32(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns")):
        days = pa.array([day, day + datetime.timedelta(1), day], pa.date32())
        pq.write_table(pa.table({**columns, "timestamp": days.cast(kind)}), tmp_path / "data.parquet")
        found.add(DataIdentity(load_interactions(tmp_path / "data.parquet", Columns(), 0, 0)[0]).fingerprint)
    (tmp_path / "data.csv").write_text(
        "user_id,item_id,timestamp\n1,1,2024-05-01\n1,2,2024-05-02T00:00:00\n2,1,2024-05-01 00:00\n"
    )
    found.add(DataIdentity(load_interactions(tmp_path / "data.csv", Columns(), 0, 0)[0]).fingerprint)
    assert len(found) == 1
    pq.write_table(pa.table({**columns, "timestamp": [1, 2, 1]}), tmp_path / "data.parquet")
    as_numbers = load_interactions(tmp_path / "data.parquet", Columns(), 0, 0)[0]
    assert DataIdentity(as_numbers).fingerprint not in found


@pytest.mark.parametrize("strings", [False, True])
def test_rows_in_another_order_are_the_same_data_and_can_be_put_back(strings: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows: Rows = [tuple(map(int, row)) for row in rng.integers(0, 12, (500, 3))]  # type: ignore[misc]  # many ties
    if strings:
        rows = [(f"u{user}", f"i{item}", time) for user, item, time in rows]
    shuffled = [rows[place] for place in rng.permutation(len(rows))]
    first, second = load(rows, tmp_path), load(shuffled, tmp_path)
    mine, other = DataIdentity(first), DataIdentity(second)
    assert mine.fingerprint == other.fingerprint
    assert mine.row_order.ties != other.row_order.ties
    assert first.items.tolist() != second.items.tolist()
    restored = other.in_order(mine.row_order)
    for name in ("user_ids", "item_ids", "items", "offsets", "timestamps"):
        found, wanted = getattr(restored, name), getattr(first, name)
        assert found.dtype == wanted.dtype
        assert found.tolist() == wanted.tolist()
    assert DataIdentity(restored).row_order.ties == mine.row_order.ties


def test_the_order_of_other_data_is_refused(tmp_path: Path) -> None:
    order = DataIdentity(load(BASE, tmp_path)).row_order
    with pytest.raises(ValueError, match="not of these interactions"):
        DataIdentity(load([*BASE, (3, 1, 1)], tmp_path)).in_order(order)
