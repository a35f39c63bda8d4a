--[[
queue/enter: give places to a group of arrivals, in the order of the group.

Why a script: "has this user a place?" and "take the next number and stand in line" must be one step,
or a user could get two places, and a number could be given that nobody stands for.

KEYS
  [1] group    string  answer of this group, 5 s
  [2] seq      int     last place given
  [3] epoch    string  id of the last rebuild from PostgreSQL
  [4] waiting  zset    <place> or <place>:<user> -> place
  [5] active   zset    place -> expiry in ms
  [6] users    hash    user -> place; trusted only while that place is waiting or active
  [7] stats    hash    counters
  [8] run      string  the turn that this line was settled in: see queue/settle
  [9] settings hash    live knobs
  [10] draw    hash    of a lottery: see queue/draw

ARGV
  [1] floor         integer >= 0, the highest place that the caller gave, saw or verified
  [2] epoch         the rebuild that the caller believes in
  [3] group_ttl_ms  integer > 0, how long the answer is kept for a re-send
  [4] closes_at_ms  Unix ms, nobody gets a place from then on, unless the live setting says otherwise;
                    0 if it never closes
  [5] opens_at_ms   Unix ms, when a lottery is drawn, unless the live setting says otherwise; 0 if
                    the line has none
  [6..] user or -n    1 to 128 arrivals in order, at most 64 of them named: a user, or the number
                    of anonymous ones in a row as a negative integer

Returns
  {"entered", now_ms, before, first, {arrival, place, expires_ms, ...}}
     before: the line's length before; first: the first new place
     the list names the arrivals (from 1) whose user had a place already, and since when not only in
     this group; expires_ms is 0 while that place is waiting. All other arrivals got new places:
     first, first + 1, ... in order, at positions before + 1, before + 2, ...
  {"unsettled"}  nothing changed: the counter is missing or below floor, the epoch is another, or the
                 line was settled in another turn
  {"closed"}     nothing changed: the sale is over
  {"undrawn"}    nothing changed: the sale is open, and who takes part must be frozen first

A repeat is safe: the same group id answers the same places for group_ttl_ms.
Cost: O(n log m) for n arrivals, m waiting.
]]
local group, seq, epoch, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local active, users, stats, run, settings, draw = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local floor, epoch_expected, group_ttl_ms = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local FIRST_ARRIVAL, MINUS, MOMENT_MAX = 6, string.byte('-'), 253402300799999

local answered = redis.call('GET', group)
if answered then
  return cmsgpack.unpack(answered)
end
local last = tonumber(redis.call('GET', seq) or nil)
local turn = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local is_settled = last and last >= floor and redis.call('GET', run) == turn
if not is_settled or redis.call('GET', epoch) ~= epoch_expected then
  return { 'unsettled' }
end

local function digits(number)
  return string.format('%d', number)
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function moment_ms(setting, otherwise)
  local at_ms = tonumber(string.match(setting or '', '^%d+$') or otherwise)
  return at_ms > MOMENT_MAX and tonumber(otherwise) or at_ms
end
local closes_at_ms = moment_ms(redis.call('HGET', settings, 'closes_at'), ARGV[4])
if closes_at_ms > 0 and now_ms >= closes_at_ms then
  return { 'closed' }
end
local drawn = ARGV[5] ~= '0' and redis.call('HMGET', draw, 'id', 'people') or {}
local is_frozen = not drawn[1] or drawn[2]
if not is_frozen and now_ms >= moment_ms(redis.call('HGET', settings, 'opens_at'), ARGV[5]) then
  return { 'undrawn' }
end

-- Counted by hand below: # looks for the end of a list each time.
local named, named_count = {}, 0
for i = FIRST_ARRIVAL, #ARGV do
  if string.byte(ARGV[i]) ~= MINUS then
    named_count = named_count + 1
    named[named_count] = ARGV[i]
  end
end
local places = named_count > 0 and redis.call('HMGET', users, unpack(named)) or {}

-- Decide first: who has a place, who gets a new one, which old places are over. A place without
-- an expiry waits.
local place_of, expires_of, over = {}, {}, {}
for i, user in ipairs(named) do
  local place = places[i]
  if place and not place_of[user] then
    local expires_ms = tonumber(redis.call('ZSCORE', active, place) or nil)
    if expires_ms and expires_ms > now_ms then
      place_of[user], expires_of[user] = place, digits(expires_ms)
    elseif redis.call('ZSCORE', waiting, place .. ':' .. user) then
      place_of[user] = place
    else
      over[#over + 1] = expires_ms and place
    end
  end
end

local newest = last
local function next_place()
  newest = newest + 1
  return digits(newest)
end

local before = redis.call('ZCARD', waiting)
local entries, bindings, known, arrival, new, bound = {}, {}, {}, 0, 0, 0
for i = FIRST_ARRIVAL, #ARGV do
  local user = ARGV[i]
  if string.byte(user) == MINUS then
    local anonymous = -tonumber(user)
    for entry = 2 * new + 1, 2 * (new + anonymous), 2 do
      local place = next_place()
      entries[entry], entries[entry + 1] = place, place
    end
    arrival, new = arrival + anonymous, new + anonymous
  else
    arrival = arrival + 1
    local place = place_of[user]
    if place then
      known[#known + 1] = arrival
      known[#known + 1] = place
      known[#known + 1] = expires_of[user] or '0'
    else
      place = next_place()
      entries[2 * new + 1], entries[2 * new + 2] = place, place .. ':' .. user
      new = new + 1
      bindings[bound + 1], bindings[bound + 2] = user, place
      bound = bound + 2
      place_of[user] = place
    end
  end
end

if new > 0 then
  redis.call('INCRBY', seq, new)
  redis.call('ZADD', waiting, 'NX', unpack(entries))
  redis.call('HINCRBY', stats, 'issued', new)
end
if bound > 0 then
  redis.call('HSET', users, unpack(bindings))
end
if #over > 0 then
  redis.call('HINCRBY', stats, 'expired', redis.call('ZREM', active, unpack(over)))
end
local answer = { 'entered', digits(now_ms), before, digits(last + 1), known }
redis.call('SET', group, cmsgpack.pack(answer), 'PX', group_ttl_ms)
return answer
