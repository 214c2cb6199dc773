"""Reading the three columns of interaction files: Parquet, CSV, TSV and RecBole's .inter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from typing import TypeAlias

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from recblr.data.formats import DEFAULT_COLUMNS, Columns
from recblr.data.sources import Source, SourceFile, data_name, find_files
from recblr.data.text import check_utf8, read_text, text_rows
from recblr.errors import DataError

_MAX_NAMED_COLUMNS = 20
_MAX_QUOTED = 200

Column: TypeAlias = pa.ChunkedArray


@dataclass(frozen=True, eq=False)
class FileTable:
    """The three columns as they stand in one file, all [n], values unchecked, dictionaries where it has them.

    Attributes:
        file: which one.
        has_header: whether its first row is one; only of text.
        columns: user, item, timestamp.
        untyped: for each, whether it is text of a file without types, or from the name of a folder.
    """

    file: SourceFile
    has_header: bool
    columns: list[Column]
    untyped: list[bool]

    def __len__(self) -> int:
        return len(self.columns[0])

    def place(self, row: int) -> str:
        """Where a person finds a row (from 0): the line in a text file, the row's index in Parquet."""
        if not self.file.format.is_text:
            return f"{self.file}, row {row} (counting from 0)"
        line = next(islice(text_rows(self.file), row + self.has_header, None)).line
        return f"{self.file}, line {line}"


@dataclass(frozen=True, eq=False)
class RawTable:
    """The files' tables, one after another, with N >= 1 rows in all.

    Attributes:
        name: of the data.
        names: of the columns: user, item, timestamp.
        parts: of the files that have rows.
    """

    name: str
    names: list[str]
    parts: list[FileTable]

    @cached_property
    def starts(self) -> list[int]:
        """The first row of each part, and N."""
        return [0, *accumulate(map(len, self.parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    def place(self, row: int) -> str:
        """Where a person finds a row (from 0) of all: the file, and the line or the row there."""
        part = next(part for part, end in enumerate(self.starts[1:]) if row < end)
        return self.parts[part].place(row - self.starts[part])


def read_interactions(
    sources: Source | Sequence[Source], columns: Columns = DEFAULT_COLUMNS, header: Sequence[str] | None = None
) -> RawTable:
    """Read the three columns of all files, whose suffixes tell their formats.

    Text formats are UTF-8; empty lines are skipped. CSV may have values in `"`; in TSV and .inter that is a
    character like others. A column that a file lacks may come from the name of a folder, `date=2024-01-01`.

    Args:
        sources: paths, folders, globs or URIs, as `recblr.data.sources.find_files` takes them.
        columns: names of the columns; in .inter files without the `:type`.
        header: the names of all columns of text files that have no header, in their order; "_" and "" are names of
            none. None: their first row is the header.

    Raises:
        DataError: no such file, an unknown suffix, an empty or damaged file, no rows or columns.
    """
    files = find_files(sources)
    parts = [_read(file, columns, header) for file in files]
    table = RawTable(data_name(files), columns.names, [part for part in parts if len(part)])
    if not table.parts:
        what = f"{files[0]} has" if len(files) == 1 else f"the {len(files)} files ({files[0]}, ...) have"
        raise DataError(f"{what} a header but no interactions: one row for each is needed")
    return table


def one_line(value: object) -> str:
    """Text of a value on one line, shortened where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."


def _read(file: SourceFile, columns: Columns, header: Sequence[str] | None) -> FileTable:
    try:
        if file.format.is_text:
            return _read_text(file, columns, header)
        return _read_parquet(file, columns)
    # Arrow's own errors are ValueErrors, OSErrors, NotImplementedErrors and so on.
    except (pa.ArrowException, OSError) as error:
        message = one_line(error)
        raise DataError(f"{file} cannot be read as {file.format.name}: {message}; check the file") from error


def _positions(file: SourceFile, found: Sequence[str], columns: Columns) -> list[int | None]:
    """Positions of the three columns among those found; None for one that the file's folders give."""
    missing = [name for name in columns.names if name not in found and name not in file.partitions]
    if missing:
        named = ", ".join(map(repr, found[:_MAX_NAMED_COLUMNS]))
        more = f" and {len(found) - _MAX_NAMED_COLUMNS} more" if len(found) > _MAX_NAMED_COLUMNS else ""
        without = "; where it has no header, with --no-header --columns" if file.format.is_text else ""
        advice = f"name its columns with --user-column, --item-column and --timestamp-column{without}"
        if file.format.is_text and len(found) == 1:
            between = "tabs" if file.format.delimiter == "\t" else "commas"
            advice = f"its values have to be separated by {between}, as its suffix says"
        raise DataError(f"{file} has no column {', '.join(map(repr, missing))}, only {named}{more}: {advice}")
    for name in columns.names:
        if found.count(name) > 1:
            raise DataError(f"{file} has {found.count(name)} columns named {name!r}: rename or remove all but one")
    return [found.index(name) if name in found else None for name in columns.names]


def _with_partitions(
    file: SourceFile, table: pa.Table, stored: Sequence[bool], columns: Columns
) -> tuple[list[Column], list[bool]]:
    """The three columns, those that are not stored in the file by the names of its folders."""
    read = iter(table.columns)
    untyped = [file.format.is_text or not is_stored for is_stored in stored]
    result = []
    for name, is_stored in zip(columns.names, stored, strict=True):
        if is_stored:
            result.append(next(read))
        else:
            value = pa.DictionaryArray.from_arrays(
                pa.repeat(pa.scalar(0, pa.int32()), len(table)), [file.partitions[name]]
            )
            result.append(pa.chunked_array([value]))
    return result, untyped


def _read_parquet(file: SourceFile, columns: Columns) -> FileTable:
    with file.open_file() as stream, pa.parquet.ParquetFile(stream) as parquet:
        schema = parquet.schema_arrow
    stored = [position is not None for position in _positions(file, schema.names, columns)]
    wanted = [name for name, is_stored in zip(columns.names, stored, strict=True) if is_stored]
    # Strings repeat: as a dictionary they take a fraction of the memory.
    strings = [
        name
        for name in wanted
        if name != columns.timestamp
        and (pa.types.is_string(schema.field(name).type) or pa.types.is_large_string(schema.field(name).type))
    ]
    remote = not isinstance(file.filesystem, pa.fs.LocalFileSystem)
    with (
        file.open_file() as stream,
        pa.parquet.ParquetFile(stream, read_dictionary=strings, pre_buffer=remote) as parquet,
    ):
        table = parquet.read(columns=wanted).select(wanted)
    return FileTable(file, False, *_with_partitions(file, table, stored, columns))


def _read_text(file: SourceFile, columns: Columns, header: Sequence[str] | None) -> FileTable:
    first = next(text_rows(file), None)
    if first is None:
        raise DataError(f"{file} has only empty lines: it needs a header and one row for each interaction")
    if header is None:
        check_utf8(file, first)
        found = [file.format.column_name(value) for value in first.values]
    elif len(header) == len(first.values):
        found = ["" if name == "_" else name for name in header]
    else:
        raise DataError(
            f"{file}, line {first.line}: {len(first.values)} values where --columns names {len(header)}: "
            "name them all, with _ for what is not needed"
        )
    positions = _positions(file, found, columns)
    table = read_text(file, first, header is None, positions)
    stored = [position is not None for position in positions]
    return FileTable(file, header is None, *_with_partitions(file, table, stored, columns))
