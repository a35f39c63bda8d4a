--[[
payments/begin: opens one attempt to pay all live holds of an active token, and answers the holds.

Why a script: "these are the holds" and "nothing may change them while the attempt stands" must be
one step; as two, the user could release a seat between being asked for its money and paying it.

KEYS
  [1] token    string  the active token of the place: <user or empty>:<claimed 0|1|2>:<promoted_ms>;
                       2: it has held a seat
  [2] active   zset    place -> expiry ms
  [3] paying   zset    attempt -> lease end ms
  [4] holds    hash    of the user: <date>:<seat> -> reservation
  then for each date of the concert, in the order of the dates in ARGV
  [5, 7, ..] held      zset    seat -> deadline ms; live iff above now
  [6, 8, ..] hold      hash    seat -> <reservation>:<place>:<user>:<price>:<hard_ms>

ARGV
  [1] place         decimal
  [2] user          decimal
  [3] attempt       id, from the caller
  [4] lease_ms      > 0, how long other changes of the holds are refused at most
  [5] extension_ms  > 0, each hold lives at least that long from now
  [6..] date        YYYY-MM-DD, 1 to 40

Returns
  {"begun", count, then per hold: date, seat, reservation, price}
  {"gone"}      nothing changed: the token is not active
  {"not_yours"} nothing changed: the token is bound to another user
  {"nothing"}   nothing changed: the token holds nothing and never did
  {"expired"}   nothing changed: the token holds nothing any more
  {"expiring"}  nothing changed: a hold must end before extension_ms have passed

A repeat with the same attempt answers the same holds and moves the lease a little.
Cost: O(h) for the h fields of holds, a handful per user.
]]
local token, active, paying, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local place, user, attempt = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, extension_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local FIRST_DATE_KEY, FIRST_DATE = 5, 6

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local value = redis.call('GET', token)
local expiry_ms = tonumber(redis.call('ZSCORE', active, place) or 0)
if not value or expiry_ms <= now_ms then
  return { 'gone' }
end
local owner, claimed = string.match(value, '^(%d*):(%d)')
if owner ~= '' and owner ~= user then
  return { 'not_yours' }
end

local key_of = {}
for i = FIRST_DATE, #ARGV do
  key_of[ARGV[i]] = FIRST_DATE_KEY + 2 * (i - FIRST_DATE)
end

local found, soonest_hard_ms = {}, math.huge
local entries = redis.call('HGETALL', holds)
for i = 1, #entries, 2 do
  local date, seat = string.match(entries[i], '^(%d+%-%d+%-%d+):(%d+)$')
  local key = date and key_of[date]
  local record = key and redis.call('HGET', KEYS[key + 1], seat)
  if record then
    local reservation, holder, _, price, hard_ms =
      string.match(record, '^([^:]+):(%d+):(%d+):(%d+):(%d+)$')
    local deadline_ms = tonumber(redis.call('ZSCORE', KEYS[key], seat) or 0)
    -- An entry of the user may be older than the seat's record: then the seat is somebody else's.
    if holder == place and reservation == entries[i + 1] and deadline_ms > now_ms then
      soonest_hard_ms = math.min(soonest_hard_ms, tonumber(hard_ms))
      found[#found + 1] = {
        key = key, date = date, seat = seat,
        reservation = reservation, price = price, deadline_ms = deadline_ms,
      }
    end
  end
end
if #found == 0 and claimed == '2' then
  return { 'expired' }
elseif #found == 0 then
  return { 'nothing' }
end
if soonest_hard_ms < now_ms + extension_ms then
  return { 'expiring' }
end

-- Nothing below refuses.
redis.call('ZREMRANGEBYSCORE', paying, '-inf', now_ms)
redis.call('ZADD', paying, now_ms + lease_ms, attempt)
local keep_until_ms = math.max(expiry_ms, now_ms + lease_ms)
if redis.call('PEXPIRETIME', paying) < keep_until_ms then
  redis.call('PEXPIREAT', paying, string.format('%d', keep_until_ms))
end
local answer = { 'begun', #found }
for _, hold in ipairs(found) do
  if hold.deadline_ms < now_ms + extension_ms then
    redis.call('ZADD', KEYS[hold.key], 'XX', now_ms + extension_ms, hold.seat)
  end
  answer[#answer + 1] = hold.date
  answer[#answer + 1] = hold.seat
  answer[#answer + 1] = hold.reservation
  answer[#answer + 1] = hold.price
end
return answer
