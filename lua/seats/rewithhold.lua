--[[
seats/rewithhold: withholds seats of one date because PostgreSQL says so, where Redis has lost it.

Why a script: a seat that somebody has taken since must stay theirs.

KEYS
  [1] rebuild          string  who is rebuilding, with a TTL
  [2] sold:<date>      bitmap  seats sold
  [3] held:<date>      zset    seat -> deadline ms; NEVER of a withheld seat
  [4] hold:<date>      hash    seat -> <id>:0:0:0:NEVER; again:<seat> -> reservation
  [5] version:<date>   string
  [6] stats            hash    counters

ARGV
  [1] lock             the caller's id in rebuild; "" outside of a rebuild
  [2] lock_ms          > 0, how long the rebuild may now go without a sign of life; of no meaning
                       outside of one
  [3] id               random, new for every call: of the records, and the new version
  [4..] seats          1 to 200

Returns
  {"withheld", new}   how many are withheld now and were not before; sold and held seats stay as they are
  {"lost"}            nothing changed: the rebuild is not the caller's any more

A repeat is safe: what is withheld already is neither changed nor counted. Cost: O(seats).
]]
local rebuild, sold, held, hold, version, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local lock, lock_ms, id = ARGV[1], ARGV[2], ARGV[3]
local FIRST_SEAT, NEVER = 4, 253402300799999

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if lock ~= '' then
  if redis.call('GET', rebuild) ~= lock then
    return { 'lost' }
  end
  redis.call('PEXPIRE', rebuild, lock_ms)
end

local new, lapsed = 0, 0
for i = FIRST_SEAT, #ARGV do
  local seat = ARGV[i]
  local ends_ms = tonumber(redis.call('ZSCORE', held, seat) or 0)
  if ends_ms <= now_ms and redis.call('GETBIT', sold, seat) == 0 then
    redis.call('ZADD', held, NEVER, seat)
    redis.call('HSET', hold, seat, id .. ':0:0:0:' .. string.format('%d', NEVER))
    redis.call('HDEL', hold, 'again:' .. seat)
    new = new + 1
    lapsed = lapsed + (ends_ms > 0 and 1 or 0)
  end
end
if new > 0 then
  redis.call('SET', version, id)
  redis.call('HINCRBY', stats, 'held', new)
end
if lapsed > 0 then
  redis.call('HINCRBY', stats, 'lapsed', lapsed)
end
return { 'withheld', new }
