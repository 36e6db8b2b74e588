"""What the Lua scripts of the queue `redis:` share: its keys, and the functions in front of each.

The keys of a queue, each behind the same hash tag, so that one node of a cluster has them all:

    {maniple:NAME}             hash: format; last number; number delivered last; how many there are,
                               how many are done; size of the largest param
    ...:tasks                  stream: every task once, its number is the entry's id; the consumer
                               group `minions` delivers what is new, and knows who holds what
    ...:back                   sorted set: numbers that came back, to be delivered before new ones
    ...:leased, ...:delayed    sorted sets: numbers by the time at which that ends
    ...:held                   hash: number to the token of its latest lease, until it is settled
    ...:tries                  hash: number to "attempt lapses since"; absent while both are fresh
    ...:failed                 hash: number to why
    ...:done                   bits: a task is a bit
    ...:ids:N                  hashes: id to number; N is the id's first 14 bits, which keeps each
                               small enough to be stored without pointers
    ...:bell                   list: has an item when somebody who waits should look
    ...:on:MACHINE             hash: queue objects on a machine, each with its last call's answer

Scripts derive the names of these keys from the one that they are given: they share a slot. While a
cluster moves that slot to another node, key by key, no script may begin. So each names a second key
that never exists: a server refuses to begin when it lacks a key of a slot that is on the move.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

FORMAT: Final = "1"
ABSENT: Final = ":absent"


class Script(msgspec.Struct, frozen=True):
    """A Lua script and its SHA-1 digest, by which the server knows it."""

    text: str
    sha: str


_COMMON = """
local call = redis.call
local K = KEYS[1]
local TASKS, BACK, LEASED, DELAYED = K .. ':tasks', K .. ':back', K .. ':leased', K .. ':delayed'
local HELD, TRIES, FAILED, DONE = K .. ':held', K .. ':tries', K .. ':failed', K .. ':done'
local G = 'minions'
local ME, RID, MOST, LOST = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5]

local now = tonumber(ARGV[3])
if not now then
  local t = call('TIME')
  now = t[1] + t[2] / 1000000
end

-- a number would be written anew for each command that it is given to
local function moment(at) return string.format('%.6f', at) end

local function machine(name) return K .. ':on:' .. string.match(name, '^[^-]*-[^-]*') end

local meta = call('HMGET', K, 'format', 'last', 'delivered', 'largest')
local last, delivered, largest = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])

