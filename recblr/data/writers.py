"""Writing interactions as a file that `load_interactions` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from recblr.data.formats import DEFAULT_COLUMNS, Columns, Format, format_of
from recblr.data.interactions import Interactions
from recblr.data.times import typed_times
from recblr.errors import DataError
from recblr.files import replacing

_LINES_AT_ONCE = 2**16


def write_interactions(interactions: Interactions, path: Path, columns: Columns = DEFAULT_COLUMNS) -> None:
    """Write one row per interaction, all users' together in order of time, whole or not at all.

    Equal times keep the order of the interactions. Text formats have no types: string ids that all look like
    integers are integers when read back.

    Args:
        interactions: what to write.
        path: its suffix tells the format, as for reading.
        columns: names of the columns.

    Raises:
        DataError: an unknown suffix, or ids with characters that the format has no way to write.
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
            columns.timestamp: typed_times(interactions.timestamps[order], interactions.time_unit),
        }
    )
    if file_format.typed_header:
        types = ("token", "token", "float" if interactions.time_unit is None else "token")
        table = table.rename_columns([f"{name}:{kind}" for name, kind in zip(columns.names, types, strict=True)])
    if file_format.is_text:
        _check_ids(path, file_format, interactions)
    with replacing(path) as temporary:
        if file_format.delimiter is None:
            pa.parquet.write_table(table, temporary)
            return
        with pa.output_stream(str(temporary), compression=file_format.compression) as stream:
            if file_format.quoted:
                pa.csv.write_csv(table, stream)
                return
            values = [column.cast(pa.large_string()) for column in table.columns]
            separator = pa.scalar(file_format.delimiter, pa.large_string())
            lines = pa.table({"line": pc.binary_join_element_wise(*values, separator)})
            stream.write((file_format.delimiter.join(table.column_names) + "\n").encode())
            for batch in lines.to_batches(_LINES_AT_ONCE):
                stream.write("".join(f"{line}\n" for line in batch.column(0).to_pylist()).encode())


def _check_ids(path: Path, file_format: Format, interactions: Interactions) -> None:
    """Refuse ids that would be read back as something else."""
    forbidden = "[\\r\\n\\x00]" if file_format.quoted else f"[\\r\\n\\x00{file_format.delimiter}]"
    for ids in (interactions.user_ids, interactions.item_ids):
        values = pa.array(ids)
        if pa.types.is_integer(values.type):
            continue
        first = pc.index(pc.match_substring_regex(values, forbidden), True).as_py()
        if first >= 0:
            raise DataError(f"{path}: the id {ids[first]!r} cannot stand in {file_format.name}: write .parquet")
