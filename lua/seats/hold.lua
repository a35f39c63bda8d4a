--[[
seats/hold: sets every asked seat of one date aside for one user, or none of them.

Why a script: "is it free?", "is the token good?", "how many has the user?" and "take it" must
see the same moment.

KEYS
  [1] run                 string  the turn that the line was settled in: see queue/settle
  [2] epoch               string  id of the last rebuild from PostgreSQL
  [3] token:<place>       string  <user or empty>:<claimed 0|1|2>:<promoted_ms>; becomes 2: it has
                                  held a seat, which payments/begin wants to know
  [4] active              zset    place -> expiry ms
  [5] paying:<place>      zset    payment attempt -> lease end ms
  [6] holds:<user>        hash    <date>:<seat> -> reservation
  [7] stats               hash    counters
  [8] held:<date>         zset    seat -> deadline ms
  [9] hold:<date>         hash    seat -> <reservation>:<place>:<user>:<price>:<hard_ms>;
                                  again:<seat> -> a reservation that a second request was told of
  [10] sold:<date>        bitmap  seats sold
  [11] version:<date>     string
  [12..] held:<date>, hold:<date> of every date of the concert, in pairs

ARGV
  [1] run, [2] epoch      the generation that the caller has verified
  [3] place, [4] user     decimal
  [5] version             random id, new for every call
  [6] date                YYYY-MM-DD, [7] when it becomes past, Unix ms
  [8] price               of each seat, decimal
  [9] hold_ms, [10] hard_extra_ms, [11] token_extra_ms, [12] session_max_ms
  [13] seats_max          the most live holds of a user in the concert
  [14..] seat, reservation  pairs, 1 to 20 distinct seats, each with the id of a new reservation

Returns
  {"held", now_ms, date, seat, reservation, price, deadline_ms, ...}
                          every seat is held by this place, in the order asked
  {"not_ready"} {"token_expired"} {"not_yours"} {"unclaimed"} {"past"} {"paying"}
  {"sold", seat} {"taken", seat} {"limit", live_holds} {"session_ending", session_ends_ms}
                          nothing changed; "unclaimed": queue/claim comes first

A repeat is safe: a seat that this place holds keeps reservation, price and deadline.
A hold past its deadline is nobody's, swept or not.
Cost: O(seats asked + entries of holds:<user>); stale entries are dropped here.
]]
local run, epoch, token, active, paying, holds = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local stats, held, hold, sold, version = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local place, user, version_id, date, price = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[8]
local date_ends_ms, hold_ms, hard_extra_ms = tonumber(ARGV[7]), tonumber(ARGV[9]), tonumber(ARGV[10])
local token_extra_ms, session_max_ms, seats_max = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local FIRST_DATE, FIRST_SEAT, DATE_LENGTH = 12, 14, 10

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local known = redis.call('MGET', run, epoch, token)
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] then
  return { 'not_ready' }
end
local token_user, claimed, promoted_ms = string.match(known[3] or '', '^(%d*):(%d):(%d+)$')
local token_ends_ms = tonumber(redis.call('ZSCORE', active, place) or 0)
if not token_user or token_ends_ms <= now_ms then
  return { 'token_expired' }
elseif token_user ~= user then
  return { 'not_yours' }
elseif claimed == '0' then
  return { 'unclaimed' }
elseif now_ms >= date_ends_ms then
  return { 'past' }
elseif claimed == '2' and redis.call('ZCOUNT', paying, '(' .. now_ms, '+inf') > 0 then
  -- Whoever has held nothing pays for nothing.
  return { 'paying' }
end

local deadline_ms = now_ms + hold_ms
local hard_ms = deadline_ms + hard_extra_ms
local answer = { 'held', now_ms }
local fresh, repeated, lapsed = {}, {}, 0
for i = FIRST_SEAT, #ARGV, 2 do
  local seat, reservation = ARGV[i], ARGV[i + 1]
  if redis.call('GETBIT', sold, seat) == 1 then
    return { 'sold', seat }
  end
  local seat_price, ends_ms = price, tonumber(redis.call('ZSCORE', held, seat) or 0)
  if ends_ms > now_ms then
    local record = redis.call('HGET', hold, seat) or ''
    local kept, by_place, by_user, kept_price = string.match(record, '^([^:]+):(%d+):(%d+):(%d+):')
    if by_place ~= place or by_user ~= user then
      return { 'taken', seat }
    end
    if kept ~= reservation then
      repeated[seat] = kept
    end
    reservation, seat_price = kept, kept_price
  else
    lapsed = lapsed + (ends_ms > 0 and 1 or 0)
    fresh[#fresh + 1] = { seat = seat, reservation = reservation, lapsed = ends_ms > 0 }
    ends_ms = deadline_ms
  end
  for _, field in ipairs({ date, seat, reservation, seat_price, ends_ms }) do
    answer[#answer + 1] = field
  end
end

local stale, entries = {}, {}
local session_ends_ms = tonumber(promoted_ms) + session_max_ms
if #fresh > 0 then
  local first_key, live = {}, 0
  for i = FIRST_DATE, #KEYS, 2 do
    first_key[string.sub(KEYS[i], -DATE_LENGTH)] = i
  end
  entries = redis.call('HGETALL', holds)
  for i = 1, #entries, 2 do
    local key = first_key[string.sub(entries[i], 1, DATE_LENGTH)]
    local seat = string.sub(entries[i], DATE_LENGTH + 2)
    local record = key and redis.call('HGET', KEYS[key + 1], seat)
    local ends_ms = key and tonumber(redis.call('ZSCORE', KEYS[key], seat) or 0)
    if record and ends_ms > now_ms and string.match(record, '^[^:]+') == entries[i + 1] then
      live = live + 1
    else
      stale[#stale + 1] = entries[i]
    end
  end
  if live + #fresh > seats_max then
    return { 'limit', live }
  elseif hard_ms > session_ends_ms then
    return { 'session_ending', session_ends_ms }
  end
end

for seat, reservation in pairs(repeated) do
  redis.call('HSET', hold, 'again:' .. seat, reservation)
end
if #fresh == 0 then
  return answer
end
-- As digits: Redis itself takes much longer to write a number of Lua.
local deadline, hard = string.format('%d', deadline_ms), string.format('%d', hard_ms)
for _, field in ipairs(stale) do
  redis.call('HDEL', holds, field)
end
for _, new in ipairs(fresh) do
  local record = { new.reservation, place, user, price, hard }
  redis.call('ZADD', held, deadline, new.seat)
  redis.call('HSET', hold, new.seat, table.concat(record, ':'))
  if new.lapsed then
    redis.call('HDEL', hold, 'again:' .. new.seat)
  end
  redis.call('HSET', holds, date .. ':' .. new.seat, new.reservation)
end
-- A new key has no end, and GT takes it for one that never ends.
redis.call('PEXPIREAT', holds, hard, #entries == 2 * #stale and 'NX' or 'GT')
redis.call('SET', version, version_id)
redis.call('HINCRBY', stats, 'held', #fresh)
if lapsed > 0 then
  redis.call('HINCRBY', stats, 'lapsed', lapsed)
end
local until_ms = math.max(token_ends_ms, math.min(hard_ms + token_extra_ms, session_ends_ms))
local token_ends = string.format('%d', until_ms)
if until_ms > token_ends_ms then
  redis.call('ZADD', active, 'XX', token_ends, place)
end
redis.call('SET', token, user .. ':2:' .. promoted_ms, 'PXAT', token_ends)
return answer
