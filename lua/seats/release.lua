--[[
seats/release: gives holds of one date back before their deadline.

Why a script: a payment may begin and a deadline may pass between looking and dropping.

KEYS
  [1] paying:<place>   zset  payment attempt -> lease end ms
  [2] holds:<user>     hash  <date>:<seat> -> reservation
  [3] stats            hash  counters
  [4] held:<date>      zset  seat -> deadline ms
  [5] hold:<date>      hash  seat -> <reservation>:<place>:<user>:<price>:<hard_ms>;
                             again:<seat> -> a reservation that a second request was told of
  [6] version:<date>   string

ARGV
  [1] version          random id, new for every call
  [2] place, [3] user  decimal, the holder
  [4] date             YYYY-MM-DD
  [5] why              "asked" by the user, or "given_up" by the request that made the holds: then
                       a hold that a second request was told of meanwhile is kept
  [6..] seat, reservation  pairs, 1 to 20

Returns
  {"released", released, kept}   how many holds were dropped, and how many kept for a second request
  {"paying"}                     nothing changed: a payment of this place is under way

A hold that is gone, lapsed or somebody else's is counted in neither.
A repeat finds nothing and answers 0, 0.
Cost: O(seats).
]]
local paying, holds, stats, held, hold, version = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local version_id, place, user, date, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local FIRST_SEAT = 6

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local seats, kept = {}, 0
for i = FIRST_SEAT, #ARGV, 2 do
  local seat, reservation = ARGV[i], ARGV[i + 1]
  local record = redis.call('HGET', hold, seat) or ''
  local id, by_place, by_user = string.match(record, '^([^:]+):(%d+):(%d+):')
  local ends_ms = tonumber(redis.call('ZSCORE', held, seat) or 0)
  if id == reservation and by_place == place and by_user == user and ends_ms > now_ms then
    if why == 'given_up' and redis.call('HGET', hold, 'again:' .. seat) == reservation then
      kept = kept + 1
    else
      seats[#seats + 1] = seat
    end
  end
end
if #seats == 0 then
  return { 'released', 0, kept }
elseif redis.call('ZCOUNT', paying, '(' .. now_ms, '+inf') > 0 then
  return { 'paying' }
end

for _, seat in ipairs(seats) do
  redis.call('ZREM', held, seat)
  redis.call('HDEL', hold, seat, 'again:' .. seat)
  redis.call('HDEL', holds, date .. ':' .. seat)
end
redis.call('SET', version, version_id)
redis.call('HINCRBY', stats, 'released', #seats)
return { 'released', #seats, kept }
