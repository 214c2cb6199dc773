"""Writing files so that a reader sees the old content or the new, and never a part of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recblr.errors import OutputError

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


def check_writable(path: Path) -> None:
    """Raise now what writing `path` at the end of long work would raise.

    Raises:
        OutputError: the folder is missing or not writable, or `path` is a folder.
    """
    if path.is_dir():
        raise _output_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _output_error(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes `path`'s place, on any failure it is removed.

    Raises:
        OutputError: nothing can be written there, or the disk is full.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    temporary = Path(name)
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(descriptor, 0o666 & ~umask)  # mkstemp makes files that only their owner reads
        os.close(descriptor)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


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

    Args:
        path: the folder to make.
        may_replace: told an existing, non-empty `path`; returns whether it may be replaced.
        kind: what such a folder is, for the error.

    Raises:
        OutputError: `path` holds something else, nothing can be written there, or the disk is full.
    """
    check_replaceable(path, may_replace, kind)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise _output_error(path, error) from error
    previous = temporary.with_suffix(".old")
    try:
        temporary.chmod(0o755)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        try:
            if path.exists():
                path.rename(previous)
            temporary.rename(path)
        except BaseException:  # Ctrl-C too: what stays in `previous` is removed below
            if previous.exists() and not path.exists():
                previous.rename(path)
            raise
        _sync(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)
