"""The protocol of stores of histories, and what may be given to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from recblr.array_types import ItemId
from recblr.errors import RequestError, shown
from recblr.item_ids import ID_LIMIT, as_list, exact_id, is_sequence
from recblr.runtime.arguments import check_whole
from recblr.runtime.inputs import ItemIds

UserId: TypeAlias = int | str
EventId: TypeAlias = int | str

_MAX_ID_CHARACTERS = 1_024


class Append(NamedTuple):
    """New items of one user, as one event.

    Attributes:
        user: whose.
        items: item ids, at least one, in chronological order.
        event_id: names the event among those of the user; None for one that is never repeated.
    """

    user: UserId
    items: list[ItemId]
    event_id: EventId | None = None


NewEvent: TypeAlias = tuple[UserId, ItemIds] | tuple[UserId, ItemIds, EventId | None]


class Event(NamedTuple):
    """A stored event.

    Attributes:
        seq: its number in the user's history, from 1, without gaps.
        stamp: drawn at random, below 2^63. Two histories that agree in an event's `seq` and `stamp` agree in all
            up to it, even if one of them was forgotten, or lost its end to a crash, and went on otherwise.
        items: its item ids.
    """

    seq: int
    stamp: int
    items: list[ItemId]


class Store(Protocol):
    """Histories of users as logs of events. Any number of threads may call it at once.

    Stores keep item ids as users give them, integers and strings apart, so that histories outlive a model; what an id
    means, a model decides when it reads them. An event is kept until it is forgotten,
    or, with `max_history`, until at least so many items came after it; its id is remembered as long as it is kept.
    No clock is read: the order of events is that in which they were stored.

    Methods raise `StoreError` where the store cannot be reached, is full or fails, and then say whether anything was
    stored.
    """

    max_history: int | None

    def append(self, appends: Sequence[Append]) -> list[bool]:
        """Store events, durably before this returns.

        Each event is stored whole or not at all, and after those already stored for its user. One whose event_id
        the user's history holds already changes nothing.

        Returns:
            [n] whether it was new.
        """
        ...

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        """Each user's kept events from the number `since[b]` on, that one included, in order; 0 for all."""
        ...

    def forget(self, user: UserId) -> bool:
        """Remove all of a user: events and event ids. Returns whether there was anything."""
        ...

    def close(self) -> None:
        """Close what the store holds open; it cannot be used afterwards."""
        ...


def parts_of(event: NewEvent) -> tuple[UserId, ItemIds, EventId | None]:
    """An event as callers give it: user, items, and its id or None.

    Raises:
        RequestError: no tuple or list of (user, items) or (user, items, event_id).
    """
    if not isinstance(event, tuple | list) or len(event) not in (2, 3):
        raise RequestError(f"an event is {event!r:.60}: give (user, items) or (user, items, event_id)")
    user, items, event_id = (*event, None)[:3]
    return user, items, event_id


def append_of(event: NewEvent) -> Append:
    """An event as callers give it, in the form that stores take.

    Raises:
        RequestError: see `parts_of`; ids as `check_id` refuses them.
    """
    user, items, event_id = parts_of(event)
    if not is_sequence(items) or getattr(items, "ndim", 1) != 1:
        raise RequestError(f"items is {shown(items)}: give a sequence of item ids")
    return Append(
        check_id(user, "user"),
        [check_id(item, f"items[{j}]") for j, item in enumerate(as_list(items))],
        None if event_id is None else check_id(event_id, "event_id"),
    )


def check_id(value: object, name: str) -> int | str:
    """`value` as a Python int or str; `name` is for the errors.

    Raises:
        RequestError: of another type, too long, or no valid Unicode.
    """
    checked = exact_id(value, "string" if isinstance(value, str) else "integer")
    if checked is None:
        raise RequestError(f"{name} is {shown(value)}: give an integer or a string")
    if isinstance(checked, str):
        if len(checked) > _MAX_ID_CHARACTERS:
            raise RequestError(f"{name} has {len(checked):,} characters: give at most {_MAX_ID_CHARACTERS:,}")
        try:
            checked.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"{name} is {shown(checked)}, which is no valid Unicode: repair the text") from error
    elif abs(checked) >= ID_LIMIT:
        raise RequestError(f"{name} is a number of more than 100 digits: give a smaller one")
    return checked


def check_max_history(max_history: int | None) -> int | None:
    """`max_history`, where it is None or a whole number of at least 1.

    Raises:
        ConfigError: it is neither.
    """
    if max_history is None:
        return None
    return check_whole(
        max_history, "max_history", "a whole number of at least 1, or None to keep all", least=1, most=2**63 - 1
    )
