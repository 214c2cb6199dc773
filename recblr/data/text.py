"""Reading columns of text: CSV with quotes checked, TSV and RecBole's .inter without any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recblr.data.sources import SourceFile
from recblr.errors import DataError

_QUOTE = ord('"')
_NEWLINES = (ord("\n"), ord("\r"))
_MAX_QUOTED_CHARACTERS = 2**20  # Arrow reads blocks of so many bytes, and no row may be longer


@dataclass(frozen=True)
class TextRow:
    """A row of a text file: the line on which it begins (from 1), and its values."""

    line: int
    values: list[str]


def text_rows(file: SourceFile) -> Iterator[TextRow]:
    """All rows but the empty ones, header included, one by one: for headers and for what is wrong.

    Raises:
        DataError: a quote that is never closed, or text after a closing one.
    """
    delimiter = file.format.delimiter or ","
    with file.open_text() as lines:
        numbered = enumerate(lines, 1)
        for number, line in numbered:
            if file.format.quoted and '"' in line:
                yield TextRow(number, _quoted_values(file, numbered, number, line, delimiter))
            elif line := line.rstrip("\r\n"):
                yield TextRow(number, line.split(delimiter))


def _quoted_values(
    file: SourceFile, numbered: Iterator[tuple[int, str]], number: int, line: str, delimiter: str
) -> list[str]:
    """The values of a row that begins with a line, taking more lines where quotes go on."""
    values: list[str] = []
    place = 0
    while True:
        if not line.startswith('"', place):  # a quote further on in such a value is a character like others
            end = line.find(delimiter, place)
            if end < 0:
                return [*values, line[place:].rstrip("\r\n")]
            values.append(line[place:end])
            place = end + len(delimiter)
            continue
        opened, place, parts, length = number, place + 1, [], 0
        while True:
            end = line.find('"', place)
            if end < 0:
                parts.append(line[place:])
                length += len(parts[-1])
                number, line = next(numbered, (number, ""))
                place = 0
                if not line or length > _MAX_QUOTED_CHARACTERS:
                    raise DataError(f'{file}, line {opened}: a quote (") opens here and is never closed: correct it')
            elif line.startswith('""', end):
                parts.append(line[place : end + 1])
                place = end + 2
            else:
                parts.append(line[place:end])
                place = end + 1
                break
        values.append("".join(parts))
        rest = line[place:].rstrip("\r\n")
        if not rest:
            return values
        if not rest.startswith(delimiter):
            also = "" if opened == number else f" (it opens in line {opened})"
            raise DataError(
                f'{file}, line {number}: text follows a closing quote{also}: write " within a quoted value as ""'
            )
        place += len(delimiter)


def read_text(file: SourceFile, first: TextRow, has_header: bool, positions: Sequence[int | None]) -> pa.Table:
    """Some columns of a text file, as strings.

    Args:
        file: its format is a text format.
        first: its first row.
        has_header: whether that is a header.
        positions: of the three columns, user, item and timestamp; None for one that the file lacks.

    Returns:
        A table of these columns: dictionaries for the ids, strings for the timestamps.

    Raises:
        DataError: the text does not do; the message names the line.
    """
    n_values = len(first.values)
    names = first.values if has_header else [f"{position}" for position in range(n_values)]
    id_type = pa.dictionary(pa.int32(), pa.string())
    kinds = zip(positions, (id_type, id_type, pa.string()), strict=True)
    wanted = {names[position]: kind for position, kind in kinds if position is not None}
    with file.open_stream() as stream:
        checked = _CheckedStream(stream, file)
        try:
            table = pa.csv.read_csv(
                pa.PythonFile(checked, mode="r"),
                read_options=pa.csv.ReadOptions(column_names=None if has_header else names),
                parse_options=pa.csv.ParseOptions(
                    delimiter=file.format.delimiter,
                    quote_char='"' if file.format.quoted else False,
                    newlines_in_values=file.format.quoted,
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types=wanted,
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            _check_rows(file, n_values, has_header, positions)
            if len(list(islice(text_rows(file), 2))) > has_header:
                raise
            return pa.schema(list(wanted.items())).empty_table()  # a header without a line end
    if checked.needs_rows:
        _check_rows(file, n_values, has_header, positions)
    return table


def check_utf8(file: SourceFile, row: TextRow) -> None:
    """Refuse values that are not UTF-8.

    Raises:
        DataError: names the line.
    """
    if any("\udc80" <= character <= "\udcff" for value in row.values for character in value):
        raise DataError(f"{file}, line {row.line}, is not UTF-8 text: save the file as UTF-8")


def _check_rows(file: SourceFile, n_values: int, has_header: bool, positions: Sequence[int | None]) -> None:
    """Find what is wrong with a text file, row by row."""
    for number, row in enumerate(text_rows(file)):
        if len(row.values) != n_values:
            which = "header" if has_header else "first row"
            raise DataError(
                f"{file}, line {row.line}: {len(row.values)} values where the {which} has {n_values}: correct it"
            )
        if number == 0 and has_header:
            continue
        wanted = _wanted(row.values, positions)
        check_utf8(file, TextRow(row.line, wanted))
        if any("\n" in value or "\r" in value for value in wanted):
            raise DataError(
                f"{file}, line {row.line}: an id or a timestamp goes on in the next line, as where a stray quote "
                '(") swallows rows: correct the quotes'
            )
        if any(_holds_rows(file, value, row, positions) for value in row.values if "\n" in value):
            raise DataError(
                f"{file}, line {row.line}: a quoted value in this row holds whole rows of the file: close its quote "
                "where it should end, or convert the file to Parquet if the value is right"
            )


def _wanted(values: list[str], positions: Sequence[int | None]) -> list[str]:
    return [values[position] for position in positions if position is not None]


def _holds_rows(file: SourceFile, value: str, row: TextRow, positions: Sequence[int | None]) -> bool:
    """Whether a line of a row's value looks like a row itself: as many values, ids, and a time of the same form."""
    timestamp = positions[-1]
    for line in value.splitlines()[1:]:
        values = line.split(file.format.delimiter)
        if len(values) == len(row.values):
            wanted = _wanted(values, positions)
            in_form = timestamp is None or _shape(values[timestamp]) == _shape(row.values[timestamp])
            if in_form and all(wanted) and wanted == [value.strip() for value in wanted]:
                return True
    return False


