"""Users whose states stay on the GPU: what the C++ library does for those in host memory, under leases."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from recblr.array_types import ItemId
from recblr.errors import ClosedError, ConfigError, shown
from recblr.item_ids import as_list, exact_id, in_type
from recblr.runtime.allow_list import AllowList
from recblr.runtime.engine import Engine
from recblr.runtime.fork_guard import ForkGuard
from recblr.runtime.inputs import ItemIds, Only
from recblr.runtime.ranking import Ranking
from recblr.runtime.users.states import GpuStates, HeldStates
from recblr.runtime.users.stores.base import Event, EventId, Store, UserId, append_of, check_id

_log = logging.getLogger(__name__)


class LeasedUsers:
    """The part of a Recommender that `recblr.runtime._core.Recommender` is for states in host memory.

    The store is read for each request. A state is used only if the event it ends with is still in the user's history.
    """

    def __init__(self, engine: Engine, store: Store, cache_bytes: int) -> None:
        """Make a pool for the engine's states.

        Raises:
            ConfigError, BackendError: see `GpuStates`.
        """
        self._cache_bytes = cache_bytes
        self._store = store
        # A model and its states; a swap replaces both at once, so that states of two models never meet.
        self._serving = GpuStates(engine, cache_bytes)
        self._next: GpuStates | None = None  # while a swap rebuilds states
        self._warned: Engine | None = None  # the latest whose ids a stored one cannot be
        self._swapping = threading.Lock()
        self._fork_guard = ForkGuard("Recommender")
        self._closed = False

    def add_event(self, user: UserId, items: ItemIds, event_id: EventId | None) -> bool:
        """See `Recommender.add_events`."""
        return self.add_events([(user, items, event_id)])[0]

    def add_events(self, events: Iterable[tuple[UserId, ItemIds, EventId | None]]) -> list[bool]:
        """See `Recommender.add_events_many`."""
        self._check_usable()
        appends = [append_of(event) for event in events]
        filled = [append for append in appends if append.items]
        added = iter(self._store.append(filled) if filled else [])
        return [next(added) if append.items else False for append in appends]

    def history(self, user: UserId) -> list[ItemId]:
        """See `Recommender.history`."""
        self._check_usable()
        (events,) = self._store.read([check_id(user, "user")], [0])
        return self._items(events)

    def forget(self, user: UserId) -> bool:
        """See `Recommender.forget`."""
        self._check_usable()
        user = check_id(user, "user")
        found = self._store.forget(user)
        # The next one first: if a swap ends in between, it is dropped from twice rather than not at all.
        for serving in (self._next, self._serving):
            if serving is not None:
                serving.drop(user)
        return found

    def recommend(
        self,
        users: Sequence[UserId],
        k: int,
        exclude_seen: bool,
        exclude: Sequence[ItemIds | None] | None,
        only: AllowList | Sequence[Any] | None,
    ) -> list[Ranking]:
        """See `Recommender.recommend_many`; `exclude` and `only` have one entry for each user."""
        self._check_usable()
        serving = self._serving
        users = [check_id(user, f"users[{b}]") for b, user in enumerate(users)]
        excluded = [None] * len(users) if exclude is None else exclude
        # Errors before any run: later they are joined with what the users have seen, or are parts of the users'.
        serving.engine.bundle.core.encode([() if row is None else row for row in excluded], "exclude")
        if len(users) > serving.users_at_once and only is not None:
            serving.engine.step(None, [()] * len(users), 1, None, only)
        rankings: list[Ranking] = []
        for part in _parts(users, serving):
            of_part = only if only is None or isinstance(only, AllowList) else only[part]
            rankings += self._rank(serving, users[part], k, exclude_seen, excluded[part], of_part)
        return rankings

    def recent_users(self, n: int) -> list[UserId]:
        """See `Recommender.recent_users`."""
        return self._serving.recent_users(n)

    def swap(self, engine: Engine, rebuild: int, allow_id_type_change: bool) -> None:
        """See `Recommender.swap`."""
        self._check_usable()
        with self._swapping:
            old, new = self._serving.engine.id_type, engine.id_type
            if new != old and not allow_id_type_change:
                raise ConfigError(
                    f"the item ids of {engine.bundle.path} are {new}s, those of the model in place {old}s: "
                    "train it with ids of one type, or swap with allow_id_type_change=True"
                )
            serving = GpuStates(engine, self._cache_bytes)
            engine.recommend([[engine.bundle.item(1)]], k=1)  # the first run allocates
            self._next = serving
            try:
                users = self._serving.recent_users(rebuild)[::-1]  # so that the latest end as the latest
                for part in _parts(users, serving):
                    self._rank(serving, users[part], 1, False, [None] * len(users[part]), None)
                self._serving = serving
            finally:
                self._next = None

    def close(self) -> None:
        """End its use; the store stays open."""
        self._closed = True

    def _rank(
        self,
        serving: GpuStates,
        users: Sequence[UserId],
        k: int,
        exclude_seen: bool,
        excluded: Sequence[ItemIds | None],
        allowed: Only,
    ) -> list[Ranking]:
        """The rankings of at most `serving.users_at_once` users; their states are brought up to date, and kept."""
        with serving.hold(users) as held:
            events = self._store.read(users, [0] * len(users) if exclude_seen else held.seqs.tolist())
            # A state that the events do not continue is no use: then all of the history is needed.
            partial = [b for b, log in enumerate(events) if held.seqs[b] and not _continues(held, b, log)]
            if partial and not exclude_seen:
                rest = self._store.read([users[b] for b in partial], [0] * len(partial))
                for b, log in zip(partial, rest, strict=True):
                    events[b] = log
            for b in partial:
                if not events[b]:  # forgotten through another process
                    serving.drop(users[b])
            held.restart(partial)
            new_items = [
                self._known_type(
                    serving.engine,
                    self._items(log) if not seq else [item for event in log if event.seq > seq for item in event.items],
                )
                for seq, log in zip(held.seqs.tolist(), events, strict=True)
            ]
            exclude = excluded
            if exclude_seen:
                exclude = [
                    [*(() if row is None else as_list(row)), *self._known_type(serving.engine, self._items(log))]
                    for row, log in zip(excluded, events, strict=True)
                ]
            rankings = held.step(new_items, k, exclude, allowed)
            changed = [b for b, log in enumerate(events) if log and log[-1].seq != held.seqs[b]]
            if changed:
                latest = [events[b][-1] for b in changed]
                held.keep(changed, [event.seq for event in latest], [event.stamp for event in latest])
        return [dataclasses.replace(ranking, unknown=0) for ranking in rankings]

    def _items(self, events: Sequence[Event]) -> list[ItemId]:
        items = [item for event in events for item in event.items]
        # Events are trimmed whole, so that a few items more may be stored.
        return items if self._store.max_history is None else items[-self._store.max_history :]

    def _known_type(self, engine: Engine, items: list[ItemId]) -> list[ItemId]:
        """Stored ids in the type of the model's, without those that it cannot know."""
        own = in_type(items, engine.id_type)
        if len(own) < len(items) and self._warned is not engine:
            self._warned = engine
            unknown = next(item for item in items if exact_id(item, engine.id_type) is None)
            _log.warning(
                "histories hold item ids such as %s, which the model in place cannot know, as its ids are %ss: "
                "they are skipped; is it the model of these histories?",
                shown(unknown),
                engine.id_type,
            )
        return own

    def _check_usable(self) -> None:
        self._fork_guard.check()
        if self._closed:
            raise ClosedError("the Recommender is closed: make a new one")


def _continues(held: HeldStates, b: int, events: Sequence[Event]) -> bool:
    """Whether the event that row b's state ends with is among `events`."""
    seq, stamp = int(held.seqs[b]), int(held.stamps[b])
    place = seq - events[0].seq if events else -1
    return 0 <= place < len(events) and events[place].stamp == stamp


def _parts(users: Sequence[UserId], states: GpuStates) -> Iterator[slice]:
    """Consecutive users that `states` holds together, each once."""
    start, at_once = 0, states.users_at_once
    seen: set[UserId] = set()
    for b, user in enumerate(users):
        if b - start == at_once or user in seen:
            yield slice(start, b)
            start = b
            seen.clear()
        seen.add(user)
    if start < len(users):
        yield slice(start, len(users))
