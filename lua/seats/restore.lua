--[[
seats/restore: marks seats of one date sold because PostgreSQL says so, and drops holds on them.

Why a script: a sold seat must never be held, not even for a moment.

KEYS
  [1] rebuild          string  who is rebuilding, with a TTL
  [2] sold:<date>      bitmap  bit = seat number
  [3] held:<date>      zset    seat -> deadline ms
  [4] hold:<date>      hash    seat -> record, again:<seat> -> reservation
  [5] version:<date>   string
  [6] stats            hash    counters

ARGV
  [1] lock             the caller's id in rebuild; "" outside of a rebuild
  [2] lock_ms          > 0, how long the rebuild may now go without a sign of life; of no meaning
                       outside of one
  [3] version          random id, new for every call
  [4..] seats          at most 200; none is a sign of life alone

Returns
  {"restored", marked, dropped}   how many were not marked before, how many holds were dropped
  {"lost"}                        nothing changed: the rebuild is not the caller's any more

Bits found missing outside of a rebuild are counted as corrected. A hold dropped before its deadline
is counted as displaced, one after it as lapsed.
A call of a rebuild is its sign of life: a rebuild that goes on keeps its lock, however long it takes.
A repeat changes nothing but that. Cost: O(seats).
]]
local rebuild, sold, held, hold, version, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local lock, lock_ms, version_id = ARGV[1], ARGV[2], ARGV[3]
local FIRST_SEAT = 4

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if lock ~= '' then
  if redis.call('GET', rebuild) ~= lock then
    return { 'lost' }
  end
  redis.call('PEXPIRE', rebuild, lock_ms)
end

local marked, displaced, lapsed = 0, 0, 0
for i = FIRST_SEAT, #ARGV do
  local seat = ARGV[i]
  if redis.call('SETBIT', sold, seat, 1) == 0 then
    marked = marked + 1
  end
  local ends_ms = redis.call('ZSCORE', held, seat)
  if ends_ms then
    redis.call('ZREM', held, seat)
    redis.call('HDEL', hold, seat, 'again:' .. seat)
    if tonumber(ends_ms) > now_ms then
      displaced = displaced + 1
    else
      lapsed = lapsed + 1
    end
  end
end
if marked + displaced + lapsed > 0 then
  redis.call('SET', version, version_id)
end
local corrected = lock == '' and marked or 0
for counter, n in pairs({ corrected = corrected, displaced = displaced, lapsed = lapsed }) do
  if n > 0 then
    redis.call('HINCRBY', stats, counter, n)
  end
end
return { 'restored', marked, displaced + lapsed }
