#!lua flags=no-writes
--[[
seats/list: what is not free on one date.

Why a script: version, sold, held and the clock must belong to the same moment.

KEYS
  [1] version:<date>   string
  [2] sold:<date>      bitmap  bit = seat number
  [3] held:<date>      zset    seat -> deadline ms

ARGV: none

Returns
  {"list", now_ms, version, sold, next_deadline_ms, {seat, ...}}
    version            "" if nothing was ever held or sold
    sold               the bitmap's bytes, "" if nothing is sold
    next_deadline_ms   of the held seats, "" if none is held
    seats              those held at now_ms

A repeat reads again; nothing is written. Cost: O(bitmap + seats held).
]]
local version, sold, held = KEYS[1], KEYS[2], KEYS[3]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local seats = redis.call('ZRANGEBYSCORE', held, '(' .. now_ms, '+inf')
local next_deadline_ms = seats[1] and redis.call('ZSCORE', held, seats[1]) or ''
return {
  'list',
  now_ms,
  redis.call('GET', version) or '',
  redis.call('GET', sold) or '',
  next_deadline_ms,
  seats,
}
