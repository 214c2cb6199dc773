"""Requests over HTTP as `ray_app` gets them, read as strictly as recblr-serve reads them.

Errors are `RequestError`, in recblr-serve's words where those are about fields and values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote

from recblr.array_types import ItemId
from recblr.errors import RequestError, shown
from recblr.runtime.users.stores.base import NewEvent

_ROW = "give a list of item ids"
_ROWS = "give one list of item ids per user"
_ID = "item ids are integers or strings"
_WHOLE = "give a whole number"
_BOOL = "give true or false"
_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def segments(raw_path: bytes) -> list[str]:
    """The parts of a path as it was sent, each decoded by itself, so that an id may hold a '/'."""
    try:
        return [_decoded(part) for part in raw_path.decode("ascii").removeprefix("/").split("/")]
    except ValueError as error:
        raise RequestError(
            "the path is not percent-encoded UTF-8: encode each byte as % and two hexadecimal digits"
        ) from error


@dataclass
class UserQuery:
    """The parameters of a request for one user.

    Attributes:
        integer: whether the user's id is an integer.
        ranking: arguments for `Recommender.recommend`.
    """

    integer: bool = False
    ranking: dict[str, Any] = field(default_factory=dict)

    def user(self, segment: str) -> int | str:
        """The user whose id a path has."""
        if not self.integer:
            return segment
        if re.fullmatch(r"0|-?[1-9][0-9]{0,999}", segment) is None:
            raise RequestError(f"user is the integer {shown(segment)}: give its decimal form, such as 25")
        return int(segment)


def user_query(query: bytes, *, ranks: bool) -> UserQuery:
    """Read the query of a request for one user; `ranks` where it asks for recommendations."""
    text = query.decode("latin-1")
    try:
        if _ESCAPE.search(text):
            raise ValueError
        pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict")
    except ValueError as error:
        raise RequestError(f"the query is {shown(text)}: give UTF-8, percent-encoded") from error
    read = UserQuery()
    given: set[str] = set()
    for name, value in pairs:
        known = ("k", "exclude_seen", "exclude", "only", "integer") if ranks else ("integer",)
        if name not in known:
            raise RequestError(f"{shown(name)} is no parameter of this address: use {', '.join(known)}")
        if name in ("exclude", "only"):  # one for each item
            read.ranking.setdefault(name, []).append(value)
        elif name == "integer":
            read.integer = _flag(value, name)
        else:
            read.ranking[name] = _whole_of(value, name) if name == "k" else _flag(value, name)
        if name in given:
            raise RequestError(f"{name} is there twice: give it once")
        given |= {name} - {"exclude", "only"}
    return read


def recommend_arguments(body: bytes) -> dict[str, Any]:
    """The arguments for `Engine.recommend` of the body of /v1/recommend."""
    readers: dict[str, Callable[[Any, str], Any]] = {
        "histories": _rows,
        "k": _whole,
        "exclude_seen": _bool,
        "exclude": _or_null(_rows),
        "only": _or_null(_row),
    }
    return _read(_parsed(body), readers, {"histories": _ROWS})


def new_events(body: bytes, user: int | str) -> tuple[list[NewEvent], bool]:
    """The events of a user in the body of .../events, and whether they came as a list."""
    event: dict[str, Callable[[Any, str], Any]] = {"items": _row, "event_id": _or_null(_event_id)}

    def read_events(value: Any, path: str) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            _refuse(value, path, "give a list of events")
        return [_read(one, event, {"items": _ROW}, f"{path}[{j}]") for j, one in enumerate(value)]

    fields = _read(_parsed(body), {**event, "events": read_events}, {})
    is_list = "events" in fields
    if is_list and len(fields) > 1:
        raise RequestError("items and event_id are beside events: give either one event's or the list")
    if not is_list and "items" not in fields:
        raise RequestError("items is missing: give a list of item ids, or events")
    found = fields["events"] if is_list else [fields]
    return [(user, one["items"], one.get("event_id")) for one in found], is_list


def _decoded(text: str) -> str:
    if _ESCAPE.search(text):
        raise ValueError(text)
    return unquote(text, errors="strict")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_object
        )
    except RequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON ({error})") from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise RequestError(f"{_as_field(name)} is there twice: give it once")
        made[name] = value
    return made


def _as_field(name: str) -> str:
    return name if re.fullmatch(r"[\w-]{1,60}", name, re.ASCII) else shown(name)


def _read(
    body: Any, readers: dict[str, Callable[[Any, str], Any]], needed: dict[str, str], path: str = ""
) -> dict[str, Any]:
    """The fields of an object that are not null; `needed` has what to say of those that must be there."""
    if not isinstance(body, dict):
        _refuse(body, path or "the body", f"give {'an object' if path else 'a JSON object'} with {', '.join(readers)}")
    prefix = f"{path}." if path else ""
    read = {}
    for name, value in body.items():
        if name not in readers:
            raise RequestError(f"{prefix}{_as_field(name)} is no field of a request: use {', '.join(readers)}")
        found = readers[name](value, prefix + name)
        if found is not None:
            read[name] = found
    for name, advice in needed.items():
        if name not in body:
            raise RequestError(f"{prefix}{name} is missing: {advice}")
    return read


def _or_null(reader: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, path: None if value is None else reader(value, path)


def _rows(value: Any, path: str) -> list[list[ItemId]]:
    if not isinstance(value, list):
        _refuse(value, path, _ROWS)
    return [_row(row, f"{path}[{b}]") for b, row in enumerate(value)]


def _row(value: Any, path: str) -> list[ItemId]:
    if not isinstance(value, list):
        _refuse(value, path, _ROW)
    for j, item in enumerate(value):
        if not _is_id(item):
            _refuse(item, f"{path}[{j}]", _ID)
    return value


def _event_id(value: Any, path: str) -> ItemId:
    if not _is_id(value):
        _refuse(value, path, "give an integer or a string")
    event_id: ItemId = value
    return event_id


def _is_id(value: Any) -> bool:
    if type(value) is not str:
        return type(value) is int
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half of a surrogate pair, as "\ud800" stands for
            raise RequestError(f"the body is no JSON ({error.reason})") from error
    return True


def _whole(value: Any, path: str) -> int:
    if type(value) is not int:
        _refuse(value, path, _WHOLE)
    return value


def _whole_of(text: str, name: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,18}", text) is None:
        _refuse(text, name, _WHOLE)
    return int(text)


def _bool(value: Any, path: str) -> bool:
    if type(value) is not bool:
        _refuse(value, path, _BOOL)
    return value


def _flag(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        _refuse(text, name, _BOOL)
    return text == "true"


def _refuse(value: Any, path: str, advice: str) -> NoReturn:
    raise RequestError(f"{path} is {_as_in_json(value)}: {advice}")


def _as_in_json(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Collection) and not isinstance(value, str):
        return "an object" if isinstance(value, dict) else "a list"
    text = shown(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
