--[[
queue/configure: changes live settings of a concert's line, and notes each change.

Why a script: a setting and the note of what it was before are one step, so the notes are complete
and in the order of the changes.

KEYS
  [1] settings  hash    live knobs: capacity, batch, paused, message, opens_at, closes_at, beacon
  [2] audit     stream  one entry per changed setting: request, setting, before, after

ARGV
  [1] request   text, the id of the request that asks
  [2..]         setting, value: pairs, 1 to 8 of them; an empty value removes the setting, and
                "now" for opens_at or closes_at is now, unless it is a moment that has passed already

Returns
  {"configured", {setting, value, ...}}
     the settings as they are now, in the order of ARGV; "" if there is none

A repeat is safe: what has its value already is not changed and not noted. Of two operators who
change one setting at once, the call that is sent again may be the last; the notes then show it.
Cost: O(settings given).
]]
local settings, audit = KEYS[1], KEYS[2]
local request = ARGV[1]
local FIRST_SETTING = 2
local ENTRIES_MAX = 1000
local MOMENTS = { opens_at = true, closes_at = true }

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local now = {}
for i = FIRST_SETTING, #ARGV, 2 do
  local setting, value = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', settings, setting) or ''
  if value == 'now' and MOMENTS[setting] then
    local moment = tonumber(before)
    value = moment and moment > 0 and moment <= now_ms and before or string.format('%.0f', now_ms)
  end
  if before ~= value then
    if value == '' then
      redis.call('HDEL', settings, setting)
    else
      redis.call('HSET', settings, setting, value)
    end
    redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*',
      'request', request, 'setting', setting, 'before', before, 'after', value)
  end
  now[#now + 1], now[#now + 2] = setting, value
end
return { 'configured', now }
