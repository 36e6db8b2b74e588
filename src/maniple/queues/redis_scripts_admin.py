"""What people look at and mend on the server of the queue `redis:`, each in one step."""

from __future__ import annotations

from typing import Final

from maniple.queues.redis_lua import script

STATS: Final = script("""
tidy()
local counts = call('HMGET', K, 'total', 'done')
local since
local head = call('ZRANGE', BACK, 0, 0)[1]
local new
if last > delivered then
  new = call('XRANGE', TASKS, delivered + 1, '+', 'COUNT', 1)[1]
end
if head and not (new and tonumber(number_of(new)) < tonumber(head)) then
  local _, _, at = tried(call('HGET', TRIES, head))
  since = at
elseif new then
  since = tonumber(new[2][4]) / 1000
end
return {tonumber(counts[1]), call('ZCARD', LEASED), call('ZCARD', DELAYED), tonumber(counts[2]),
        call('HLEN', FAILED), since and string.format('%.3f', math.max(0, now - since)) or ''}
""")
"""Count: all, leased, delayed, done, failed; and for how long the first waiting one has waited."""

WALK: Final = script("""
tidy()
local count = room(1000)
local entries = call('XRANGE', TASKS, ARGV[7], '+', 'COUNT', count)
local reply = described(entries, ARGV[8])
reply[9] = #entries == count and tonumber(number_of(entries[#entries])) + 1 or 0
return reply
""")
"""Describe tasks in their order. 7: from which number, 8: the state's letter, or '' for all."""

LOOK: Final = script("""
tidy()
local numbers, entries, size, read = numbers_of(ARGV[7]), {}, 0, 0
for _, n in ipairs(numbers) do
  local entry = call('XRANGE', TASKS, n .. '-0', n .. '-0')[1]
  read = read + 1
  if entry then
    entries[#entries + 1] = entry
    size = size + #entry[2][6]
    if size > MOST then break end
  end
end
local reply = described(entries, ARGV[8])
reply[9] = read
return reply
""")
"""Describe tasks. 7: their numbers, 8: the state's letter, or ''. The last item: how many of them
were looked at."""

LIST: Final = script("""
tidy()
if ARGV[7] == 'F' then return call('HKEYS', FAILED) end
return call('ZRANGE', ARGV[7] == 'L' and LEASED or DELAYED, 0, -1)
""")
"""List the numbers of failed, leased or delayed tasks. 7: the state's letter."""

FIND: Final = script("""
local prefix = ARGV[7]
local found
for b = tonumber(ARGV[8]), tonumber(ARGV[9]) do
  local ids = call('HGETALL', K .. ':ids:' .. b)
  for i = 1, #ids, 2 do
    local hex = string.gsub(ids[i], '.', function(c) return string.format('%02x', c:byte()) end)
    if string.sub(hex, 1, #prefix) == prefix then
      if found then return '' end
      found = ids[i + 1]
    end
  end
end
return found or ''
""")
"""Find the number of the one task whose id has these first digits. 7: those, 8 and 9: in which
hashes of ids."""

RETRY: Final = script("""
local answer = told()
if answer then return answer end
local numbers = {}
if ARGV[7] == 'ids' then
  for i = 8, #ARGV do
    local n = call('HGET', bucket(ARGV[i]), ARGV[i])
    if n then numbers[#numbers + 1] = n end
  end
else
  numbers = numbers_of(ARGV[8])
end
local again = {}
for _, n in ipairs(numbers) do
  if call('HDEL', FAILED, n) == 1 then
    again[#again + 1] = n
    call('HDEL', HELD, n)
    call('HSET', TRIES, n, trial(1, 0, now))
  end
end
if #again > 0 then come_back(again) end
return tell(tostring(#again))
""")
"""Make failed tasks new. 7: ids or numbers; from 8 what was said. Return how many."""

PURGE: Final = script("""
local answer = told()
if answer then return answer end
tidy()
local count = room(1000)
local entries = call('XRANGE', TASKS, ARGV[7], '+', 'COUNT', count)
local numbers, gone, done = {}, {}, 0
for i, entry in ipairs(entries) do numbers[i] = number_of(entry) end
if #numbers > 0 then
  local states = states_of(numbers)
  for i, entry in ipairs(entries) do
    if states[i] ~= 'L' and (ARGV[8] == '' or ARGV[8] == states[i]) then
      gone[#gone + 1] = numbers[i]
      call('HDEL', bucket(entry[2][2]), entry[2][2])
      if states[i] == 'N' then
        done = done + 1
        call('SETBIT', DONE, numbers[i], 0)
      end
    end
  end
end
if #gone > 0 then
  for _, key in ipairs({HELD, TRIES, FAILED}) do call('HDEL', key, unpack(gone)) end
  for _, key in ipairs({BACK, DELAYED}) do call('ZREM', key, unpack(gone)) end
  call('XACK', TASKS, G, unpack(ids_of(gone)))
  call('XDEL', TASKS, unpack(ids_of(gone)))
  call('HINCRBY', K, 'total', -#gone)
  if done > 0 then call('HINCRBY', K, 'done', -done) end
end
local following = #entries == count and tonumber(numbers[#numbers]) + 1 or 0
return tell(following .. ',' .. #gone)
""")
"""Forget tasks, some at a call. 7: from which number, 8: the state's letter, or ''. Return where to
go on (0 at the end) and how many were forgotten."""
