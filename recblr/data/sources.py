"""Which files are meant by paths, folders, globs and URIs, in which order, and how to open them."""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs

from recblr.data.formats import Format, find_format, format_of
from recblr.errors import DataError, short_reason

Source: TypeAlias = str | Path  # a URI is a str: a Path would lose one of its slashes

_URI = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?[]")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_MAX_NAMED = 3


@dataclass(frozen=True)
class SourceFile:
    """One file of interactions.

    Attributes:
        filesystem: where it lies.
        path: there.
        name: for a person, without credentials.
        size: bytes.
        format: as its suffix tells.
        partitions: the columns that folders such as `date=2024-01-01` give it; "" stands for null.
    """

    filesystem: pa.fs.FileSystem
    path: str
    name: str
    size: int
    format: Format
    partitions: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def open_file(self) -> pa.NativeFile:
        """The bytes as stored, in any order."""
        return self.filesystem.open_input_file(self.path)

    def open_stream(self) -> pa.NativeFile:
        """The bytes decompressed, from first to last."""
        return self.filesystem.open_input_stream(self.path, compression=self.format.compression)

    def open_text(self) -> io.TextIOWrapper:
        """The text with its line ends; bytes that are not UTF-8 become lone surrogates."""
        return io.TextIOWrapper(self.open_stream(), encoding="utf-8-sig", errors="surrogateescape", newline="")


def find_files(sources: Source | Sequence[Source]) -> list[SourceFile]:
    """The files that sources mean, in their order; the files of a folder or a glob sorted by path.

    A folder means all files below it, a glob (`*`, `?`, `[a-z]`, `**` for folders of any depth) what it matches.
    Of both, names that begin with `_` or `.` are left out, unless the glob itself begins so there. URIs are what
    `pyarrow.fs.FileSystem.from_uri` takes; in their globs `?` begins the query.

    Raises:
        DataError: nothing there, no file in it, a file of another format, a file twice, or a place that cannot be
            reached.
    """
    if isinstance(sources, (str, Path)):
        sources = [sources]
    if not sources:
        raise DataError("no files of interactions were given: name at least one")
    found: dict[tuple[str, str], SourceFile] = {}
    for source in sources:
        if not str(source):
            raise DataError("the path of a file of interactions is empty: name a file, a folder or a glob")
        shown = _without_credentials(str(source))
        try:
            files = _files_of(source, shown)
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = short_reason(error).replace(str(source), shown)
            raise DataError(f"{shown} cannot be reached: {reason}; check the address and what it needs") from error
        for key in files.keys() & found.keys():
            raise DataError(f"{files[key]} is given twice, also as {found[key]}: leave one out")
        found |= files
    return list(found.values())


def local_files(sources: Source | Sequence[Source]) -> list[Path]:
    """Those of `find_files` that lie on this machine."""
    return [Path(file.path) for file in find_files(sources) if isinstance(file.filesystem, pa.fs.LocalFileSystem)]


def data_name(files: Sequence[SourceFile]) -> str:
    """What to call the data: the name of its file, or "3 files in logs/"."""
    if len(files) == 1:
        return posixpath.basename(files[0].name)
    try:
        folder = posixpath.basename(posixpath.commonpath([posixpath.dirname(file.name) for file in files]))
    except ValueError:  # absolute paths and relative ones
        folder = ""
    return f"{len(files)} files" + (f" in {folder}/" if folder else "")


def _without_credentials(source: str) -> str:
    """A URI without what may be secret in it, its user information and query; other sources as they are."""
    if not _URI.match(source):
        return source
    scheme, _, rest = source.partition("://")
    authority, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True)
