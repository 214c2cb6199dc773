"""Histories in a Redis or Valkey server, shared by any number of processes on any number of machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recblr.errors import ConfigError, StoreError, short_reason
from recblr.runtime.fork_guard import ForkGuard
from recblr.runtime.users.stores.base import (
    Append,
    Event,
    UserId,
    check_max_history,
    cut,
    id_text,
    items_from_text,
    items_text,
    new_stamp,
)

_TIMEOUT_S = 5.0

# A user has a list of events and a set of their ids. An event is
#     SEQ TOTAL STAMP LENGTH EVENT_ID ITEMS
# with TOTAL the user's items up to and with it, and LENGTH that of EVENT_ID in bytes, 0 for none.
_APPEND = """
local log, ids = KEYS[1], KEYS[2]
local stamp, n_items, event_id, items, max_history = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
if event_id ~= '' and redis.call('SADD', ids, event_id) == 0 then
  return 0
end
local seq, total = 0, 0
local last = redis.call('LINDEX', log, -1)
if last then
  local a, b = string.match(last, '^(%d+) (%d+) ')
  seq, total = tonumber(a), tonumber(b)
end
seq, total = seq + 1, total + n_items
-- Lua's %s would end at a NUL.
local event = table.concat({string.format('%.0f %.0f', seq, total), stamp, #event_id, event_id, items}, ' ')
redis.call('RPUSH', log, event)
while max_history > 0 do
  local first = redis.call('LINDEX', log, 0)
  local first_total, length, rest = string.match(first, '^%d+ (%d+) %d+ (%d+) (.*)$')
  if tonumber(first_total) > total - max_history then
    break
  end
  redis.call('LPOP', log)
  if length ~= '0' then
    redis.call('SREM', ids, string.sub(rest, 1, tonumber(length)))
  end
end
return 1
"""
_READ = """
local first = redis.call('LINDEX', KEYS[1], 0)
if not first then
  return {}
end
local since = tonumber(ARGV[1]) - tonumber(string.match(first, '^%d+'))
return redis.call('LRANGE', KEYS[1], math.max(since, 0), -1)
"""


class RedisStore:
    """A `Store` in a Redis or Valkey server. How safe an acknowledged event is depends on the server's settings.

    With `appendonly yes` and `appendfsync always` it survives a crash; with `appendfsync everysec` a crash may take the
    last second or two; `maxmemory-policy` must be `noeviction`, or the server drops histories when it is full. Each
    append is one atomic script, one round trip for any number of them.
    """

    def __init__(self, url: str, max_history: int | None = None, prefix: str = "recblr") -> None:
        """Connect.

        Args:
            url: redis://, rediss:// or unix://, as redis-py takes it, or the same with valkey.
            max_history: how many of a user's latest items to keep; None for all.
            prefix: of all keys; stores with different ones do not see each other.

        Raises:
            ConfigError: `max_history` below 1, or no such URL.
            StoreError: the server does not answer.
        """
        self.max_history = check_max_history(max_history)
        self._prefix = prefix
        self._fork_guard = ForkGuard("store")
        self._closed = False
        try:
            # No retries by the client: it cannot know whether an append whose answer was lost was stored.
            self._client = redis.Redis.from_url(
                url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigError(f"store {url!r}: {short_reason(error)}; give redis://HOST:PORT/DB") from error
        settings = self._client.connection_pool.connection_kwargs  # not the URL, which may hold a password
        self._address = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
        try:
            self._client.ping()
        except redis.RedisError as error:
            raise self._store_error(error, "nothing was opened") from error

    def append(self, appends: Sequence[Append]) -> list[bool]:
        """Store events in one round trip; an error leaves open which of them were stored."""
        pipeline = self._pipeline()
        for append in appends:
            items = cut(append.items, self.max_history)
            event_id = "" if append.event_id is None else id_text(append.event_id)
            arguments = (new_stamp(), len(items), event_id, items_text(items), self.max_history or 0)
            pipeline.eval(_APPEND, 2, *self._keys(append.user), *arguments)
        consequence = "whether it was stored is not known; repeat it with its event_id"
        return [bool(new) for new in self._execute(pipeline, consequence)]

    def read(self, users: Sequence[UserId], since: Sequence[int]) -> list[list[Event]]:
        """Read the users' events in one round trip."""
        pipeline = self._pipeline()
        for user, first in zip(users, since, strict=True):
            log, _ = self._keys(user)
            if first <= 1:
                pipeline.lrange(log, 0, -1)
            else:
                pipeline.eval(_READ, 1, log, first)
        return [[_event(entry) for entry in log] for log in self._execute(pipeline, "nothing was read")]

    def forget(self, user: UserId) -> bool:
        """Remove all of a user; the server's append-only file keeps its trace until it is next rewritten."""
        pipeline = self._pipeline()
        pipeline.delete(*self._keys(user))
        (deleted,) = self._execute(pipeline, "whether it was forgotten is not known; repeat it")
        return bool(deleted)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._client.close()

    def _keys(self, user: UserId) -> tuple[str, str]:
        """The keys of a user's events and of their ids; braces keep both on one node of a cluster."""
        key = f"{self._prefix}:{{{id_text(user)}}}"
        return f"{key}:events", f"{key}:event_ids"

    def _pipeline(self) -> Any:
        self._fork_guard.check()
        if self._closed:
            raise StoreError(f"the store at {self._address} is closed: open it again")
        return self._client.pipeline(transaction=False)

    def _execute(self, pipeline: Any, consequence: str) -> list[Any]:
        try:
            results: list[Any] = pipeline.execute()
        except (redis.RedisError, OSError) as error:
            raise self._store_error(error, consequence) from error
        return results

    def _store_error(self, error: Exception, consequence: str) -> StoreError:
        advice = "check the server"
        if "OOM " in str(error) or isinstance(error, redis.exceptions.OutOfMemoryError):  # servers differ in scripts
            advice = "raise its maxmemory"
        return StoreError(f"the store at {self._address}: {short_reason(error)}; {consequence}; {advice}")


def _event(entry: bytes) -> Event:
    seq, _, stamp, length, rest = entry.split(b" ", 4)
    return Event(int(seq), int(stamp), items_from_text(rest[int(length) + 1 :].decode()))