-- a call whose answer was lost is made again with the same RID: it must not happen twice
local function told()
  local text = call('HGET', machine(ME), ME)
  if text and string.sub(text, 1, #RID + 1) == RID .. ' ' then return string.sub(text, #RID + 2) end
end

local function tell(text)
  call('HSET', machine(ME), ME, RID .. ' ' .. text)
  call('EXPIRE', machine(ME), 172800)
  return text
end

local function numbers_of(text)
  local found = {}
  for n in string.gmatch(text, '[^,]+') do found[#found + 1] = n end
  return found
end

local function ids_of(numbers)
  local found = {}
  for i = 1, #numbers do found[i] = numbers[i] .. '-0' end
  return found
end

local function number_of(entry) return string.sub(entry[1], 1, -3) end

local function bucket(id)
  local a, b = string.byte(id, 1, 2)
  return K .. ':ids:' .. (a * 64 + math.floor(b / 4))
end

-- one is called at a time; who finds that there is more rings for the next
local function ring()
  if call('LLEN', K .. ':bell') == 0 then call('RPUSH', K .. ':bell', '1') end
end

-- no reply may become so large that nobody can hold it
local function room(limit)
  if largest > 0 then limit = math.min(limit, math.max(1, math.floor(MOST / largest))) end
  return limit
end

local function tried(text)
  if not text then return 1, 0, nil end
  local attempt, lapses, since = string.match(text, '(%d+) (%d+) (%S+)')
  return tonumber(attempt), tonumber(lapses), tonumber(since)
end

local function trial(attempt, lapses, since)
  return string.format('%d %d %.3f', attempt, lapses, since)
end

local function come_back(numbers)
  local args = {}
  for i = 1, #numbers do
    args[2 * i - 1] = numbers[i]
    args[2 * i] = numbers[i]
  end
  call('ZADD', BACK, unpack(args))
  ring()
end

-- the group goes on to say who had them, until somebody claims them
local function lapse(numbers)
  call('ZREM', LEASED, unpack(numbers))
  local tries = call('HMGET', TRIES, unpack(numbers))
  local back, notes, lost = {}, {}, {}
  for i, n in ipairs(numbers) do
    local attempt, lapses = tried(tries[i])
    lapses = lapses + 1
    notes[#notes + 1] = n
    notes[#notes + 1] = trial(attempt, lapses, now)
    if lapses > tonumber(ARGV[6]) then lost[#lost + 1] = n else back[#back + 1] = n end
  end
  call('HSET', TRIES, unpack(notes))
  if #back > 0 then come_back(back) end
  if #lost > 0 then
    for _, n in ipairs(lost) do call('HSET', FAILED, n, LOST) end
    call('XACK', TASKS, G, unpack(ids_of(lost)))
  end
end

local function tidy()
  local due = call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, 2000)
  if #due > 0 then
    call('ZREM', DELAYED, unpack(due))
    come_back(due)
  end
  local over = call('ZRANGEBYSCORE', LEASED, '-inf', now, 'LIMIT', 0, 2000)
  if #over > 0 then lapse(over) end
end

local function soonest()
  local first
  for _, key in ipairs({DELAYED, LEASED}) do
    local head = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if head[2] and (not first or tonumber(head[2]) < first) then first = tonumber(head[2]) end
  end
  return first and moment(math.max(0, first - now)) or ''
end

-- ids and params of entries as few long texts: a client reads those much faster
local function packed(entries)
  local numbers, ids, sizes, params = {}, {}, {}, {}
  for i, entry in ipairs(entries) do
    local fields = entry[2]
    numbers[i] = number_of(entry)
    ids[i], params[i] = fields[2], fields[6]
    sizes[i] = #fields[6]
  end
  return {table.concat(numbers, ','), table.concat(ids), table.concat(sizes, ','),
          table.concat(params)}, numbers
end

-- W(aiting), D(elayed), L(eased), F(ailed) or N (done), with attempts and failures
local function states_of(numbers)
  local failed = call('HMGET', FAILED, unpack(numbers))
  local leased = call('ZMSCORE', LEASED, unpack(numbers))
  local delayed = call('ZMSCORE', DELAYED, unpack(numbers))
  local tries = call('HMGET', TRIES, unpack(numbers))
  local states, attempts = {}, {}
  for i, n in ipairs(numbers) do
    attempts[i] = tried(tries[i])
    if failed[i] then states[i] = 'F'
    elseif leased[i] then states[i] = 'L'
    elseif delayed[i] then states[i] = 'D'
    elseif call('GETBIT', DONE, n) == 1 then states[i] = 'N'
    else states[i] = 'W' end
  end
  return states, attempts, failed
end

local function described(entries, wanted)
  local numbers, chosen, states, attempts, sizes, failures = {}, {}, {}, {}, {}, {}
  for i, entry in ipairs(entries) do numbers[i] = number_of(entry) end
  if #numbers > 0 then
    local all, tries, failed = states_of(numbers)
    for i, entry in ipairs(entries) do
      if wanted == '' or wanted == all[i] then
        chosen[#chosen + 1] = entry
        states[#states + 1] = all[i]
        attempts[#attempts + 1] = tries[i]
        local failure = failed[i] or ''
        sizes[#sizes + 1] = #failure
        failures[#failures + 1] = failure
      end
    end
  end
  local reply = packed(chosen)
  reply[5] = table.concat(states)
  reply[6] = table.concat(attempts, ',')
  reply[7] = table.concat(sizes, ',')
  reply[8] = table.concat(failures)
  return reply
end

-- which leases are ours: their tokens are those of the latest leases of their tasks
local function ours(numbers, tokens)
  local held = call('HMGET', HELD, unpack(numbers))
  local mine, lost, place = {}, {}, {}
  for i, n in ipairs(numbers) do
    if held[i] and held[i] == (tokens[i] or tokens[1]) and not place[n] then
      mine[#mine + 1] = n
      place[n] = i
    else
      lost[#lost + 1] = i
    end
  end
  return mine, lost, place
end

local function without_failed(numbers)
  local kept = {}
  if #numbers > 0 then
    local failed = call('HMGET', FAILED, unpack(numbers))
    for i, n in ipairs(numbers) do
      if not failed[i] then kept[#kept + 1] = n end
    end
  end
  return kept
end
"""

_GONE = "if not meta[1] then return redis.error_reply('GONE it was deleted') end\n"


def script(body: str, *, missing: bool = False) -> Script:
    """Put a script together; one that may run on a `missing` queue finds `meta[1]` to be false.

    ARGV of each: 1 the queue object, 2 what names this call, 3 now ('' for the server's time), 4
    most bytes of a reply, 5 why a task failed that was lost, 6 most lapses of one that is not;
    from 7 on, what the text beside the script says.
    """
    text = _COMMON + ("" if missing else _GONE) + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
