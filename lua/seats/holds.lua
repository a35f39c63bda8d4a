#!lua flags=no-writes
--[[
seats/holds: the live holds of one user in one concert.

Why a script: an entry of holds:<user> counts only if the record of its seat agrees.

KEYS
  [1] holds:<user>     hash  <date>:<seat> -> reservation
  [2..] held:<date>, hold:<date> of every date of the concert, in pairs
                       zset  seat -> deadline ms
                       hash  seat -> <reservation>:<place>:<user>:<price>:<hard_ms>

ARGV: none

Returns
  {"holds", now_ms, date, seat, reservation, price, deadline_ms, ...}   in no order

A repeat reads again; nothing is written. Cost: O(entries of holds:<user>).
]]
local holds = KEYS[1]
local FIRST_DATE, DATE_LENGTH = 2, 10

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local first_key = {}
for i = FIRST_DATE, #KEYS, 2 do
  first_key[string.sub(KEYS[i], -DATE_LENGTH)] = i
end
local answer = { 'holds', now_ms }
local entries = redis.call('HGETALL', holds)
for i = 1, #entries, 2 do
  local date, seat = string.sub(entries[i], 1, DATE_LENGTH), string.sub(entries[i], DATE_LENGTH + 2)
  local key = first_key[date]
  local record = key and redis.call('HGET', KEYS[key + 1], seat) or ''
  local reservation, price = string.match(record, '^([^:]+):%d+:%d+:(%d+):')
  local ends_ms = key and tonumber(redis.call('ZSCORE', KEYS[key], seat) or 0)
  if reservation == entries[i + 1] and ends_ms > now_ms then
    for _, field in ipairs({ date, seat, reservation, price, ends_ms }) do
      answer[#answer + 1] = field
    end
  end
end
return answer
