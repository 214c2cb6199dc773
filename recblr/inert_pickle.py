"""Pickles read as data: whatever a file names becomes a stand-in that keeps what it is given and does nothing.

PyTorch's weights-only loader reads one pickle protocol, and only objects of classes it knows; checkpoints of RecBole,
Lightning and others hold their settings as objects of any class.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, ClassVar, Self

# Modules and builtins that no checkpoint needs. Refusing them adds no safety, as a stand-in does nothing; it tells the
# user what the file is.
_CODE_RUNNING_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "pty", "commands", "shutil", "io", "_io", "tempfile", "socket"),
    *("runpy", "importlib", "imp", "code", "codeop", "pdb", "bdb", "timeit", "profile", "cProfile", "webbrowser"),
    *("pickle", "marshal", "ctypes", "asyncio", "multiprocessing", "threading"),
}
_CODE_RUNNING_BUILTINS = {"eval", "exec", "compile", "open", "execfile", "__import__", "input", "breakpoint"}


class RefusedError(Exception):
    """A pickle names what runs code; the message is the name."""


class StandIn:
    """In place of an object that the file describes.

    Attributes:
        name: of its class, or of the function that would have made it: "module.name".
        arguments: what that would have been called with.
        state: what the object's attributes would have been set from; mostly a dict.
        entries: what would have been set by key, if it is some kind of dict.
    """

    name = ""
    arguments: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]

    def __new__(cls, *arguments: Any, **_options: Any) -> Self:
        """Keeps the arguments."""
        made = super().__new__(cls)
        made.arguments, made.state, made.entries = arguments, None, {}
        return made

    def __call__(self, *arguments: Any, **_options: Any) -> StandIn:
        """Old protocols call what a call gives, such as a method that `getattr` looks up."""
        return type(self)(*arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, _value: Any) -> None:
        """Drops the elements of a list or set."""

    extend = add = append


class _PlainDict(dict[Any, Any]):
    """In place of an OrderedDict, whose attributes a pickle could set."""

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        """Saved anew as what it stands for, so that it can be read again."""
        return OrderedDict, (), None, None, iter(self.items())


def fields(value: object) -> dict[Any, Any]:
    """What an object holds by name: a dict's entries, a stand-in's or its state; empty for anything else."""
    if isinstance(value, StandIn):
        return value.entries or (value.state if isinstance(value.state, dict) else {})
    return value if isinstance(value, dict) else {}


def elements(value: object) -> list[Any]:
    """What a set holds, which old protocols describe as a call of its class with a list; empty for anything else."""
    if isinstance(value, StandIn) and value.arguments:
        (value, *_) = value.arguments
    return list(value) if isinstance(value, set | frozenset | list | tuple) else []


class InertUnpickler(pickle._Unpickler):
    """Gives plain values, dicts and stand-ins; imports nothing, and calls nothing of the file's choice.

    Python's own unpickler, not the one in C: that takes memory for as many objects as the file's numbers promise.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], load_reference: Callable[[Any], Any] | None = None) -> None:
        """Read pickles off `file`, one per `load`.

        Args:
            file: in memory, as reading from there allots no more than there is.
            load_reference: what stands for an object outside of the pickle, given its persistent id.
        """
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._load_reference = load_reference
        self._classes: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> type:
        """A stand-in's class for whatever is named.

        Raises:
            RefusedError: it would run code.
        """
        full_name = f"{module}.{name}"
        root = module.split(".")[0]
        if root in _CODE_RUNNING_MODULES or (root in ("builtins", "__builtin__") and name in _CODE_RUNNING_BUILTINS):
            raise RefusedError(full_name)
        if full_name == "collections.OrderedDict":
            return _PlainDict
        if full_name not in self._classes:
            # A class of this file's own, as a pickle may set attributes of what it names.
            self._classes[full_name] = type("StandIn", (StandIn,), {"name": full_name})
        return self._classes[full_name]

    def persistent_load(self, reference: Any) -> Any:
        """What `load_reference` makes of it."""
        if self._load_reference is None:
            raise pickle.UnpicklingError("a reference to what is not in the file")
        return self._load_reference(reference)

    def get_extension(self, code: int) -> None:
        """Extensions are real objects that other code has registered, so there are none."""
        raise pickle.UnpicklingError(f"extension {code}")


def _checking_keys(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """An opcode's handler that first looks at what it will hash.

    Python hashes nested tuples without an end to the depth, down to a crash, or for ages where parts are shared.
    """

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
                raise pickle.UnpicklingError("keys that are nested tuples")
        load(unpickler)

    return checked


for _opcode, _keys in (
    (pickle.SETITEM, slice(-2, -1)),
    (pickle.SETITEMS, slice(0, None, 2)),
    (pickle.DICT, slice(0, None, 2)),
    (pickle.ADDITEMS, slice(None)),
    (pickle.FROZENSET, slice(None)),
):
    InertUnpickler.dispatch[_opcode[0]] = _checking_keys(InertUnpickler.dispatch[_opcode[0]], _keys)
# Laid out as bytes are; a bytearray's memory is filled before the file is known to have as many.
InertUnpickler.dispatch[pickle.BYTEARRAY8[0]] = InertUnpickler.dispatch[pickle.BINBYTES8[0]]
