--[[
queue/configure: changes live settings of a concert's line, all or none, and notes each change.

Why a script: a setting and the note of what it was before are one step, so the notes are complete
and in the order of the changes; and of two operators who change the opening and the end at once, the
second must see what the first has set. A draw takes the beacon's value over in the same step.

KEYS
  [1] settings  hash    live knobs: capacity, batch, paused, message, opens_at, closes_at, beacon
  [2] audit     stream  one entry per changed setting: request, setting, before, after
  [3] draw      hash    of a lottery: see queue/draw; its value is set with the setting beacon

ARGV
  [1] request       text, the id of the request that asks
  [2] opens_at_ms   Unix ms, when the sale opens unless the live setting says otherwise; 0: from the start
  [3] closes_at_ms  Unix ms, when it ends unless the live setting says otherwise; 0: never
  [4..]             setting, value: pairs, 1 to 8 of them; an empty value removes the setting, and
                    "now" for opens_at or closes_at is now, unless it is a moment that has passed already

Returns
  {"configured", {setting, value, ...}}
     the settings as they are now, in the order of ARGV; "" if there is none
  {"never_open", opens_at_ms, closes_at_ms}
     nothing changed: with a change of one of the two, the sale would end before it opens, or then;
     to end it now is taken at any time, because a sale may be called off before it opens
  {"not_awaited", why}
     nothing changed: no draw waits for a beacon's value; why: "no_round" if there is none that is
     bound to a round, "not_frozen" if it is too early, "drawn" if the draw has another value

A repeat is safe: what has its value already is not changed and not noted. Of two operators who
change one setting at once, the call that is sent again may be the last; the notes then show it.
Cost: O(settings given).
]]
local settings, audit, draw = KEYS[1], KEYS[2], KEYS[3]
local request = ARGV[1]
local FIRST_SETTING = 4
local ENTRIES_MAX = 1000
local MOMENT_MAX = 253402300799999
local CONFIGURED = { opens_at = ARGV[2], closes_at = ARGV[3] }

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local given, before, after, is_called_off = {}, {}, {}, false
for i = FIRST_SETTING, #ARGV, 2 do
  local setting, value = ARGV[i], ARGV[i + 1]
  local kept = redis.call('HGET', settings, setting) or ''
  if value == 'now' and CONFIGURED[setting] then
    is_called_off = is_called_off or setting == 'closes_at'
    local moment = tonumber(kept)
    value = moment and moment > 0 and moment <= now_ms and kept or string.format('%d', now_ms)
  end
  given[#given + 1], before[setting], after[setting] = setting, kept, value
end

if after.opens_at or (after.closes_at and not is_called_off) then
  -- What is no moment counts as not set.
  local function moment_ms(setting)
    local text = after[setting] or redis.call('HGET', settings, setting) or ''
    local at_ms = tonumber(string.match(text, '^%d+$') or nil)
    return at_ms and at_ms <= MOMENT_MAX and at_ms or tonumber(CONFIGURED[setting])
  end
  local opens_at_ms, closes_at_ms = moment_ms('opens_at'), moment_ms('closes_at')
  if closes_at_ms > 0 and closes_at_ms <= opens_at_ms then
    return { 'never_open', string.format('%d', opens_at_ms), string.format('%d', closes_at_ms) }
  end
end
if after.beacon and after.beacon ~= '' then
  local round, people, value = unpack(redis.call('HMGET', draw, 'round', 'people', 'value'))
  if not round or round == '' then
    return { 'not_awaited', 'no_round' }
  elseif not people then
    return { 'not_awaited', 'not_frozen' }
  elseif value and value ~= after.beacon then
    return { 'not_awaited', 'drawn' }
  end
end

if after.beacon and after.beacon ~= '' then
  redis.call('HSET', draw, 'value', after.beacon)
end
local now = {}
for _, setting in ipairs(given) do
  local value = after[setting]
  if before[setting] ~= value then
    if value == '' then
      redis.call('HDEL', settings, setting)
    else
      redis.call('HSET', settings, setting, value)
    end
    redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*',
      'request', request, 'setting', setting, 'before', before[setting], 'after', value)
  end
  now[#now + 1], now[#now + 2] = setting, value
end
return { 'configured', now }
