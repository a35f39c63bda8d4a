#!lua flags=no-writes
--[[
seats/dates: how many seats are not free, for every date of a concert.

Why a script: all dates must be seen at one moment of Redis' clock.

KEYS
  [1..] sold:<date>, held:<date>   bitmap and zset of every date, in pairs, at most 40 pairs

ARGV: none

Returns
  {"dates", now_ms, unfree, ...}   sold or held seats, one number per date in the order of KEYS

A repeat reads again; nothing is written. Cost: O(size of the bitmaps + dates × log holds).
]]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local answer = { 'dates', now_ms }
for i = 1, #KEYS, 2 do
  answer[#answer + 1] = redis.call('BITCOUNT', KEYS[i])
    + redis.call('ZCOUNT', KEYS[i + 1], '(' .. now_ms, '+inf')
end
return answer
