--[[
queue/settle: make sure that this Redis gives no place number that was given before.

Why a script: "whose turn is it, and is the counter behind?" and "jump ahead" are one step. Two
servers that settle at once must not both jump, and no arrival may come in between.

A turn is the time in which one process takes writes: its replication id, which Redis makes anew when
a process starts and whenever one is promoted. Between two turns the last writes may be lost.

Redis neither persists nor replicates its scripts, so a process that restarted, or was promoted by a
failover, refuses everybody's first call. The answer to that refusal is this script, run by its
source, before anything is loaded: the only script that is sent with EVAL. A process that is promoted
for the second time still has its scripts: queue/enter and queue/promote look at the turn themselves.

KEYS
  [1] seq      int     last place given
  [2] run      string  the turn that this line was settled in
  [3] dead     zset    place or <from>-<to> -> ordinal of its death
  [4] waiting  zset    <place> or <place>:<user> -> place
  [5] epoch    string  id of the last rebuild from PostgreSQL
  [6] skipped  zset    <from>-<to>, numbers that were never given -> to; the newest 200
  [7] draw     hash    of a lottery: see queue/draw

ARGV
  [1] floor    integer >= 0, the highest place that the caller gave, saw or verified
  [2..]        field, value: the draw as the caller remembers it, its id first; nothing if it knows none

Returns
  {"settled", run, changed, epoch, seq}  run: this turn; changed: 1 if the line was settled now;
                                         epoch: "" if there is none; seq: last place given

What Redis lost of a draw is written back, unless there is another draw by now.

A repeat is safe: a line that is settled in this turn, with seq >= floor, is left alone.
Cost: O(log n).
]]
local seq_key, run_key, dead_key, waiting_key, epoch_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local skipped_key, draw_key = KEYS[6], KEYS[7]
local floor = tonumber(ARGV[1])
local FIRST_FIELD, SKIPPED_MAX = 2, 200
-- Room for what a lost second may have given: no line gives a million numbers in it.
local JUMP = 1048576
-- 2025-01-01T00:00:00Z in seconds: the first place of a new line is the microseconds since then.
local ERA_S = 1735689600

-- Lua writes large numbers as 1e+14 by itself.
local function digits(number)
  return string.format('%d', number)
end

local drawn = redis.call('HGET', draw_key, 'id')
if #ARGV > FIRST_FIELD and (not drawn or drawn == ARGV[FIRST_FIELD + 1]) then
  for i = FIRST_FIELD, #ARGV, 2 do
    redis.call('HSETNX', draw_key, ARGV[i], ARGV[i + 1])
  end
end

local run = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local epoch = redis.call('GET', epoch_key) or ''
local seq = tonumber(redis.call('GET', seq_key) or nil)
if seq and seq >= floor and redis.call('GET', run_key) == run then
  return { 'settled', run, 0, epoch, digits(seq) }
end

local time = redis.call('TIME')
local now_us = (tonumber(time[1]) - ERA_S) * 1000000 + tonumber(time[2])
local last = seq or tonumber(redis.call('ZREVRANGE', waiting_key, 0, 0, 'WITHSCORES')[2] or 0)
local fresh = now_us
if last > 0 then
  fresh = math.max(fresh, last + JUMP)
end
if floor > 0 then
  fresh = math.max(fresh, floor + JUMP)
end
local ordinal = tonumber(redis.call('ZREVRANGE', dead_key, 0, 0, 'WITHSCORES')[2] or 0) + 1

redis.call('SET', seq_key, digits(fresh))
redis.call('SET', run_key, run)
if last > 0 then
  local range = digits(last + 1) .. '-' .. digits(fresh)
  redis.call('ZADD', dead_key, digits(ordinal), range)
  redis.call('ZADD', skipped_key, digits(fresh), range)
  redis.call('ZREMRANGEBYRANK', skipped_key, 0, -SKIPPED_MAX - 1)
end
return { 'settled', run, 1, epoch, digits(fresh) }
