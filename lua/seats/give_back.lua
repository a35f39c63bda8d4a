--[[
seats/give_back: gives withheld seats of one date back to the sale.

Why a script: "it is withheld" and "it is free" must be one step, or a hold that somebody made in
between would end.

KEYS
  [1] run              string  the turn that the line was settled in: see queue/settle
  [2] epoch            string  id of the last rebuild from PostgreSQL
  [3] held:<date>      zset    seat -> deadline ms; NEVER of a withheld seat
  [4] hold:<date>      hash    seat -> record
  [5] version:<date>   string
  [6] stats            hash    counters
  [7] audit            stream  gets an entry: request, setting, before, after

ARGV
  [1] run, [2] epoch   the generation that the caller has verified
  [3] version          random id, new for every call
  [4] request          text, the id of the request that asks
  [5] date             YYYY-MM-DD
  [6..] seats          1 to 200, ascending

Returns
  {"given_back", {seat, ...}}   these were withheld and are free now; the others were not withheld
  {"not_ready"}                 nothing changed: another generation

A repeat is safe: it finds nothing withheld, changes and notes nothing.
Cost: O(seats).
]]
local run, epoch, held, hold, version = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local stats, audit = KEYS[6], KEYS[7]
local version_id, request, date = ARGV[3], ARGV[4], ARGV[5]
local FIRST_SEAT, ENTRIES_MAX, NEVER = 6, 1000, 253402300799999

if redis.call('GET', run) ~= ARGV[1] or redis.call('GET', epoch) ~= ARGV[2] then
  return { 'not_ready' }
end
local seats = {}
for i = FIRST_SEAT, #ARGV do
  if tonumber(redis.call('ZSCORE', held, ARGV[i]) or 0) >= NEVER then
    seats[#seats + 1] = ARGV[i]
  end
end
if #seats == 0 then
  return { 'given_back', seats }
end

-- As people write them: 1-3,7
local ranges, first = {}, nil
for i, seat in ipairs(seats) do
  first = first or seat
  if tonumber(seats[i + 1]) ~= tonumber(seat) + 1 then
    ranges[#ranges + 1] = first == seat and seat or first .. '-' .. seat
    first = nil
  end
  redis.call('ZREM', held, seat)
  redis.call('HDEL', hold, seat)
end
redis.call('SET', version, version_id)
redis.call('HINCRBY', stats, 'released', #seats)
redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*', 'request', request,
  'setting', 'withheld', 'before', date .. ': ' .. table.concat(ranges, ','), 'after', '')
return { 'given_back', seats }
