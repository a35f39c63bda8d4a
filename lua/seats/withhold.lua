--[[
seats/withhold: takes all given seats of one date out of the sale, or none of them.

A withheld seat is a hold of nobody that never ends, so whoever asks what is free or taken needs to
know nothing of it.
Why a script: "is it free?" and "nobody may take it" must see the same moment.

KEYS
  [1] run              string  the turn that the line was settled in: see queue/settle
  [2] epoch            string  id of the last rebuild from PostgreSQL
  [3] sold:<date>      bitmap  seats sold
  [4] held:<date>      zset    seat -> deadline ms; NEVER of a withheld seat
  [5] hold:<date>      hash    seat -> <id>:0:0:0:NEVER, place 0 and user 0 being nobody;
                               again:<seat> -> a reservation that a second request was told of
  [6] version:<date>   string
  [7] stats            hash    counters
  [8] audit            stream  gets an entry: request, setting, before, after

ARGV
  [1] run, [2] epoch   the generation that the caller has verified
  [3] id               random, new for every call: of the records, and the new version
  [4] request          text, the id of the request that asks
  [5] date             YYYY-MM-DD
  [6..] seats          1 to 200, ascending

Returns
  {"withheld", new}        every seat is withheld; new: how many were not before
  {"sold", {seat, ...}}    nothing changed: these are sold
  {"held", {seat, ...}}    nothing changed: none is sold, these are held by people
  {"not_ready"}            nothing changed: another generation

A repeat is safe: what is withheld already is neither changed, counted nor noted.
Cost: O(seats).
]]
local run, epoch, sold, held, hold = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local version, stats, audit = KEYS[6], KEYS[7], KEYS[8]
local id, request, date = ARGV[3], ARGV[4], ARGV[5]
local FIRST_SEAT, ENTRIES_MAX, NEVER = 6, 1000, 253402300799999

if redis.call('GET', run) ~= ARGV[1] or redis.call('GET', epoch) ~= ARGV[2] then
  return { 'not_ready' }
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local sold_seats, held_seats, fresh, lapsed = {}, {}, {}, 0
for i = FIRST_SEAT, #ARGV do
  local seat = ARGV[i]
  local ends_ms = tonumber(redis.call('ZSCORE', held, seat) or 0)
  if redis.call('GETBIT', sold, seat) == 1 then
    sold_seats[#sold_seats + 1] = seat
  elseif ends_ms <= now_ms then
    fresh[#fresh + 1] = seat
    lapsed = lapsed + (ends_ms > 0 and 1 or 0)
  elseif ends_ms < NEVER then
    held_seats[#held_seats + 1] = seat
  end
end
if #sold_seats > 0 then
  return { 'sold', sold_seats }
elseif #held_seats > 0 then
  return { 'held', held_seats }
elseif #fresh == 0 then
  return { 'withheld', 0 }
end

-- As people write them: 1-3,7
local ranges, first = {}, nil
for i, seat in ipairs(fresh) do
  first = first or seat
  if tonumber(fresh[i + 1]) ~= tonumber(seat) + 1 then
    ranges[#ranges + 1] = first == seat and seat or first .. '-' .. seat
    first = nil
  end
  redis.call('ZADD', held, NEVER, seat)
  redis.call('HSET', hold, seat, id .. ':0:0:0:' .. string.format('%d', NEVER))
  redis.call('HDEL', hold, 'again:' .. seat)
end
redis.call('SET', version, id)
redis.call('HINCRBY', stats, 'held', #fresh)
if lapsed > 0 then
  redis.call('HINCRBY', stats, 'lapsed', lapsed)
end
redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*', 'request', request,
  'setting', 'withheld', 'before', '', 'after', date .. ': ' .. table.concat(ranges, ','))
return { 'withheld', #fresh }
