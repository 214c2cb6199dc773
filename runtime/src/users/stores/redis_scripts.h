// What the server does at once for a RedisStore, in Lua.
#pragma once

namespace recblr {

// A user has a list of events and a set of their ids. An event is
//     SEQ TOTAL STAMP LENGTH EVENT_ID ITEMS
// with TOTAL the user's items up to and with it, and LENGTH that of EVENT_ID in bytes, 0 for none.

// KEYS: events, ids. ARGV: stamp, number of items, event id, items, max_history or 0. Returns {SEQ, the STAMP before},
// or 0 where the id was known. Nothing is written where a key holds something else.
constexpr char kAppendScript[] = R"(
local log, ids = KEYS[1], KEYS[2]
local stamp, n_items, event_id, items, max_history = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local seq, total, stamp_before = 0, 0, '0'
local last = redis.call('LINDEX', log, -1)
if last then
  local a, b, c = string.match(last, '^(%d+) (%d+) (%d+) ')
  if not a then
    return redis.error_reply('NOHISTORY the key holds something else')
  end
  seq, total, stamp_before = tonumber(a), tonumber(b), c
end
if event_id ~= '' and redis.call('SADD', ids, event_id) == 0 then
  return 0
end
seq, total = seq + 1, total + n_items
-- Lua's %s would end at a NUL.
local event = table.concat({string.format('%.0f %.0f', seq, total), stamp, #event_id, event_id, items}, ' ')
redis.call('RPUSH', log, event)
while max_history > 0 do
  local first = redis.call('LINDEX', log, 0)
  local first_total, length, rest = string.match(first, '^%d+ (%d+) %d+ (%d+) (.*)$')
  if not first_total or tonumber(first_total) > total - max_history then
    break
  end
  redis.call('LPOP', log)
  if length ~= '0' then
    redis.call('SREM', ids, string.sub(rest, 1, tonumber(length)))
  end
end
return {seq, stamp_before}
)";

// KEYS: events. ARGV: SEQ and STAMP of a place, -1 for any. Returns {1, the events after it}, or {0, all events} where
// that event is not kept any more.
constexpr char kReadScript[] = R"(
local log, seq, stamp = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local last = redis.call('LINDEX', log, -1)
if not last then
  return {0, {}}
end
local last_seq, last_stamp = string.match(last, '^(%d+) %d+ (%d+) ')
if last_seq == ARGV[1] and last_stamp == stamp then
  return {1, {}}
end
local first = string.match(redis.call('LINDEX', log, 0), '^(%d+) ')
if not first then
  return redis.error_reply('NOHISTORY the key holds something else')
end
local place = seq - tonumber(first)
if stamp == '-1' then
  return {1, redis.call('LRANGE', log, math.max(place + 1, 0), -1)}
end
if place >= 0 then
  local event = redis.call('LINDEX', log, place)
  if event and string.match(event, '^%d+ %d+ (%d+) ') == stamp then
    return {1, redis.call('LRANGE', log, place + 1, -1)}
  end
end
return {0, redis.call('LRANGE', log, 0, -1)}
)";

}  // namespace recblr
