--[[
seats/correct: unmarks seats of one date that are marked sold and that PostgreSQL does not know.

Why a script: whoever sells a seat after the caller's reading of the bitmap
changes the version, so the mark of a sale that PostgreSQL was not asked about is never removed.

KEYS
  [1] sold:<date>      bitmap  bit = seat number
  [2] version:<date>   string
  [3] stats            hash    counters

ARGV
  [1] seen             the version that the bitmap was read with; "" for none
  [2] version          random id, new for every call
  [3..] seats          1 to 200, from that reading

Returns
  {"corrected", seats}   how many were unmarked; the date's version is now ARGV[2]
  {"changed"}            nothing changed: the date has another version; read everything again

A repeat answers "changed". Cost: O(seats).
]]
local sold, version, stats = KEYS[1], KEYS[2], KEYS[3]
local seen, version_id = ARGV[1], ARGV[2]
local FIRST_SEAT = 3

if (redis.call('GET', version) or '') ~= seen then
  return { 'changed' }
end

local corrected = 0
for i = FIRST_SEAT, #ARGV do
  corrected = corrected + redis.call('SETBIT', sold, ARGV[i], 0)
end
redis.call('SET', version, version_id)
if corrected > 0 then
  redis.call('HINCRBY', stats, 'corrected', corrected)
end
return { 'corrected', corrected }