class _Place:
    """A file or a folder: where it is, what to call it, and what it is."""

    filesystem: pa.fs.FileSystem
    path: str
    shown: str
    info: pa.fs.FileInfo

    @classmethod
    def at(cls, filesystem: pa.fs.FileSystem, path: str, shown: str) -> _Place:
        return cls(filesystem, path, shown, filesystem.get_file_info(path))

    @property
    def name(self) -> str:
        return posixpath.basename(self.path.rstrip("/"))

    @property
    def exists(self) -> bool:
        return bool(self.info.type != pa.fs.FileType.NotFound)

    @property
    def is_folder(self) -> bool:
        return bool(self.info.type == pa.fs.FileType.Directory)

    def __truediv__(self, name: str) -> _Place:
        return self.at(self.filesystem, posixpath.join(self.path, name), posixpath.join(self.shown, name))

    def children(self) -> list[_Place]:
        """What lies in a folder, sorted by name."""
        infos = self.filesystem.get_file_info(pa.fs.FileSelector(self.path))
        places = [
            _Place(self.filesystem, info.path, posixpath.join(self.shown, info.base_name), info) for info in infos
        ]
        return sorted(places, key=lambda place: place.path)

    def below(self) -> list[_Place]:
        """All files below a folder but the hidden ones, and those in hidden folders."""
        files = []
        for info in self.filesystem.get_file_info(pa.fs.FileSelector(self.path, recursive=True)):
            relative = info.path[len(self.path.rstrip("/")) :].lstrip("/")
            if info.type != pa.fs.FileType.Directory and not any(map(_is_hidden, relative.split("/"))):
                files.append(_Place(self.filesystem, info.path, posixpath.join(self.shown, relative), info))
        return sorted(files, key=lambda place: place.path)


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _files_of(source: Source, shown: str) -> dict[tuple[str, str], SourceFile]:
    """The files of one source by what identifies them."""
    text = str(source)
    if isinstance(source, str) and _URI.match(source):
        filesystem, path = pa.fs.FileSystem.from_uri(source)
    else:
        filesystem, path = pa.fs.LocalFileSystem(), os.path.abspath(text)  # noqa: PTH100 - keeps links
    place = _Place.at(filesystem, path, shown)
    if place.exists or not _WILDCARD.search(path):
        places = [place]
    else:
        places = _matches_of(filesystem, path, shown)
        if not places:
            raise DataError(f"{shown} matches no file: check the pattern")
    files: dict[tuple[str, str], SourceFile] = {}
    for place in places:
        for file in _files_below(place) if place.is_folder else [_source_file(place)]:
            files[_identity(file)] = file
    return dict(sorted(files.items(), key=lambda pair: pair[1].path))


def _matches_of(filesystem: pa.fs.FileSystem, path: str, shown: str) -> list[_Place]:
    segments = path.split("/")
    first = next(n for n, segment in enumerate(segments) if _WILDCARD.search(segment))
    fixed = "/".join(shown.split("/")[: first - len(segments)])
    root = _Place.at(filesystem, "/".join(segments[:first]) or "/", fixed)
    return list(_matches(root, segments[first:])) if root.is_folder else []


def _matches(place: _Place, segments: list[str]) -> Iterator[_Place]:
    """What the rest of a pattern matches below a folder."""
    if not segments:
        yield place
        return
    head, *rest = segments
    if head == "**":
        yield from _matches(place, rest)
        for child in place.children():
            if child.is_folder and not _is_hidden(child.name):
                yield from _matches(child, segments)
        return
    if _WILDCARD.search(head):
        hidden_too = _is_hidden(head)
        children = [
            child
            for child in place.children()
            if fnmatchcase(child.name, head) and (hidden_too or not _is_hidden(child.name))
        ]
    else:
        child = place / head
        children = [child] if child.exists else []
    for child in children:
        if not rest or child.is_folder:
            yield from _matches(child, rest)


def _files_below(folder: _Place) -> list[SourceFile]:
    places = folder.below()
    if not places:
        raise DataError(f"{folder.shown} is a folder without files of interactions: name another")
    unknown = [place.shown for place in places if find_format(place.path) is None]
    if unknown:
        more = f" and {len(unknown) - _MAX_NAMED} more" if len(unknown) > _MAX_NAMED else ""
        raise DataError(
            f"{folder.shown} holds {', '.join(unknown[:_MAX_NAMED])}{more}, of no known format: move them away, or "
            f"say which files you mean by a glob in quotes, such as '{posixpath.join(folder.shown, '*.parquet')}'"
        )
    return [_source_file(place) for place in places]


def _source_file(place: _Place) -> SourceFile:
    if not place.exists:
        raise DataError(f"{place.shown} does not exist: check the path")
    if place.info.type != pa.fs.FileType.File:
        raise DataError(f"{place.shown} is neither a file nor a folder: write what it holds to a file")
    file_format = format_of(place.shown)
    if place.info.size == 0:
        raise DataError(f"{place.shown} is empty: it has no header and no interactions")
    partitions: dict[str, str] = {}
    for segment in place.path.split("/")[:-1]:
        name, equals, value = segment.partition("=")
        if equals and name:
            partitions[name] = "" if value == _NULL_PARTITION else unquote(value)
    return SourceFile(place.filesystem, place.path, place.shown, place.info.size, file_format, partitions)


def _identity(file: SourceFile) -> tuple[str, str]:
    kind: Any = file.filesystem.type_name
    local = isinstance(file.filesystem, pa.fs.LocalFileSystem)
    return kind, os.path.realpath(file.path) if local else file.path
