"""The file formats of interactions, told by suffix, and the names of their columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from recblr.errors import ConfigError, DataError


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold the user's id, the item's id and the time of an interaction.

    Raises:
        ConfigError: one column is named for two purposes.
    """

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"the columns {', '.join(self.names)} are not three different ones: "
                "name one each with --user-column, --item-column and --timestamp-column"
            )

    @property
    def names(self) -> list[str]:
        """User, item, timestamp."""
        return [getattr(self, field.name) for field in fields(self)]


DEFAULT_COLUMNS = Columns()


@dataclass(frozen=True)
class Format:
    """How a file holds interactions."""

    name: str
    delimiter: str | None = None  # None: Parquet
    quoted: bool = False  # values may stand in ", as RFC 4180 says; else " is a character like others
    typed_header: bool = False  # header fields are "name:type"
    compression: str | None = None  # as Arrow names the codec

    @property
    def is_text(self) -> bool:
        """Whether values have no types of their own."""
        return self.delimiter is not None

    def column_name(self, field: str) -> str:
        """The column's name in a header field: what stands before the type, if the format has types there."""
        return field.rpartition(":")[0] if self.typed_header and ":" in field else field


_FORMATS = {
    ".parquet": Format("Parquet"),
    ".csv": Format("CSV", ",", quoted=True),
    ".tsv": Format("TSV", "\t"),
    ".inter": Format("RecBole's .inter", "\t", typed_header=True),
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
for _suffix in (".csv", ".tsv", ".inter"):
    for _ending, _codec in _COMPRESSIONS.items():
        _plain = _FORMATS[_suffix]
        _FORMATS[_suffix + _ending] = Format(_plain.name, _plain.delimiter, _plain.quoted, _plain.typed_header, _codec)


def find_format(name: str) -> Format | None:
    """The format of a file, by the suffix of its name in any case; None where it tells none."""
    name = name.lower()
    return next((file_format for suffix, file_format in _FORMATS.items() if name.endswith(suffix)), None)


def format_of(path: str | Path) -> Format:
    """The format of `path`, by its suffix in any case.

    Raises:
        DataError: no known suffix.
    """
    file_format = find_format(str(path))
    if file_format is None:
        raise DataError(
            f"{path}: the suffix tells no known format: rename it to end in .parquet, .csv, .tsv or .inter, "
            f"the text formats also with {', '.join(_COMPRESSIONS)} behind"
        )
    return file_format
