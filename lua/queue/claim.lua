--[[
queue/claim: the first use of an active token, and its binding to the first user it is used with.

Why a script: "whose is it, and has that user another place?" and "it is theirs now" are one step, or
two users could share a token, or one user hold two.

KEYS
  [1] token    string  <user or empty>:<claimed 0|1|2>:<promoted_ms>
  [2] active   zset    place -> expiry in ms; its score decides
  [3] waiting  zset    <place> or <place>:<user> -> place
  [4] users    hash    user -> place; trusted only while that place is waiting or active
  [5] stats    hash    counters

ARGV
  [1] place           integer > 0, the token's place
  [2] user            who uses it, "" if the request names nobody
  [3] active_ttl_ms   integer > 0, how long a claimed token lives
  [4] session_max_ms  integer > 0, the longest life of a token since its promotion

Returns
  {"active", owner, expires_ms, now_ms}  owner: "" while unbound
  {"not_yours"}                          nothing changed: it is bound to another user
  {"user_has_token"}                     nothing changed: the user has another live place
  {"gone"}                               nothing changed: it is not active

A repeat is safe: a claimed token is not extended again, a bound one not bound again.
Cost: O(log n).
]]
local token, active, waiting, users, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local place, user = ARGV[1], ARGV[2]
local active_ttl_ms, session_max_ms = tonumber(ARGV[3]), tonumber(ARGV[4])

local function digits(number)
  return string.format('%d', number)
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local value = redis.call('GET', token)
local expires_ms = tonumber(redis.call('ZSCORE', active, place) or nil)
if not value or not expires_ms or expires_ms <= now_ms then
  return { 'gone' }
end
local owner, claimed, promoted_ms = string.match(value, '^(%d*):([012]):(%d+)$')

local binds = user ~= '' and owner == ''
if user ~= '' and owner ~= '' and owner ~= user then
  return { 'not_yours' }
end
if binds then
  local other = redis.call('HGET', users, user)
  if other and other ~= place then
    local other_expires_ms = tonumber(redis.call('ZSCORE', active, other) or nil)
    local other_is_active = other_expires_ms and other_expires_ms > now_ms
    if other_is_active or redis.call('ZSCORE', waiting, other .. ':' .. user) then
      return { 'user_has_token' }
    end
  end
  owner = user
end

if claimed == '0' then
  local until_ms = math.min(now_ms + active_ttl_ms, tonumber(promoted_ms) + session_max_ms)
  expires_ms = math.max(expires_ms, until_ms)
end
if binds or claimed == '0' then
  redis.call('SET', token, owner .. ':1:' .. promoted_ms, 'PXAT', digits(expires_ms))
end
if binds then
  redis.call('HSET', users, user, place)
end
if claimed == '0' then
  redis.call('ZADD', active, digits(expires_ms), place)
  redis.call('HINCRBY', stats, 'claimed', 1)
end
return { 'active', owner, digits(expires_ms), digits(now_ms) }
