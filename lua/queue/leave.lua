--[[
queue/leave: a person gives up their place, waiting or active, and with it their holds.

Why a script: between "no payment is under way" and "the seats are free again" a payment could begin.

KEYS
  [1] waiting  zset    <place> or <place>:<user> -> place
  [2] dead     zset    place or <from>-<to> -> ordinal of its death
  [3] users    hash    user -> place
  [4] active   zset    place -> expiry in ms
  [5] token    string  <user or empty>:<claimed 0|1|2>:<promoted_ms>
  [6] paying   zset    payment attempt -> lease end in ms
  [7] stats    hash    counters
  [8] holds    hash    <date>:<seat> -> reservation, of the user in ARGV
  [9..] for each date, three keys: held zset (seat -> deadline ms), hold hash (seat ->
        <reservation>:<place>:<user>:<price>:<hard_ms>), version string

ARGV
  [1] place    integer > 0
  [2] user     whose the caller believes the token to be, "" if nobody's: it decides KEYS[8]
  [3] asker    who asks, "" if the request does not say
  [4] version  random id: the new version of a date on which a seat became free
  [5..] date   YYYY-MM-DD, in the order of the keys

Returns
  {"left", released}  released: live holds given up; those past their deadline are counted as lapsed
  {"not_yours"}       nothing changed: it is bound to another user than the asker
  {"other_user"}      nothing changed: the token is bound to another user than ARGV says
  {"paying"}          nothing changed: a payment is under way
  {"gone"}            nothing changed: neither waiting nor active

A repeat is safe: it answers "gone" and changes nothing.
Cost: O(log n + holds of the user).
]]
local waiting, dead, users, active, token = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local paying, stats, holds = KEYS[6], KEYS[7], KEYS[8]
local place, user, asker, version = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local FIRST_DATE_KEY, FIRST_DATE = 9, 5

local function is_somebody_elses(owner)
  return owner ~= '' and asker ~= '' and owner ~= asker
end

local function forget(owner)
  if owner ~= '' and redis.call('HGET', users, owner) == place then
    redis.call('HDEL', users, owner)
  end
end

local member = redis.call('ZRANGEBYSCORE', waiting, place, place)[1]
if member then
  local owner = string.match(member, ':(%d+)$') or ''
  if is_somebody_elses(owner) then
    return { 'not_yours' }
  end
  local newest = redis.call('ZREVRANGE', dead, 0, 0, 'WITHSCORES')[2] or '0'
  redis.call('ZREM', waiting, member)
  redis.call('ZADD', dead, string.format('%d', tonumber(newest) + 1), place)
  forget(owner)
  redis.call('HINCRBY', stats, 'left', 1)
  return { 'left', 0 }
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local value = redis.call('GET', token)
local expires_ms = tonumber(redis.call('ZSCORE', active, place) or nil)
if not value or not expires_ms or expires_ms <= now_ms then
  return { 'gone' }
end
local owner = string.match(value, '^(%d*):')
if is_somebody_elses(owner) then
  return { 'not_yours' }
end
if owner ~= user then
  return { 'other_user' }
end
if redis.call('ZCOUNT', paying, '(' .. string.format('%d', now_ms), '+inf') > 0 then
  return { 'paying' }
end

local released, lapsed = 0, 0
if user ~= '' then
  local keys_of = {}
  for i = FIRST_DATE, #ARGV do
    local first = FIRST_DATE_KEY + (i - FIRST_DATE) * 3
    keys_of[ARGV[i]] = { held = KEYS[first], hold = KEYS[first + 1], version = KEYS[first + 2] }
  end
  local mine = redis.call('HGETALL', holds)
  for i = 1, #mine, 2 do
    local date, seat = string.match(mine[i], '^(.+):(%d+)$')
    local keys = keys_of[date]
    local record = keys and redis.call('HGET', keys.hold, seat) or ''
    -- The record decides: the seat may have lapsed and be somebody else's by now.
    if string.sub(record, 1, #mine[i + 1] + #place + 2) == mine[i + 1] .. ':' .. place .. ':' then
      local deadline_ms = tonumber(redis.call('ZSCORE', keys.held, seat) or 0)
      redis.call('ZREM', keys.held, seat)
      redis.call('HDEL', keys.hold, seat, 'again:' .. seat)
      redis.call('HDEL', holds, mine[i])
      if deadline_ms > now_ms then
        released = released + 1
      else
        lapsed = lapsed + 1
      end
      redis.call('SET', keys.version, version)
    end
  end
end
redis.call('ZREM', active, place)
redis.call('DEL', token)
forget(owner)
if released > 0 then
  redis.call('HINCRBY', stats, 'released', released)
end
if lapsed > 0 then
  redis.call('HINCRBY', stats, 'lapsed', lapsed)
end
redis.call('HINCRBY', stats, 'left', 1)
return { 'left', released }
