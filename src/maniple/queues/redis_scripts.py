"""What minions do on the server of the queue `redis:`, each in one step."""

from __future__ import annotations

from typing import Final

from maniple.queues.redis_lua import script

OPEN: Final = script(
    """
if meta[1] then
  -- consumers that went without saying so, a day ago, with nothing in hand
  for _, flat in ipairs(call('XINFO', 'CONSUMERS', TASKS, G)) do
    local of = {}
    for i = 1, #flat, 2 do of[flat[i]] = flat[i + 1] end
    if of.pending == 0 and of.idle > 86400000 then
      call('XGROUP', 'DELCONSUMER', TASKS, G, of.name)
    end
  end
  return meta[1]
end
if ARGV[7] == '' then return '' end
call('XGROUP', 'CREATE', TASKS, G, '0', 'MKSTREAM')
call('HSET', K, 'format', ARGV[7], 'last', 0, 'delivered', 0, 'total', 0, 'done', 0, 'largest', 0)
return ARGV[7]
""",
    missing=True,
)
"""Make sure that the queue exists. 7: the format, to make it; '' to only look."""

PUT: Final = script("""
local answer = told()
if answer then return answer end
local first, since = last, string.format('%d', now * 1000)
for i = 7, #ARGV, 2 do
  local id, param = ARGV[i], ARGV[i + 1]
  if call('HSETNX', bucket(id), id, last + 1) == 1 then
    last = last + 1
    call('XADD', TASKS, last .. '-0', 'i', id, 't', since, 'd', param)
    if #param > largest then largest = #param end
  end
end
if last > first then
  call('HSET', K, 'last', last, 'largest', largest)
  call('HINCRBY', K, 'total', last - first)
  ring()
end
return tell(tostring(last - first))
""")
"""Add tasks. From 7: ids and params in turn. Return how many were new."""

LEASE: Final = script("""
local limit, ttl = room(tonumber(ARGV[7])), tonumber(ARGV[8])
tidy()
local entries, tries = {}, {}
if told() then
  local numbers, from = {}, '-'
  repeat
    local page = call('XPENDING', TASKS, G, from, '+', 1000, ME)
    for _, item in ipairs(page) do numbers[#numbers + 1] = number_of(item) end
    if #page > 0 then from = '(' .. page[#page][1] end
  until #page < 1000
  for _, n in ipairs(numbers) do
    if call('HGET', HELD, n) == RID and call('ZSCORE', LEASED, n) then
      entries[#entries + 1] = call('XRANGE', TASKS, n .. '-0', n .. '-0')[1]
      tries[#entries] = call('HGET', TRIES, n)
    end
  end
elseif limit > 0 then
  local back = call('ZRANGE', BACK, 0, limit - 1)
  if #back > 0 then
    local args = ids_of(back)
    args[#args + 1] = 'FORCE'
    call('ZREM', BACK, unpack(back))
    for _, entry in ipairs(call('XCLAIM', TASKS, G, ME, 0, unpack(args))) do
      if entry then entries[#entries + 1] = entry end
    end
    for i, entry in ipairs(entries) do tries[i] = call('HGET', TRIES, number_of(entry)) end
  end
  if #entries < limit and last > delivered then
    local new = call('XREADGROUP', 'GROUP', G, ME, 'COUNT', limit - #entries, 'STREAMS', TASKS, '>')
    if new then
      for _, entry in ipairs(new[1][2]) do entries[#entries + 1] = entry end
      delivered = tonumber(number_of(entries[#entries]))
    else
      delivered = last
    end
    call('HSET', K, 'delivered', delivered)
  end
end
if #entries == 0 then
  local living = {}
  if ARGV[9] == '1' then living = call('HKEYS', machine(ME)) end
  return {'', soonest(), living}
end
local reply, numbers = packed(entries)
local held, ends, over = {}, {}, moment(now + ttl)
for i, n in ipairs(numbers) do
  held[2 * i - 1], held[2 * i] = n, RID
  ends[2 * i - 1], ends[2 * i] = over, n
end
call('HSET', HELD, unpack(held))
call('ZADD', LEASED, unpack(ends))
tell('')
if last > delivered or call('EXISTS', BACK) == 1 then ring() end
reply[5] = ''
if next(tries) then
  local attempts = {}
  for i = 1, #numbers do attempts[i] = tried(tries[i]) end
  reply[5] = table.concat(attempts, ',')
end
return reply
""")
"""Take tasks. 7: how many at most, 8: for how long, 9: 1 to be told who else is on this machine."""

