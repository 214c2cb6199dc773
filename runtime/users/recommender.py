"""The Recommender: an engine, users' histories in a store, and a cache of their states, in one object."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Any

from recblr.array_types import ItemId
from recblr.errors import ClosedError, ConfigError, RequestError, shown
from recblr.item_ids import as_list, exact_id, in_type, is_sequence
from recblr.runtime.allow_list import AllowList
from recblr.runtime.batching.settings import Batching
from recblr.runtime.engine import Engine
from recblr.runtime.fork_guard import ForkGuard
from recblr.runtime.inputs import Allowed, Exclude, ItemIds, Only, check_k
from recblr.runtime.loading import load
from recblr.runtime.ranking import Ranking
from recblr.runtime.users.states import CacheDevice, HeldStates, UserStates, user_states
from recblr.runtime.users.stores import Event, EventId, Store, UserId, open_store
from recblr.runtime.users.stores.base import NewEvent, append_of, check_id

_DEFAULT_CACHE_BYTES = 256 * 1024**2

_log = logging.getLogger(__name__)


class Recommender:
    """The best next items for users whose histories it keeps.

    The store holds histories, which are the truth; states are a cache of what the model makes of them. A state is
    used only if the event it ends with is still in the user's history; then what came since is fed to it, in the same
    run that ranks. Else it is rebuilt from the history, many users in one run. Adding events does not run the model.

    Any number of threads may call it at once, and any number of processes may share the store; in asyncio,
    call its methods through `asyncio.to_thread`. With states in host memory, no lock is held while the model runs; on
    the GPU, a user's state is leased to one call at a time.

    Histories are kept as they are given, whatever the type of the model's ids: an integer and the string of its digits
    are one item to it. Stored ids that can be none of the model's, such as "A-1" where those are integers, are skipped
    like unknown ones, with a warning in the log and no error, which would meet all users of a call.

    With `max_history`, a state may know of events that are no longer kept; a rebuilt one does not.

    Once it is closed, its methods raise `ClosedError`.
    """

    def __init__(
        self,
        model: Engine | str | PathLike[str],
        store: Store | str | PathLike[str] | None = None,
        *,
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
        cache_device: CacheDevice = "host",
        max_history: int | None = None,
    ) -> None:
        """Join a model and a store.

        Args:
            model: an engine, or the path of a bundle, which is loaded and merges the requests of concurrent callers.
            store: a store, or what `open_store` takes: a folder for SQLite, a redis:// address, None for memory.
            cache_bytes: the most that users' states take; see `StateCache`.
            cache_device: "host", or "gpu" to keep them in the memory of the GPU that a TensorRT engine runs on. They
                then never pass through the host, but concurrent calls run side by side and not as one batch.
            max_history: how many of a user's latest items to keep, None for all; a store given has its own.

        Raises:
            BundleError, ConfigError, MissingExtraError: see `recblr.runtime.load`.
            ConfigError, StoreError: see `open_store`.
            ConfigError: `cache_bytes` or `cache_device` cannot be had.
        """
        self._cache_bytes = cache_bytes
        self._cache_device: CacheDevice = cache_device
        # A model and its states; a swap replaces both at once, so that states of two models never meet.
        self._serving = self._serve(model)
        self._next: UserStates | None = None  # while a swap rebuilds states
        self._owns_store = store is None or isinstance(store, str | PathLike)
        self._store: Store = (
            open_store(store, max_history) if store is None or isinstance(store, str | PathLike) else store
        )
        self._warned: Engine | None = None  # the latest whose ids a stored one cannot be
        self._swapping = threading.Lock()
        self._fork_guard = ForkGuard("Recommender")
        self._closed = False

    def __enter__(self) -> Recommender:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @property
    def engine(self) -> Engine:
        """The model that answers now."""
        return self._serving.engine

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users who have a state in the cache, the latest used first."""
        return self._serving.recent_users(n)

    def add_events(self, user: UserId, items: ItemIds, event_id: EventId | None = None) -> bool:
        """Add items to a user's history, as one event; it is as durable as its store once this returns.

        Args:
            user: an integer or a string; 1 and "1" are two users.
            items: item ids in chronological order, integers or strings, also such as the model does not know; none
                change nothing.
            event_id: repeating it for the user changes nothing, as long as the event is kept.

        Returns:
            Whether anything was added.

        Raises:
            RequestError: an id of another type, or too long.
            StoreError: the store failed; the message says whether the event is stored.
        """
        return self.add_events_many([(user, items, event_id)])[0]

    def add_events_many(self, events: Iterable[NewEvent]) -> list[bool]:
        """`add_events` for many, in order, in one transaction or round trip.

        Args:
            events: (user, items) or (user, items, event_id) each. If one is malformed, none is added.

        Raises:
            RequestError, StoreError: see `add_events`.
        """
        self._check_usable()
        appends = [append_of(event) for event in events]
        filled = [append for append in appends if append.items]
        added = iter(self._store.append(filled) if filled else [])
        return [next(added) if append.items else False for append in appends]

    def history(self, user: UserId) -> list[ItemId]:
        """The user's item ids as stored, in order; the latest `max_history` where that is set.

        Raises:
            RequestError: an id of another type.
            StoreError: the store failed.
        """
        self._check_usable()
        (events,) = self._store.read([check_id(user, "user")], [0])
        return self._items(events)

    def forget(self, user: UserId) -> bool:
        """Remove all of a user: history, event ids and state.

        Another process that shares the store may hold the user's state until it is asked for the user, or until its
        cache drops it; it never uses it.

        Returns:
            Whether the store held anything of the user.

        Raises:
            RequestError: an id of another type.
            StoreError: the store failed; repeat it.
        """
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
        user: UserId,
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: ItemIds = (),
        only: Allowed | None = None,
    ) -> Ranking:
        """The best next items for one user.

        Args:
            user: whose history decides; without one the popular items.
            k: results; None is 10, or all items of a smaller catalogue. There are fewer where `exclude` and `only`
                leave fewer.
            exclude_seen: leave out the items of the stored history.
            exclude: further item ids to leave out.
            only: item ids to choose from, or an `AllowList`, or None for the whole catalogue; the best among them,
                exactly.

        Returns:
            The ranking; its `unknown` is 0.

        Raises:
            RequestError: `k` out of range, arguments of another form, or `exclude` or `only` of which the model knows
                none and one is of a type that it cannot know.
            StoreError: the store failed.
        """
        return self.recommend_many([user], k, exclude_seen, [exclude], None if only is None else [only])[0]

    def recommend_many(
        self,
        users: Sequence[UserId],
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: Exclude = None,
        only: Only = None,
    ) -> list[Ranking]:
        """`recommend` for many users in few runs.

        Args:
            users: [B]
            k: results per user.
            exclude_seen: leave out the items of each user's stored history.
            exclude: [B] further item ids to leave out, or None.
            only: [B] item ids or an `AllowList` to choose from, None for a user to choose from all; or one `AllowList`
                for all users; or None.

        Returns:
            One ranking per user, in order, all of one model.

        Raises:
            RequestError, StoreError: see `recommend`.
        """
        self._check_usable()
        serving = self._serving
        k = check_k(k, serving.engine.n_items)
        if not isinstance(users, Collection) or isinstance(users, str):
            raise RequestError(f"users is {users!r:.60}: give a sequence of user ids")
        users = [check_id(user, f"users[{b}]") for b, user in enumerate(users)]
        excluded = _rows(exclude, len(users), "exclude")
        allowed = only if isinstance(only, AllowList) else _rows(only, len(users), "only")
        # Errors before any run: later they are joined with what the users have seen, or are parts of the users'.
        serving.engine.bundle.core.encode([() if row is None else row for row in excluded], "exclude")
        if len(users) > serving.users_at_once and only is not None:
            serving.engine.step(None, [()] * len(users), 1, None, allowed)
        rankings: list[Ranking] = []
        for part in _parts(users, serving):
            of_part = allowed if isinstance(allowed, AllowList) else allowed[part]
            rankings += self._rank(serving, users[part], k, exclude_seen, excluded[part], of_part)
        return rankings

    def swap(
        self, model: Engine | str | PathLike[str], rebuild: int = 0, *, allow_id_type_change: bool = False
    ) -> None:
        """Put another model in place, while the old one keeps answering.

        The new one is loaded and run once while the old one serves, then takes its place at once. Requests under way
        end with the model they began with. States of the old are dropped; the new one's are rebuilt from histories as
        users are asked for. If anything fails, the old model stays.

        Args:
            model: an engine, or the path of a bundle.
            rebuild: how many of the users asked for latest get their states before the new model takes over, in
                batches, so that it does not start with long histories.
            allow_id_type_change: take a model whose item ids are strings where the old one's are integers, or the
                other way around. It answers with ids of its type; histories are converted as they are read.

        Raises:
            BundleError, ConfigError, MissingExtraError: see `recblr.runtime.load`.
            ConfigError: the models' ids are of two types.
            StoreError: the store failed while states were rebuilt.
        """
        self._check_usable()
        with self._swapping:
            serving = self._serve(model)
            old, new = self.engine.id_type, serving.engine.id_type
            if new != old and not allow_id_type_change:
                if serving.engine is not model:
                    serving.engine.close()
                raise ConfigError(
                    f"the item ids of {serving.engine.bundle.path} are {new}s, those of the model in place {old}s: "
                    "train it with ids of one type, or swap with allow_id_type_change=True"
                )
            serving.engine.recommend([[serving.engine.bundle.item(1)]], k=1)  # the first run allocates
            self._next = serving
            try:
                users = self._serving.recent_users(rebuild)[::-1]  # so that the latest end as the latest
                for part in _parts(users, serving):
                    self._rank(serving, users[part], 1, False, [None] * len(users[part]), None)
                self._serving = serving
            finally:
                self._next = None

    def close(self) -> None:
        """End its use, and close the store unless it was given as an object; calls under way still finish."""
        if not self._closed:
            self._closed = True
            if self._owns_store:
                self._store.close()

    def _serve(self, model: Engine | str | PathLike[str]) -> UserStates:
        engine = load(str(model), batching=Batching()) if isinstance(model, str | PathLike) else model
        return user_states(engine, self._cache_device, self._cache_bytes)

    def _rank(
        self,
        serving: UserStates,
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


def _rows(rows: Only, n_users: int, name: str) -> list[Any]:
    """One entry per user.

    Raises:
        RequestError: not a sequence of `n_users` sequences, allow-lists or Nones.
    """
    if rows is None:
        return [None] * n_users
    if not is_sequence(rows) or len(rows) != n_users:
        raise RequestError(f"{name} is {shown(rows)} for {n_users} users: give one list per user, or None")
    for b, row in enumerate(rows):
        if row is None or isinstance(row, AllowList):
            continue
        if not is_sequence(row):
            raise RequestError(f"{name}[{b}] is {shown(row)}: give a sequence of item ids")
    return list(rows)


def _parts(users: Sequence[UserId], states: UserStates) -> Iterator[slice]:
    """Consecutive users that `states` holds together."""
    start, at_once = 0, states.users_at_once
    seen: set[UserId] = set()
    for b, user in enumerate(users):
        if b - start == at_once or user in seen:
            yield slice(start, b)
            start = b
            seen.clear()
        if states.each_once:
            seen.add(user)
    if start < len(users):
        yield slice(start, len(users))
