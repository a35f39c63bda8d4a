--[[
seats/release: gives holds of one date back before their deadline: all of those named that are still
as named, or, while a payment is under way for one of them, none.

Why a script: a payment may begin and a deadline may pass between looking and dropping.

KEYS
  [1] stats            hash    counters
  [2] held:<date>      zset    seat -> deadline ms
  [3] hold:<date>      hash    seat -> <reservation>:<place>:<user>:<price>:<hard_ms>;
                               again:<seat> -> a reservation that a second request was told of
  [4] version:<date>   string
  [5] audit            stream  what operators did, see ARGV[4]
  [6..] for each seat, two keys of its holder:
    paying:<place>     zset    payment attempt -> lease end ms
    holds:<user>       hash    <date>:<seat> -> reservation

ARGV
  [1] version          random id, new for every call
  [2] date             YYYY-MM-DD
  [3] why              "asked" by the user or an operator, or "given_up" by the request that made the
                       holds: then a hold that a second request was told of meanwhile is kept
  [4] request          an operator's request: each release is noted with it; "" if the user asks
  [5..] seat, reservation, place, user  1 to 20 times; place and user are the holder, decimal

Returns
  {"released", kept, {seat, ...}}  how many holds were kept for a second request; the seats of those
                                   that were dropped
  {"paying", seat}                 nothing changed: a payment for this seat's hold is under way

A hold that is gone, lapsed or somebody else's is in neither.
A repeat finds nothing: it answers no seats and notes nothing.
Cost: O(seats).
]]
local stats, held, hold, version, audit = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local version_id, date, why, request = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local FIRST_KEY, FIRST_SEAT, ENTRIES_MAX = 6, 5, 1000

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local drops, seats, kept, paying_seat = {}, {}, 0, nil
for i = FIRST_SEAT, #ARGV, 4 do
  local seat, reservation, place, user = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = FIRST_KEY + (i - FIRST_SEAT) / 2
  local record = redis.call('HGET', hold, seat) or ''
  local id, by_place, by_user = string.match(record, '^([^:]+):(%d+):(%d+):')
  local ends_ms = tonumber(redis.call('ZSCORE', held, seat) or 0)
  if id == reservation and by_place == place and by_user == user and ends_ms > now_ms then
    if why == 'given_up' and redis.call('HGET', hold, 'again:' .. seat) == reservation then
      kept = kept + 1
    else
      drops[#drops + 1] = { seat = seat, place = place, user = user, holds = KEYS[key + 1] }
      seats[#seats + 1] = seat
      local is_paying = redis.call('ZCOUNT', KEYS[key], '(' .. now_ms, '+inf') > 0
      paying_seat = paying_seat or (is_paying and seat)
    end
  end
end
if paying_seat then
  return { 'paying', paying_seat }
elseif #seats == 0 then
  return { 'released', kept, seats }
end

for _, drop in ipairs(drops) do
  local seat = drop.seat
  redis.call('ZREM', held, seat)
  redis.call('HDEL', hold, seat, 'again:' .. seat)
  redis.call('HDEL', drop.holds, date .. ':' .. seat)
  if request ~= '' then
    redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*', 'request', request,
      'action', 'released', 'date', date, 'seat', seat, 'user', drop.user, 'place', drop.place)
  end
end
redis.call('SET', version, version_id)
redis.call('HINCRBY', stats, 'released', #seats)
return { 'released', kept, seats }
