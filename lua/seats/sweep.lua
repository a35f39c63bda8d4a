--[[
seats/sweep: tidies up holds of one date that are past their deadline, and counts them.

Nobody needs it: such a hold is nobody's the moment its deadline passes. It keeps the keys small.
Why a script: a lapsed seat may be held anew at any moment.

KEYS
  [1] held:<date>      zset    seat -> deadline ms
  [2] hold:<date>      hash    seat -> record, again:<seat> -> reservation
  [3] version:<date>   string
  [4] stats            hash    counters

ARGV
  [1] version          random id, new for every call
  [2] seats_max        the most holds to drop, 1 to 200

Returns
  {"swept", seats}     how many were dropped; seats_max means that there may be more

Not touched: holds:<user>, whose readers check every entry against hold:<date>; it has a TTL.
The version is set although nothing becomes free here: a server that cached the list while the
clock was ahead or behind is corrected by it.
A repeat finds nothing. Cost: O(seats_max).
]]
local held, hold, version, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local version_id, seats_max = ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local seats = redis.call('ZRANGEBYSCORE', held, '-inf', now_ms, 'LIMIT', 0, seats_max)
for _, seat in ipairs(seats) do
  redis.call('ZREM', held, seat)
  redis.call('HDEL', hold, seat, 'again:' .. seat)
end
if #seats > 0 then
  redis.call('SET', version, version_id)
  redis.call('HINCRBY', stats, 'lapsed', #seats)
end
return { 'swept', #seats }
