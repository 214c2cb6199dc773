"""Writing files so that a reader sees the old content or the new, and never a part of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recblr.errors import OutputError

_TEMPORARY, _PREVIOUS = ".tmp", ".old"  # suffixes of equal length
_RANDOM = 8  # characters that tempfile makes up

_ADVICE = {
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EACCES: "choose a place you may write to",
    errno.EPERM: "choose a place you may write to",
    errno.EROFS: "choose a place you may write to",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "one part of the path is a file: choose another path",
    errno.EISDIR: "the path is a folder: name a file",
}


def _output_error(path: Path, error: OSError) -> OutputError:
    advice = _ADVICE.get(error.errno or 0, "check the path and the disk")
    return OutputError(f"cannot write {path}: {error.strerror or error}; {advice}")


def _sync(path: Path) -> None:
    """Flush a file's or a folder's entries to the disk, so that a rename cannot outrun its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _behind_links(path: Path) -> Path:
    """What a link leads to, which is what gets replaced: the link itself stays."""
    return Path(os.path.realpath(path))


def _file_behind_links(path: Path) -> Path:
    """The same of a path to write a file to: a rename would put it in the place of a device such as /dev/null, too.

    Raises:
        OSError: there is a folder.
        OutputError: there is a device or a pipe.
    """
    place = _behind_links(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not place.is_file():  # a pipe behind /dev/stdout has no path of its own
        raise OutputError(f"cannot write {path}: it is a device or a pipe; name a file")
    return place


def check_writable(path: Path) -> None:
    """Raise now what writing `path` at the end of long work would raise, and clear what a killed run left of it.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is a folder, a device or a pipe.
    """
    try:
        place = _file_behind_links(path)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
        _remove_abandoned(place)
    except OSError as error:
        raise _output_error(path, error) from error


def check_not_input(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write over what a command reads.

    Args:
        output: a file or folder to be written or replaced.
        inputs: files and folders that are read.

    Raises:
        OutputError: `output` is one of the inputs, by whatever name, or a folder that one of them lies in.
    """
    place = _behind_links(output)
    for given in inputs:
        same = output.exists() and given.exists() and output.samefile(given)  # a hard link, too
        if same or _behind_links(given).is_relative_to(place):
            raise OutputError(f"writing {output} would destroy the input {given}: name another output")


# A writer holds a lock on its temporary file or folder, which the system releases however the writer ends: what is
# there without one was abandoned.


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of a file or folder; None on a file system without locks.

    Raises:
        OSError: another process holds it (BlockingIOError) or removed it (FileNotFoundError), or it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:  # removed before it was locked
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _temporary(path: Path, make: Callable[[str, str, Path], str]) -> Iterator[Path]:
    """A file or folder beside `path` that `make` made, locked; removed at the end if it is still there."""
    _remove_abandoned(path)
    while True:
        temporary = Path(make(f".{path.name}.", _TEMPORARY, path.parent))
        try:
            descriptor = _lock(temporary)
            break
        except (BlockingIOError, FileNotFoundError):  # another process took it for abandoned before it was locked
            continue
    try:
        yield temporary
    finally:
        _remove(temporary)
        if descriptor is not None:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; a folder that one had moved aside comes back."""
    prefix = f".{path.name}."
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.name.startswith(prefix)]
    except PermissionError:  # a folder that may be written to and not listed
        return
    for name in names:
        if len(name) != len(prefix) + _RANDOM + len(_TEMPORARY) or not name.endswith((_TEMPORARY, _PREVIOUS)):
            continue
        abandoned = path.with_name(name)
        try:
            descriptor = _lock(abandoned)
        except OSError:  # in use, gone, or not ours
            continue
        if descriptor is not None:
            if name.endswith(_PREVIOUS) and not path.exists():
                abandoned.rename(path)
            else:
                _remove(abandoned)
            os.close(descriptor)


def _make_file(prefix: str, suffix: str, folder: Path) -> str:
    descriptor, name = tempfile.mkstemp(suffix, prefix, str(folder))
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)  # mkstemp makes files that only their owner reads
    os.close(descriptor)
    return name


def _make_folder(prefix: str, suffix: str, folder: Path) -> str:
    name = tempfile.mkdtemp(suffix, prefix, str(folder))
    Path(name).chmod(0o755)
    return name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes `path`'s place, on any failure it is removed.

    A link stays, and what it leads to is replaced.

    Raises:
        OutputError: nothing can be written there, there is a device or a pipe, or the disk is full.
    """
    try:
        place = _file_behind_links(path)
        with _temporary(place, _make_file) as temporary:
            yield temporary
            _sync(temporary)
            temporary.replace(place)
            _sync(place.parent)
    except OSError as error:
        raise _output_error(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_replaceable(path: Path, may_replace: Callable[[Path], bool], kind: str) -> None:
    """Raise now what `replacing_directory` would raise of an existing `path`, with the same arguments.

    Raises:
        OutputError: `path` holds something else.
    """
    occupied = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if occupied and not (path.is_dir() and may_replace(path)):
        raise OutputError(f"{path} exists and is not a {kind}: name another folder or remove it")


@contextmanager
def replacing_directory(path: Path, may_replace: Callable[[Path], bool], kind: str = "bundle") -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it takes `path`'s place, on any failure it is removed.

    A link stays, and what it leads to is replaced.

    Args:
        path: the folder to make.
        may_replace: told an existing, non-empty `path`; returns whether it may be replaced.
        kind: what such a folder is, for the error.

    Raises:
        OutputError: `path` holds something else, nothing can be written there, or the disk is full.
    """
    try:
        place = _behind_links(path)
        with _temporary(place, _make_folder) as temporary:
            check_replaceable(path, may_replace, kind)
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            _exchange(place, temporary)
            _sync(place.parent)
    except OSError as error:
        raise _output_error(path, error) from error


def _exchange(path: Path, temporary: Path) -> None:
    """Put a folder in the place of another, if there is one, which is removed."""
    if not path.exists():
        temporary.rename(path)
        return
    previous = temporary.with_suffix(_PREVIOUS)
    descriptor = _lock(path)  # else another process takes it for abandoned
    try:
        try:
            path.rename(previous)
            temporary.rename(path)
        except BaseException:  # Ctrl-C too
            if previous.exists() and not path.exists():
                previous.rename(path)
            raise
        _remove(previous)
    finally:
        if descriptor is not None:
            os.close(descriptor)
