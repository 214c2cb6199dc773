"""Data in another order: RecBole's, and runs in one order of all items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner


@pytest.fixture(scope="module")
def orders(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("orders")


# Within 64 seconds of each other, in another order than by time; then far apart.
RATINGS = "1::7::5::978300050\n1::3::4::978300019\n1::9::4::978300055\n1::2::3::978824351\n1::5::3::978301000\n"


def test_recbole_keeps_the_files_order_within_a_minute(orders: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("2::4::1::978300000\n" + RATINGS)
    arguments = ["recbole", str(tmp_path / "ratings.dat"), str(tmp_path / "new" / "ml-1m.parquet")]
    result = CliRunner().invoke(orders.main, arguments)
    assert result.exit_code == 0, result.output
    assert "6 interactions, 33% at another place" in result.output
    table = pq.read_table(tmp_path / "new" / "ml-1m.parquet").to_pydict()
    assert table["user_id"] == [1, 1, 1, 1, 1, 2]
    assert table["item_id"] == [7, 3, 9, 5, 2, 4]
    assert table["timestamp"] == list(range(6))


def test_runs_are_in_one_order_of_all_items(orders: ModuleType) -> None:
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 11)
    items = np.concatenate([generator.permutation(30)[:11] for _ in range(40)])
    order = orders.runs_order(users, items, 4)
    assert np.array_equal(users[order], users)
    before: set[tuple[int, int]] = set()
    for user in range(40):
        mine, theirs = items[order][users == user], items[users == user]
        for start in range(0, 11, 4):
            run = mine[start : start + 4]
            assert set(run) == set(theirs[start : start + 4])
            before |= {(int(a), int(b)) for n, a in enumerate(run) for b in run[n + 1 :]}
    assert not before & {(b, a) for a, b in before}  # no two items are ever in two orders


def test_runs_of_a_data_file(orders: ModuleType, tmp_path: Path) -> None:
    orders.write(np.array([1, 1, 1, 2, 2]), np.array([5, 6, 7, 6, 5]), tmp_path / "data.parquet")
    arguments = ["runs", str(tmp_path / "data.parquet"), str(tmp_path / "runs.parquet"), "--length", "2"]
    result = CliRunner().invoke(orders.main, arguments)
    assert result.exit_code == 0, result.output
    found = pq.read_table(tmp_path / "runs.parquet")["item_id"].to_pylist()
    assert found in ([5, 6, 7, 5, 6], [6, 5, 7, 6, 5])
