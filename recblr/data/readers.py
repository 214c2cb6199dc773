"""Reading the three columns of an interaction file: Parquet, CSV, TSV and RecBole's .inter."""

from __future__ import annotations

import csv
import gzip
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from recblr.data.formats import DEFAULT_COLUMNS, Columns, Format, format_of
from recblr.errors import DataError

_MAX_NAMED_COLUMNS = 20
_MAX_QUOTED = 200

Column: TypeAlias = pa.ChunkedArray


@dataclass(frozen=True, eq=False)
class RawTable:
    """The three columns as they stand in the file, all [N], N >= 1, values unchecked.

    In text formats the ids are dictionaries of strings and the timestamps strings.
    """

    path: Path
    format: Format
    columns: Columns
    users: Column
    items: Column
    timestamps: Column

    @property
    def is_text(self) -> bool:
        """Whether the file is text, which has no types of its own."""
        return self.format.delimiter is not None

    def place(self, row: int) -> str:
        """Where a person finds a row (from 0): the line in a text file, the row's index in Parquet."""
        if not self.is_text:
            return f"{self.path}, row {row} (counting from 0)"
        try:
            line, _ = next(islice(_text_rows(self.path, self.format), row + 1, None))
        except csv.Error:  # a field beyond the csv module's limit: count rows, not lines
            return f"{self.path}, row {row + 1} after the header"
        return f"{self.path}, line {line}"


def read_interactions(path: Path, columns: Columns = DEFAULT_COLUMNS) -> RawTable:
    """Read the three columns of a file, whose suffix tells the format.

    Text formats are UTF-8 with a header line; values may be quoted with `"`, empty lines are skipped.

    Raises:
        DataError: no such file, a folder, an unknown suffix, an empty or damaged file, no rows or columns.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist: check the path") from error
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}; check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path} is a folder: name one file in it")
    file_format = format_of(path)
    if status.st_size == 0:
        raise DataError(f"{path} is empty: it has no header and no interactions")
    try:
        read = _read_parquet if file_format.delimiter is None else _read_text
        table = read(path, file_format, columns)
    # Arrow's own errors are ValueErrors, OSErrors, NotImplementedErrors and so on.
    except (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error) as error:
        message = one_line(error)
        raise DataError(f"{path} cannot be read as {file_format.name}: {message}; check the file") from error
    if table.num_rows == 0:
        raise DataError(f"{path} has a header but no interactions: it needs one row for each")
    return RawTable(path, file_format, columns, *table.columns)


def one_line(value: object) -> str:
    """Text of a value on one line, shortened where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."


def _positions(path: Path, found: list[str], columns: Columns) -> list[int]:
    """Positions of the three columns among those found."""
    missing = [name for name in columns.names if name not in found]
    if missing:
        named = ", ".join(map(repr, found[:_MAX_NAMED_COLUMNS]))
        more = f" and {len(found) - _MAX_NAMED_COLUMNS} more" if len(found) > _MAX_NAMED_COLUMNS else ""
        raise DataError(
            f"{path} has no column {', '.join(map(repr, missing))}, only {named}{more}: "
            "name its columns with --user-column, --item-column and --timestamp-column"
        )
    for name in columns.names:
        if found.count(name) > 1:
            raise DataError(f"{path} has {found.count(name)} columns named {name!r}: rename or remove all but one")
    return [found.index(name) for name in columns.names]


def _read_parquet(path: Path, _format: Format, columns: Columns) -> pa.Table:
    with pa.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
    _positions(path, schema.names, columns)
    # Strings repeat: as a dictionary they take a fraction of the memory.
    strings = [
        name
        for name in (columns.user, columns.item)
        if pa.types.is_string(schema.field(name).type) or pa.types.is_large_string(schema.field(name).type)
    ]
    with pa.parquet.ParquetFile(path, read_dictionary=strings) as file:
        return file.read(columns=columns.names).select(columns.names)


def _read_text(path: Path, file_format: Format, columns: Columns) -> pa.Table:
    header = next(_text_rows(path, file_format), None)
    if header is None:
        raise DataError(f"{path} has only empty lines: it needs a header and one row for each interaction")
    line, fields = header
    _check_utf8(path, line, fields)
    found = [file_format.column_name(field) for field in fields]
    positions = _positions(path, found, columns)
    wanted = [fields[position] for position in positions]
    id_type = pa.dictionary(pa.int32(), pa.string())
    try:
        return pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(delimiter=file_format.delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict(zip(wanted, (id_type, id_type, pa.string()), strict=True)),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        for line, row in _text_rows(path, file_format):
            if len(row) != len(fields):
                raise DataError(
                    f"{path}, line {line}: {len(row)} values where the header has {len(fields)}: correct it"
                ) from error
            _check_utf8(path, line, [row[position] for position in positions])
        raise


def _check_utf8(path: Path, line: int, values: list[str]) -> None:
    if any("\udc80" <= character <= "\udcff" for value in values for character in value):
        raise DataError(f"{path}, line {line}, is not UTF-8 text: save the file as UTF-8")


def _text_rows(path: Path, file_format: Format) -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) of its first line, and the fields, of each row of a text file, header included.

    For the header and for errors only: it reads row by row. Bytes that are not UTF-8 become lone surrogates.
    """
    opened = gzip.open if file_format.compressed else open
    with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=file_format.delimiter or ",")
        line = 1
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
