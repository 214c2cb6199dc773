"""Where users' histories are kept. `open_store` picks one; all of them are a `Store`."""

from recblr.runtime.users.stores.base import Append, Event, EventId, Store, UserId
from recblr.runtime.users.stores.opening import open_store

__all__ = ["Append", "Event", "EventId", "Store", "UserId", "open_store"]
