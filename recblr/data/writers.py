"""Writing interactions as a file that `load_interactions` reads."""

from __future__ import annotations

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from recblr.data.formats import DEFAULT_COLUMNS, Columns, format_of
from recblr.data.interactions import Interactions
from recblr.files import replacing

_GZIP_LEVEL = 6


def write_interactions(interactions: Interactions, path: Path, columns: Columns = DEFAULT_COLUMNS) -> None:
    """Write one row per interaction, all users' together in order of time, whole or not at all.

    Equal times keep the order of the interactions. Text formats have no types: string ids that all look like
    integers are integers when read back.

    Args:
        interactions: what to write.
        path: its suffix tells the format, as for reading.
        columns: names of the columns.

    Raises:
        DataError: an unknown suffix.
        OutputError: the file cannot be written.
    """
    file_format = format_of(path)
    order = np.argsort(interactions.timestamps, kind="stable")
    users = np.repeat(np.arange(interactions.n_users), interactions.lengths)[order]
    items = interactions.items[order] - 1
    table = pa.table(
        {
            columns.user: pa.array(interactions.user_ids).take(pa.array(users)),
            columns.item: pa.array(interactions.item_ids).take(pa.array(items)),
            columns.timestamp: interactions.timestamps[order],
        }
    )
    if file_format.typed_header:
        types = ("token", "token", "float")
        table = table.rename_columns([f"{name}:{kind}" for name, kind in zip(columns.names, types, strict=True)])
    with replacing(path) as temporary:
        if file_format.delimiter is None:
            pa.parquet.write_table(table, temporary)
            return
        options = pa.csv.WriteOptions(delimiter=file_format.delimiter)
        with ExitStack() as stack:
            stream: BinaryIO | gzip.GzipFile = stack.enter_context(temporary.open("wb"))
            if file_format.compressed:
                stream = stack.enter_context(gzip.open(stream, "wb", _GZIP_LEVEL))
            pa.csv.write_csv(table, stream, options)
