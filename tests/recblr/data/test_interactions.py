"""The k-core filter, the order of interactions, and the summary."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recblr.data import Columns, Interactions, Summary, load_interactions, summary_table
from recblr.data.interactions import k_core
from recblr.errors import ConfigError, DataError

Rows = list[tuple[int, int, int]]
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40)


def write(path: Path, rows: Rows) -> Path:
    users, items, timestamps = zip(*rows, strict=True)
    pq.write_table(pa.table({"user_id": users, "item_id": items, "timestamp": timestamps}), path)
    return path


def as_rows(data: Interactions) -> Rows:
    users = np.repeat(data.user_ids, data.lengths).tolist()
    return list(zip(users, data.item_ids[data.items - 1].tolist(), data.timestamps.tolist(), strict=True))


def brute_force(rows: Rows, min_user: int, min_item: int) -> Rows:
    """Drop one row at a time until none breaks a minimum."""
    rows = list(rows)
    while True:
        users = Counter(user for user, _, _ in rows)
        items = Counter(item for _, item, _ in rows)
        bad = [n for n, (user, item, _) in enumerate(rows) if users[user] < min_user or items[item] < min_item]
        if not bad:
            return rows
        del rows[bad[0]]


@given(rows=ROWS, min_user=st.integers(0, 4), min_item=st.integers(0, 4))
def test_k_core_equals_brute_force(rows: Rows, min_user: int, min_item: int) -> None:
    users, items, _ = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    core = k_core(users, items, min_user, min_item)
    kept = [row for row, kept in zip(rows, core.keep, strict=True) if kept]
    assert kept == brute_force(rows, min_user, min_item)


@given(rows=ROWS, min_user=st.integers(0, 3), min_item=st.integers(0, 3))
def test_loading_equals_python(
    rows: Rows, min_user: int, min_item: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("rows") / "data.parquet", rows)
    kept = brute_force(rows, min_user, min_item)
    if not kept:
        with pytest.raises(DataError, match="--min-user-interactions"):
            load_interactions(path, Columns(), min_user, min_item)
        return
    data, report = load_interactions(path, Columns(), min_user, min_item)
    user_order = list(dict.fromkeys(user for user, _, _ in rows))
    # Python's sort is stable: rows of a user at one time stay in the order of the file.
    assert as_rows(data) == sorted(kept, key=lambda row: (user_order.index(row[0]), row[2]))
    kept_items = {item for _, item, _ in kept}
    assert data.item_ids.tolist() == [i for i in dict.fromkeys(item for _, item, _ in rows) if i in kept_items]
    assert report.interactions == data.n_interactions == len(kept)
    assert report.interactions_dropped == len(rows) - len(kept)
    assert report.users_dropped == len(user_order) - data.n_users
    assert data.items.dtype == np.int32
    assert data.offsets.dtype == np.int64


def test_chain_of_drops_reaches_the_fixed_point(tmp_path: Path) -> None:
    # User n shares item n with user n + 1; the loose end unravels them one by one. The square 100..101 stays.
    chain = [(n, item, 0) for n in range(8) for item in (n, n + 1)]
    square = [(user, item, 0) for user in (100, 101) for item in (100, 101)]
    data, report = load_interactions(write(tmp_path / "data.parquet", chain + square), Columns(), 2, 2)
    assert data.user_ids.tolist() == [100, 101]
    assert report.to_dict() == {
        "name": "data.parquet",
        "rows_read": 20,
        "null_rows": 0,
        "min_user_interactions": 2,
        "min_item_interactions": 2,
        "users_read": 10,
        "items_read": 11,
        "interactions_read": 20,
        "users": 2,
        "items": 2,
        "interactions": 4,
        "rare_user_interactions": report.rare_user_interactions,
        "rare_item_interactions": report.rare_item_interactions,
        "rounds": report.rounds,
        "exact_repeats": 0,
        "repeats_dropped": 0,
        "notes": [],
        "users_dropped": 8,
        "items_dropped": 9,
        "interactions_dropped": 16,
    }
    assert report.rounds > 2


def test_thresholds_are_separate(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", [(1, 1, 0), (1, 2, 0), (2, 1, 0)])
    assert load_interactions(path, Columns(), 2, 0)[0].user_ids.tolist() == [1]
    assert load_interactions(path, Columns(), 0, 2)[0].item_ids.tolist() == [1]


def test_nothing_left_names_the_thresholds(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", [(1, item, item) for item in range(9)])  # one user only
    with pytest.raises(DataError, match=r"none of its 9 interactions .* needs 5 .* item 5: lower --min-user") as error:
        load_interactions(path)
    assert "--min-item-interactions" in str(error.value)


@pytest.mark.parametrize(("user", "item"), [(-1, 5), (5, -1)])
def test_negative_threshold_is_refused(user: int, item: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-1 is negative"):
        load_interactions(write(tmp_path / "data.parquet", [(1, 1, 1)]), Columns(), user, item)


def test_file_order_breaks_ties_among_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(int(user), n, int(time)) for n, (user, time) in enumerate(rng.integers(0, 4, (3000, 2)))]
    data, _ = load_interactions(write(tmp_path / "data.parquet", rows), Columns(), 0, 0)
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        keys = list(zip(data.timestamps[start:end], data.item_ids[data.items[start:end] - 1], strict=True))
        assert keys == sorted(keys)  # the item id is the row in the file


@pytest.mark.parametrize("drop", [False, True])
def test_exact_repeats_are_counted_and_dropped(drop: bool, tmp_path: Path) -> None:
    rows = [(2, 7, 0), (1, 7, 5), (1, 8, 5), (1, 7, 5), (1, 7, 6), (1, 8, 5), (1, 7, 5), (2, 7, 5), (1, 7, 4)]
    data, report = load_interactions(write(tmp_path / "data.parquet", rows), Columns(), 0, 0, drop_duplicates=drop)
    assert (report.exact_repeats, report.repeats_dropped) == (3, 3 if drop else 0)
    assert report.interactions_dropped == report.repeats_dropped
    assert data.item_ids.tolist() == [7, 8]
    assert data.user_ids.tolist() == [2, 1]
    once, all_of_them = [1, 1, 1, 1, 2, 1], [1, 1, 1, 1, 2, 1, 2, 1, 1]
    assert data.items.tolist() == (once if drop else all_of_them)
    assert Summary.of(data).immediate_repeats == (2 if drop else 3)


def test_dropped_repeats_do_not_count_for_the_filter(tmp_path: Path) -> None:
    path = write(tmp_path / "data.parquet", [(1, 1, 1)] * 9 + [(2, 2, n) for n in range(3)])
    assert load_interactions(path, Columns(), 3, 0, drop_duplicates=True)[0].user_ids.tolist() == [2]


def test_random_repeats_equal_brute_force(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [tuple(map(int, row)) for row in rng.integers(0, 5, (400, 3))]
    data, report = load_interactions(write(tmp_path / "data.parquet", rows), Columns(), 0, 0, drop_duplicates=True)
    assert report.exact_repeats == len(rows) - len(set(rows))
    assert data.n_interactions == len(set(rows))
    lists = [data.items[a:b].tolist() for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    repeats = sum(x == y for items in lists for x, y in itertools.pairwise(items))
    assert Summary.of(data).immediate_repeats == repeats > 0


def test_summary_figures(tmp_path: Path) -> None:
    rows = [(1, item % 3, item) for item in range(6)] + [(2, 0, 7), (2, 1, 8), (3, 9, 9)]
    data, report = load_interactions(write(tmp_path / "data.parquet", rows), Columns(), 2, 0)
    summary = Summary.of(data, report)
    assert (summary.users, summary.items, summary.interactions) == (2, 3, 8)
    assert summary.mean_length == 4
    assert summary.density == 8 / 6
    assert summary.length_quantiles["min"] == 2
    assert summary.length_quantiles["max"] == 6
    assert (summary.first_timestamp, summary.last_timestamp) == (0, 8)
    as_json = json.loads(json.dumps(summary.to_dict()))
    assert as_json["filtered"]["users_dropped"] == 1
    assert Summary.of(data).to_dict()["filtered"] is None


def test_summary_table_shows_counts_and_what_was_dropped(tmp_path: Path) -> None:
    rows = [(user, item, 0) for user in range(1234) for item in range(2)] + [(5000, 77, 0)]
    data, report = load_interactions(write(tmp_path / "data.parquet", rows), Columns(), 2, 2)
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(summary_table(Summary.of(data, report), "Data"))
    lines = [line.replace("│", " ").split() for line in capture.get().splitlines()]
    assert ["users", "1,234", "1"] in lines
    assert ["interactions", "2,468", "1"] in lines
    assert ["median", "length", "2"] in lines


def test_what_was_dropped_is_told_by_reason(tmp_path: Path) -> None:
    # Item 9 is rare; then user 3 is left with one interaction; user 4 has one from the start, with item 9.
    rows = [(user, item, 0) for user in (1, 2) for item in (1, 2)] + [(3, 1, 0), (3, 9, 0), (4, 8, 0), (-1, 1, 0)]
    path = write(tmp_path / "data.parquet", rows)
    data, report = load_interactions(path, Columns(), 2, 2, null_values=["-1"])
    assert data.n_interactions == 4
    assert (report.rows_read, report.null_rows, report.interactions_read) == (8, 1, 7)
    assert (report.rare_user_interactions, report.rare_item_interactions) == (2, 1)
    console = Console(width=120, file=StringIO())
    with console.capture() as capture:
        console.print(summary_table(Summary.of(data, report)))
    dropped = "1 of null values, 2 of users with fewer than 2 interactions, 1 of items with fewer than 2 interactions"
    assert f"8 rows read; dropped: {dropped}" in " ".join(capture.get().split())


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [
        ("ml-1m", 6_040, 3_416, 999_611),
        ("amazon-beauty", 22_363, 12_101, 198_502),
        ("amazon-sports", 35_598, 18_357, 296_337),
    ],
)
def test_published_counts(name: str, users: int, items: int, interactions: int, shared_data: Path) -> None:
    data, report = load_interactions(shared_data / f"{name}.parquet")
    assert (data.n_users, data.n_items, data.n_interactions) == (users, items, interactions)
    assert report.interactions_dropped == 0  # it is a 5-core already