ACK: Final = script("""
local answer = told()
if answer then return answer end
local mine, lost = ours(numbers_of(ARGV[7]), numbers_of(ARGV[8]))
if #mine > 0 then
  local bits = {}
  for i, n in ipairs(mine) do
    bits[4 * i - 3], bits[4 * i - 2], bits[4 * i - 1], bits[4 * i] = 'SET', 'u1', n, 1
  end
  call('BITFIELD', DONE, unpack(bits))
  call('HDEL', HELD, unpack(mine))
  call('HDEL', TRIES, unpack(mine))
  if call('ZREM', LEASED, unpack(mine)) < #mine then
    call('ZREM', BACK, unpack(mine))
    call('HDEL', FAILED, unpack(mine))
  end
  call('XACK', TASKS, G, unpack(ids_of(mine)))
  call('HINCRBY', K, 'done', #mine)
end
return tell(table.concat(lost, ','))
""")
"""Settle leases as done. 7: numbers, 8: tokens, or the one of all. Return the lost ones' places."""

EXTEND: Final = script("""
tidy()
local numbers, tokens = numbers_of(ARGV[7]), numbers_of(ARGV[8])
local mine = without_failed((ours(numbers, tokens)))
local kept, ends, over = {}, {}, moment(now + tonumber(ARGV[9]))
for i, n in ipairs(mine) do
  kept[n] = true
  ends[2 * i - 1], ends[2 * i] = over, n
end
if #mine > 0 then
  if call('ZADD', LEASED, unpack(ends)) > 0 then call('ZREM', BACK, unpack(mine)) end
  call('EXPIRE', machine(ME), 172800)
end
local lost = {}
for i, n in ipairs(numbers) do
  if not kept[n] then lost[#lost + 1] = i end
end
return table.concat(lost, ',')
""")
"""Renew leases. 7: numbers, 8: tokens, 9: for how long. Return the lost ones' places."""

NACK: Final = script("""
tidy()
local mine = without_failed((ours(numbers_of(ARGV[7]), numbers_of(ARGV[8]))))
if #mine == 0 then return '' end
local delay, tries, notes = tonumber(ARGV[9]), call('HMGET', TRIES, unpack(mine)), {}
for i, n in ipairs(mine) do
  local attempt, lapses = tried(tries[i])
  notes[2 * i - 1] = n
  notes[2 * i] = trial(attempt + tonumber(ARGV[10]), lapses, now + delay)
end
call('HSET', TRIES, unpack(notes))
call('HDEL', HELD, unpack(mine))
if call('ZREM', LEASED, unpack(mine)) < #mine then call('ZREM', BACK, unpack(mine)) end
call('XACK', TASKS, G, unpack(ids_of(mine)))
if delay > 0 then
  local ends, over = {}, moment(now + delay)
  for i, n in ipairs(mine) do ends[2 * i - 1], ends[2 * i] = over, n end
  call('ZADD', DELAYED, unpack(ends))
else
  come_back(mine)
end
return ''
""")
"""Give tasks back. 7: numbers, 8: tokens, 9: delay, 10: 1 if that was an attempt, or 0."""

FAIL: Final = script("""
local mine, _, place = ours(numbers_of(ARGV[7]), numbers_of(ARGV[8]))
if #mine == 0 then return '' end
for _, n in ipairs(mine) do call('HSET', FAILED, n, ARGV[8 + place[n]]) end
call('HDEL', HELD, unpack(mine))
if call('ZREM', LEASED, unpack(mine)) < #mine then call('ZREM', BACK, unpack(mine)) end
call('XACK', TASKS, G, unpack(ids_of(mine)))
return ''
""")
"""Set tasks aside. 7: numbers, 8: tokens, from 9: a failure each."""

BURY: Final = script("""
local dead, from, left = ARGV[7], '-', 0
repeat
  local page = call('XPENDING', TASKS, G, from, '+', 1000, dead)
  local numbers = {}
  for i, item in ipairs(page) do numbers[i] = number_of(item) end
  if #page > 0 then
    from = '(' .. page[#page][1]
    local leased, ended = call('ZMSCORE', LEASED, unpack(numbers)), {}
    for i, n in ipairs(numbers) do
      if leased[i] then ended[#ended + 1] = n end
    end
    if #ended > 0 then lapse(ended) end
  end
until #page < 1000
if #call('XPENDING', TASKS, G, '-', '+', 1, dead) == 0 then
  call('XGROUP', 'DELCONSUMER', TASKS, G, dead)
  call('HDEL', machine(dead), dead)
end
return ''
""")
"""Let a dead queue object's leases lapse; forget it when others have claimed them. 7: its name."""

LEAVE: Final = script("""
if #call('XPENDING', TASKS, G, '-', '+', 1, ME) == 0 then
  call('XGROUP', 'DELCONSUMER', TASKS, G, ME)
  call('HDEL', machine(ME), ME)
end
return ''
""")
"""Go, when nothing is in hand; otherwise others must see us die first."""
