"""The Recommender: an engine, users' histories in a store, and a cache of their states, in one object."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

from recblr.array_types import ItemId
from recblr.errors import ConfigError, RequestError, shown
from recblr.item_ids import is_sequence
from recblr.runtime import _core
from recblr.runtime.allow_list import AllowList
from recblr.runtime.arguments import check_flag, check_whole
from recblr.runtime.batching.settings import Batching
from recblr.runtime.engine import Engine
from recblr.runtime.inputs import Allowed, Exclude, ItemIds, Only, check_k
from recblr.runtime.loading import load
from recblr.runtime.ranking import Ranking
from recblr.runtime.users.leased import LeasedUsers
from recblr.runtime.users.stores import EventId, Store, UserId, open_store
from recblr.runtime.users.stores.base import NewEvent, check_id, parts_of
from recblr.runtime.users.stores.opening import core_store

_MOST_USERS = 2**63 - 1
_DEFAULT_CACHE_BYTES = 256 * 1024**2

CacheDevice: TypeAlias = Literal["host", "gpu"]
_CACHE_DEVICES: tuple[CacheDevice, ...] = get_args(CacheDevice)


class Recommender:
    """The best next items for users whose histories it keeps.

    The store holds histories, which are the truth; states are a cache of what the model makes of them. A state is
    used only if the event it ends with is still in the user's history; then what came since is fed to it, in the same
    run that ranks. Else it is rebuilt from the history, many users in one run. Adding events does not run the model. A
    request costs the same whether a user has ten events or many thousands.

    Any number of threads may call it at once, and any number of processes may share the store; in asyncio,
    call its methods through `asyncio.to_thread`. With states in host memory, no lock is held while the model runs; on
    the GPU, a user's state is leased to one call at a time.

    Histories are kept as they are given, whatever the type of the model's ids: an integer and the string of its digits
    are one item to it. Stored ids that can be none of the model's, such as "A-1" where those are integers, are skipped
    like unknown ones, with a warning in the log and no error, which would meet all users of a call. So it is with a
    user whose keys in Redis hold something else than a history: an error alone, among others answered as a new one.

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
            store: what `open_store` takes - a folder for SQLite, a redis:// address, None for memory - or a store,
                which may be one of your own.
            cache_bytes: the most that users' states and the items that they have seen take; with little history a user
                takes 1.04 times the state.
            cache_device: "host", or "gpu" to keep them in the memory of the GPU that a TensorRT engine runs on. They
                then never pass through the host, but concurrent calls run side by side and not as one batch.
            max_history: how many of a user's latest items to keep, None for all; a store given has its own.

        Raises:
            BundleError, ConfigError, MissingExtraError: see `recblr.runtime.load`.
            ConfigError, StoreError: see `open_store`.
            ConfigError: `cache_bytes` or `cache_device` cannot be had.
        """
        if cache_device not in _CACHE_DEVICES:
            raise ConfigError(f"cache_device is {cache_device!r}: give one of {', '.join(_CACHE_DEVICES)}")
        cache_bytes = check_whole(cache_bytes, "cache_bytes", "a whole number of bytes, 0 for no cache")
        self._engine = _loaded(model)
        self._owns_store = store is None or isinstance(store, str | PathLike)
        self._store: Store = (
            open_store(store, max_history) if store is None or isinstance(store, str | PathLike) else store
        )
        self._swapping = threading.Lock()
        self._users: _core.Recommender | LeasedUsers
        if cache_device == "gpu":
            self._users = LeasedUsers(self._engine, self._store, cache_bytes)
        else:
            self._users = _core.Recommender(self._engine.core, core_store(self._store), min(cache_bytes, 2**63 - 1))

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
        return self._engine

    def recent_users(self, n: int) -> list[UserId]:
        """At most `n` users who have a state in the cache, the latest used first.

        Raises:
            RequestError: `n` is no whole number, or below 0.
        """
        return self._users.recent_users(
            min(check_whole(n, "n", "a whole number, 0 or more", error=RequestError), _MOST_USERS)
        )

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
            KeyboardInterrupt: Ctrl-C, while the main thread waits for the store; the event may be stored all the same.
        """
        return self._users.add_event(user, items, event_id)

    def add_events_many(self, events: Iterable[NewEvent]) -> list[bool]:
        """`add_events` for many, in order, in one transaction or round trip.

        Args:
            events: (user, items) or (user, items, event_id) each. If one is malformed, none is added.

        Raises:
            RequestError, StoreError: see `add_events`.
        """
        if not isinstance(events, Iterable):
            raise RequestError(f"events is {shown(events)}: give a sequence of events")
        return self._users.add_events([parts_of(event) for event in events])

    def history(self, user: UserId) -> list[ItemId]:
        """The user's item ids as stored, in order; the latest `max_history` where that is set.

        Raises:
            RequestError: an id of another type.
            StoreError: the store failed.
        """
        return self._users.history(user)

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
        return self._users.forget(user)

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
        excluded = None if type(exclude) is tuple and not exclude else [exclude]
        return self.recommend_many([user], k, exclude_seen, excluded, None if only is None else [only])[0]

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
        engine = self._engine  # held, so that a swap does not end it before this call
        k = check_k(k, engine.n_items)
        exclude_seen = check_flag(exclude_seen, "exclude_seen")
        if not isinstance(users, Collection) or isinstance(users, str):
            raise RequestError(f"users is {users!r:.60}: give a sequence of user ids")
        users = list(users)
        if exclude is not None or only is not None:  # what is wrong with users is said first
            users = [check_id(user, f"users[{b}]") for b, user in enumerate(users)]
        excluded = None if exclude is None else _rows(exclude, len(users), "exclude")
        allowed = only if only is None or isinstance(only, AllowList) else _rows(only, len(users), "only")
        return self._users.recommend(users, k, exclude_seen, excluded, allowed)

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
        rebuild = min(check_whole(rebuild, "rebuild", "a whole number of users, 0 for none"), _MOST_USERS)
        allow_id_type_change = check_flag(allow_id_type_change, "allow_id_type_change", ConfigError)
        with self._swapping:
            engine = _loaded(model)
            try:
                if isinstance(self._users, LeasedUsers):
                    self._users.swap(engine, rebuild, allow_id_type_change)
                else:
                    self._users.swap(engine.core, rebuild, allow_id_type_change)
            except BaseException:
                if engine is not model:
                    engine.close()
                raise
            self._engine = engine

    def close(self) -> None:
        """End its use, and close the store unless it was given as an object; calls under way still finish."""
        self._users.close()
        if self._owns_store:
            self._store.close()


def _loaded(model: Engine | str | PathLike[str]) -> Engine:
    if isinstance(model, str | PathLike):
        return load(model, batching=Batching())
    if not isinstance(model, Engine):
        raise ConfigError(f"model is {shown(model)}: give an Engine, or the path of a bundle")
    return model


def _rows(rows: Any, n_users: int, name: str) -> list[Any]:
    """One entry per user.

    Raises:
        RequestError: not a sequence of `n_users` sequences, allow-lists or Nones.
    """
    if not is_sequence(rows) or len(rows) != n_users:
        raise RequestError(f"{name} is {shown(rows)} for {n_users} users: give one list per user, or None")
    for b, row in enumerate(rows):
        if row is None or isinstance(row, AllowList):
            continue
        if not is_sequence(row):
            raise RequestError(f"{name}[{b}] is {shown(row)}: give a sequence of item ids")
    return list(rows)
