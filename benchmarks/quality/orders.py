"""Data whose users' histories are in another order: what an order of ties is worth.

    python benchmarks/quality/orders.py recbole ml-1m/ratings.dat recbole/ml-1m.parquet
    python benchmarks/quality/orders.py runs ml-1m.parquet runs-of-4/ml-1m.parquet --length 4

RecBole, in which the paper's numbers were made, keeps timestamps as float32 (its issues 1653 and 2204). Those of
MovieLens-1M then differ by 64 seconds at least, in which users rate several films, and what is tied stays in the order
of the file: within a user that is not by time, but an order of films that many users share, and a model can learn it.
`recbole` gives the ratings that order; `runs` shows what such an order can do, on any data: of every few interactions
in a row it makes a tie, and puts it in one random order of all items.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recblr.files import replacing


def recbole_order(users: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Places of the interactions by user and float32 timestamp, ties in the order given: int64 [N]."""
    return np.lexsort((timestamps.astype(np.float32), users))


def runs_order(users: np.ndarray, items: np.ndarray, length: int, seed: int = 0) -> np.ndarray:
    """Places of interactions, given by user and time, with each user's runs of `length` in one order of all items."""
    starts = np.flatnonzero(np.diff(users, prepend=users[:1] - 1))
    position = np.arange(len(users)) - np.repeat(starts, np.diff(starts, append=len(users)))
    _, codes = np.unique(items, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(codes.max() + 1)
    return np.lexsort((rank[codes], position // length, users))


def write(users: np.ndarray, items: np.ndarray, path: Path) -> None:
    """A data file of interactions in this order: their timestamps are their places."""
    table = pa.table({"user_id": users, "item_id": items, "timestamp": np.arange(len(users))})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def write_runs(data: Path, path: Path, length: int) -> int:
    """A data file as `runs_order` orders it; gives the number of interactions."""
    table = pq.read_table(data, columns=["user_id", "item_id", "timestamp"])
    users, items, timestamps = (column.to_numpy() for column in table.columns)
    by_time = np.lexsort((timestamps, users))
    users, items = users[by_time], items[by_time]
    order = runs_order(users, items, length)
    write(users[order], items[order], path)
    return len(users)


@click.group()
def main() -> None:
    """Write data in another order."""


@main.command()
@click.argument("ratings", type=click.Path(path_type=Path, exists=True))
@click.argument("output", type=click.Path(path_type=Path))
def recbole(ratings: Path, output: Path) -> None:
    """MovieLens's RATINGS (user::item::rating::time) as RecBole orders them."""
    text = ratings.read_text(encoding="latin-1").replace("::", "\t")
    users, items, _, timestamps = np.loadtxt(text.splitlines(), dtype=np.int64, delimiter="\t", unpack=True)
    order = recbole_order(users, timestamps)
    exact = np.lexsort((timestamps, users))
    moved = float(np.mean(items[order] != items[exact]))
    write(users[order], items[order], output)
    click.echo(f"{len(users):,} interactions, {moved:.0%} at another place than by exact times: {output}")


@main.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--length", type=click.IntRange(min=1), default=4, show_default=True, help="Interactions of a tie.")
def runs(data: Path, output: Path, length: int) -> None:
    """DATA (Parquet) with every few interactions of a user tied, and ties in one order of all items."""
    click.echo(f"{write_runs(data, output, length):,} interactions in runs of {length}: {output}")


if __name__ == "__main__":
    main()
