#!lua flags=no-writes
--[[
queue/board: what a server needs to answer polls of a concert's line without asking again.

Why a script: head, length, dead numbers and generation must be of one moment, or positions would
contradict each other. It writes nothing, so it also runs when Redis is out of memory.

KEYS
  [1] run       string  the turn that this line was settled in: see queue/settle
  [2] epoch     string  id of the last rebuild from PostgreSQL
  [3] seq       int     last place given
  [4] waiting   zset    <place> or <place>:<user> -> place
  [5] dead      zset    place or <from>-<to> -> ordinal of its death
  [6] active    zset    place -> expiry in ms
  [7] settings  hash    live knobs
  [8] stats     hash    counters
  [9] draw      hash    of a lottery: see queue/draw
  [10..] sold, held  for each date: bitmap, seats sold; zset, seat -> deadline in ms, NEVER of a
                     withheld seat

ARGV
  [1] after     integer >= 0, the ordinal up to which the caller knows the dead numbers
  [2] limit     integer 1..1000, the most dead numbers of this answer

Returns
  {"board", now_ms, run, epoch, seq, head, waiting, active, promoted, capacity, batch, paused,
   message, opens_at, closes_at, sold, held, withheld, {field, value, ...}, {ordinal, dead, ...}}
     run, epoch, seq, head, capacity ... closes_at: "" if there is none
     held: seats that people hold at now_ms; field, value: the draw, none if there is no lottery
     head: the lowest waiting place; dead: ascending by ordinal; fewer than limit: there are no more

A repeat is safe: it only reads.
Cost: O(log n + dead numbers answered + size of the bitmaps).
]]
local run, epoch, seq, waiting, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local active, settings, stats, draw = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local after, limit = ARGV[1], ARGV[2]
local FIRST_DATE, NEVER = 10, '253402300799999'

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local after_now = '(' .. string.format('%d', now_ms)
local sold_seats, held_seats, withheld_seats = 0, 0, 0
for i = FIRST_DATE, #KEYS, 2 do
  sold_seats = sold_seats + redis.call('BITCOUNT', KEYS[i])
  held_seats = held_seats + redis.call('ZCOUNT', KEYS[i + 1], after_now, '(' .. NEVER)
  withheld_seats = withheld_seats + redis.call('ZCOUNT', KEYS[i + 1], NEVER, '+inf')
end
local died = redis.call('ZRANGEBYSCORE', dead, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local entries = {}
for i = 1, #died, 2 do
  entries[i], entries[i + 1] = died[i + 1], died[i]
end
local knobs = redis.call('HMGET', settings, 'capacity', 'batch', 'paused', 'message', 'opens_at', 'closes_at')

return {
  'board',
  now_ms,
  redis.call('GET', run) or '',
  redis.call('GET', epoch) or '',
  redis.call('GET', seq) or '',
  redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or '',
  redis.call('ZCARD', waiting),
  redis.call('ZCOUNT', active, after_now, '+inf'),
  redis.call('HGET', stats, 'promoted') or '0',
  knobs[1] or '',
  knobs[2] or '',
  knobs[3] or '',
  knobs[4] or '',
  knobs[5] or '',
  knobs[6] or '',
  sold_seats,
  held_seats,
  withheld_seats,
  redis.call('HGETALL', draw),
  entries,
}