def _shape(timestamp: str) -> str:
    """A time with its digits alike: "2024-05-01" is "d-d-d"."""
    return re.sub(r"\d+", "d", timestamp.strip())


class _CheckedStream:
    """Passes a text file's bytes to Arrow, and looks at them on the way.

    Arrow reads what RFC 4180 forbids without a word: a quote that is never closed swallows the rest of the file.
    Blocks without quotes pass at the speed of a search; in others every quote must open at the start of a value
    and close at its end. Where one does not, or a value has a newline, `needs_rows` says that the file must be
    read row by row to judge it.
    """

    def __init__(self, stream: pa.NativeFile, file: SourceFile) -> None:
        self._stream, self._file = stream, file
        self._may_open = np.array([*_NEWLINES, ord(file.format.delimiter or ","), _QUOTE], np.uint8)
        self._last = b"\n"
        self._inside = False
        self._lines = 1
        self._started = False
        self._doubtful = False
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Called by Arrow."""
        block: bytes = self._stream.read(size)
        if b"\0" in block:
            line = self._lines + _line_ends(block[: block.index(b"\0")])
            raise DataError(f"{self._file}, line {line}: a NUL byte, so it is no text or a damaged file: write it anew")
        self._lines += _line_ends(block)
        if self._file.format.quoted:
            self._check_quotes(block if self._started else block.removeprefix(b"\xef\xbb\xbf"))
        self._started = True
        return block

    def close(self) -> None:
        """Called by Arrow."""
        self.closed = True

    @property
    def needs_rows(self) -> bool:
        """Whether the file, once read, must be read again row by row."""
        return self._inside or self._doubtful

    def _check_quotes(self, block: bytes) -> None:
        if not block or self._doubtful:
            return
        if not self._inside and self._last != b'"' and b'"' not in block:
            self._last = block[-1:]
            return
        data = np.frombuffer(self._last + block, np.uint8)
        quotes = np.flatnonzero(data[1:] == _QUOTE) + 1
        opens, closes = quotes[int(self._inside) :: 2], quotes[int(not self._inside) :: 2]
        if not self._inside and self._last == b'"':
            closes = np.append(0, closes)
        before, after = data[opens - 1], data[closes[closes < len(data) - 1] + 1]
        newlines = np.flatnonzero(np.isin(data[1:], _NEWLINES)) + 1
        quoted = (np.searchsorted(quotes, newlines) + self._inside) % 2
        self._doubtful = bool(
            quoted.any() or not np.isin(before, self._may_open).all() or not np.isin(after, self._may_open).all()
        )
        self._inside ^= bool(len(quotes) % 2)
        self._last = block[-1:]


def _line_ends(block: bytes) -> int:
    return block.count(b"\n") or block.count(b"\r")
