"""Errors meant for a person: each message says what is wrong, with the value, and what to do about it.

Every error recblr raises on purpose is a `RecblrError`. The command-line tools print its message as one line and
exit with status 1.
"""

from __future__ import annotations

import re


class RecblrError(Exception):
    """Base of all errors that recblr raises on purpose."""


class DataError(RecblrError):
    """Interactions that cannot be read, or that are too few for what was asked."""


class ConfigError(RecblrError, ValueError):
    """A setting outside its range, or settings that contradict each other."""


class CheckpointError(RecblrError):
    """A file that is no readable model."""


class TrainingError(RecblrError):
    """Training that cannot go on, such as a loss that is not finite."""


class ExportError(RecblrError):
    """A model that cannot be exported, or whose export is not equal to it."""


class BundleError(RecblrError):
    """A bundle that is missing, incomplete, altered, or of another format version."""


class RequestError(RecblrError, ValueError):
    """A request an engine cannot answer: k out of range, a state of another shape, and the like."""


class StoreError(RecblrError):
    """A store of histories that cannot be reached, is full, or fails."""


class OverloadedError(RecblrError):
    """A request refused because too many wait already; nothing of it was done. In HTTP, 503 or 429."""


class DeadlineError(RecblrError, TimeoutError):
    """A request whose time ran out before it was answered. In HTTP, 504."""


class ClosedError(RecblrError):
    """A request to something that was closed, or that closed before it could answer. In HTTP, 503."""


class BackendError(RecblrError):
    """The library that runs the graph failed on a request. In HTTP, 500."""


class ForkError(RecblrError, RuntimeError):
    """Something that lives in threads was used in a process forked after it was made."""


class MissingExtraError(RecblrError, ImportError):
    """An optional dependency that is not installed."""


class OutputError(RecblrError):
    """A file or folder that cannot be written."""


def shown(value: object) -> str:
    """A value for a message: its repr as one line of at most 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of thousands of digits
        text = f"<{type(value).__name__} of too many digits>"
    if "\n" in text:
        text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def short_reason(error: BaseException) -> str:
    """What another library's error says, as one line of at most 160 characters for a message of ours; never empty."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason if len(reason) <= 160 else f"{reason[:157]}..."


def one_line(message: str) -> str:
    """The message with what would break its line, or cannot be printed, as Python's escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in message
    )


# What PyTorch, ONNX Runtime and Python say, as RuntimeErrors, of memory and threads that they do not get.
_NO_MEMORY = re.compile(
    r"allocate memory|out of memory|bad_alloc|Storage size calculation overflowed|invalid for input of size",
    re.IGNORECASE,
)
_NO_THREAD = re.compile(r"can't start new thread|Resource temporarily unavailable", re.IGNORECASE)


def expected_failure(error: BaseException) -> str | None:
    """What to tell a person of an error that the input or the machine is to blame for; None of a bug."""
    if isinstance(error, RecblrError):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return f"out of memory ({short_reason(error)}): use a smaller model or batch, or a machine with more"
    if isinstance(error, RuntimeError) and _NO_THREAD.search(str(error)):
        return f"the system gives no more threads ({short_reason(error)}): use fewer"
    if isinstance(error, ImportError) and ".so" in str(error):
        return f"a package cannot be loaded ({short_reason(error)}): reinstall it, or free some memory"
    if isinstance(error, OSError):
        file = "" if error.filename is None else f"{error.filename}: "
        return f"{file}{error.strerror or short_reason(error)}; check the path, its permissions and the disk"
    if isinstance(error, UnicodeError):
        return f"text that cannot be read or written ({short_reason(error)}): check its encoding"
    return None
