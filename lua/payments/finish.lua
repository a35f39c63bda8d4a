#!lua flags=allow-oom
--[[
payments/finish: makes Redis agree with one payment that PostgreSQL has committed.

Why a script: a seat must never be free between "no longer held" and "sold", and the token must not
be usable after its purchase. It asks nobody's leave: PostgreSQL has decided. So it needs no active
token, no epoch and no hold, and is repeated whenever Redis may have lost it. It runs without memory,
too: it frees more than it takes, and a seat whose hold ends before it is marked sold would be shown.

KEYS
  [1] token    string  removed
  [2] active   zset    place -> expiry ms; the place is removed
  [3] waiting  zset    <place> or <place>:<user> -> place; removed (a rolled-back promotion)
  [4] dead     zset    place or range -> ordinal; gets the place if it was waiting
  [5] users    hash    user -> place; removed if it names this place
  [6] paying   zset    attempts of this place; removed
  [7] holds    hash    of the user: <date>:<seat> -> reservation
  [8] stats    hash    counters sold, displaced, lapsed, consumed
  then for each date of the payment, in the order of the dates in ARGV
  [9, 13, ..]  held    zset    seat -> deadline ms
  [10, 14, ..] hold    hash    seat -> <reservation>:<place>:<user>:<price>:<hard_ms>, again:<seat>
  [11, 15, ..] sold    bitmap  bit = seat number
  [12, 16, ..] version string

ARGV
  [1] place     decimal
  [2] user      decimal
  [3] version   random id for the dates that change
  [4] dates     their number D, 1 to 40
  [5..4+D]      date, YYYY-MM-DD
  then per seat: index of its date (1 to D), seat, reservation

Returns {"finished", sold, displaced, consumed}: seats newly marked sold, live holds of others
dropped from them, and 1 if the token was still in the line. All 0 when repeated. A hold of another
reservation that is past its deadline is counted as lapsed.

A repeat finds every bit set and every key gone, changes and counts nothing.
Cost: O(s log n) for s seats, a handful.
]]
local token, active, waiting, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local users, paying, holds, stats = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local place, user, version = ARGV[1], ARGV[2], ARGV[3]
local dates = tonumber(ARGV[4])
local FIRST_DATE_KEY, KEYS_PER_DATE, FIRST_DATE = 9, 4, 5

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local sold, displaced, lapsed, consumed = 0, 0, 0, 0
local changed = {}
for i = FIRST_DATE + dates, #ARGV, 3 do
  local index, seat, reservation = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local key = FIRST_DATE_KEY + KEYS_PER_DATE * (index - 1)
  local held, hold, bitmap = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  if redis.call('SETBIT', bitmap, seat, 1) == 0 then
    sold = sold + 1
    changed[index] = true
  end
  local record = redis.call('HGET', hold, seat)
  local deadline_ms = tonumber(redis.call('ZSCORE', held, seat) or 0)
  if record or deadline_ms > 0 then
    if record and string.match(record, '^[^:]*') ~= reservation then
      if deadline_ms > now_ms then
        displaced = displaced + 1
      else
        lapsed = lapsed + 1
      end
    end
    redis.call('HDEL', hold, seat, 'again:' .. seat)
    redis.call('ZREM', held, seat)
    changed[index] = true
  end
  local entry = ARGV[FIRST_DATE + index - 1] .. ':' .. seat
  if redis.call('HGET', holds, entry) == reservation then
    redis.call('HDEL', holds, entry)
  end
end
for index in pairs(changed) do
  redis.call('SET', KEYS[FIRST_DATE_KEY + KEYS_PER_DATE * (index - 1) + 3], version)
end

redis.call('DEL', token, paying)
if redis.call('ZREM', active, place) == 1 then
  consumed = 1
end
if redis.call('ZREMRANGEBYSCORE', waiting, place, place) > 0 then
  local top = redis.call('ZREVRANGE', dead, 0, 0, 'WITHSCORES')
  redis.call('ZADD', dead, 'NX', tonumber(top[2] or 0) + 1, place)
  consumed = 1
end
if redis.call('HGET', users, user) == place then
  redis.call('HDEL', users, user)
end

if sold > 0 then
  redis.call('HINCRBY', stats, 'sold', sold)
end
if displaced > 0 then
  redis.call('HINCRBY', stats, 'displaced', displaced)
end
if lapsed > 0 then
  redis.call('HINCRBY', stats, 'lapsed', lapsed)
end
if consumed > 0 then
  redis.call('HINCRBY', stats, 'consumed', consumed)
end
return { 'finished', sold, displaced, consumed }
