--[[
queue/promote: let the next people in, as many as pace and capacity allow.

Why a script: every server runs this every second with no leader, so what is free, what the pace
allows and who is next must be read and changed in one step.

KEYS
  [1] run       string  the turn that this line was settled in: see queue/settle
  [2] epoch     string  id of the last rebuild from PostgreSQL
  [3] waiting   zset    <place> or <place>:<user> -> place
  [4] active    zset    place -> expiry in ms
  [5] pace      hash    at: ms of the last tick; credit: promotions allowed since, at most batch
  [6] settings  hash    live knobs; a value that is no whole number in range is ignored, and the
                        configuration counts, as for one that is missing
  [7] stats     hash    counters
  [8] dead      zset    place or <from>-<to> -> ordinal of its death
  [9] draw      hash    of a lottery: see queue/draw
  [10..] sold, held  for each date: bitmap, seats sold; zset, seat -> deadline in ms, or the end of
                the clock of a seat that is withheld from the sale
  and, built here, the token of every promoted place

ARGV
  [1] run, [2] epoch  what the caller has verified against PostgreSQL
  [3] capacity        integer >= 0, the most active tokens
  [4] batch           integer >= 0, the most promotions per second
  [5] claim_ttl_ms    integer > 0, how long a promoted token lives until its first use
  [6] opens_at_ms     Unix ms, nobody is promoted before; 0 if open from the start
  [7] closes_at_ms    Unix ms, nobody is promoted from then on; 0 if it never closes
  [8] seats_total     integer > 0, seats of all dates together
  [9] token_prefix    what the name of a token's key starts with
  [10] draw           id of the draw whose order the caller knows, "" if it knows none
  [11] start          integer >= 0, the rank of the first of the following places, the first of all is 0
  [12..] places       of the draw, in its order, at most 128; more than none if ranks are left

Returns
  {"promoted", count, expired, active, more, cursor}
     expired: expired tokens dropped now; active: live ones, afterwards
     more: 1 if a call now could do more (an item limit was reached)
     cursor: how many ranks of the draw are done; 0 without one
  {"closed", why, expired, active, more}  nobody was promoted; why: "paused", "not_open", "over" or
                                          "sold_out": each seat is sold or withheld
  {"undrawn", expired, active, more}      nobody was promoted: somebody of a lottery waits, and it is
                                          not drawn, or the caller does not know its order; or it is
                                          to be frozen
  {"not_ready"}                           nothing changed: another generation
  {"unsettled"}                           nothing changed: the line was settled in another turn

Repeated, it is another tick: the pace bounds it. Cost: <= 64 promotions, 64 expiries and 128 looks.
]]
local run, epoch, waiting, active = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pace, settings, stats, dead, draw = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local claim_ttl_ms, seats_total, token_prefix = tonumber(ARGV[5]), tonumber(ARGV[8]), ARGV[9]
local start = tonumber(ARGV[11])
local FIRST_DATE, FIRST_PLACE, ITEMS_MAX, TRIM_SAMPLE = 10, 12, 64, 64
local KNOB_MAX, MOMENT_MAX = 10000000, 253402300799999

if redis.call('GET', run) ~= ARGV[1] or redis.call('GET', epoch) ~= ARGV[2] then
  return { 'not_ready' }
end
if string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') ~= ARGV[1] then
  return { 'unsettled' }
end

local function digits(number)
  return string.format('%d', number)
end
local function knob(text, otherwise, max)
  local number = text and string.match(text, '^%d+$') and tonumber(text)
  return (number and number <= max) and number or tonumber(otherwise)
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local knobs = redis.call('HMGET', settings, 'capacity', 'batch', 'paused', 'opens_at', 'closes_at')
local capacity, batch = knob(knobs[1], ARGV[3], KNOB_MAX), knob(knobs[2], ARGV[4], KNOB_MAX)
local opens_at_ms = knob(knobs[4], ARGV[6], MOMENT_MAX)
local closes_at_ms = knob(knobs[5], ARGV[7], MOMENT_MAX)

-- What is expired stopped counting the moment the clock said so; dropping it only tidies up.
local expired = redis.call('ZRANGEBYSCORE', active, '-inf', digits(now_ms), 'LIMIT', 0, ITEMS_MAX)
if #expired > 0 then
  redis.call('ZREM', active, unpack(expired))
  redis.call('HINCRBY', stats, 'expired', #expired)
end
local live = redis.call('ZCOUNT', active, '(' .. digits(now_ms), '+inf')
local more = #expired == ITEMS_MAX and 1 or 0

local gone = 0
-- In a cluster one more key follows: see the runner of scripts.
for i = FIRST_DATE, #KEYS - 1, 2 do
  gone = gone + redis.call('BITCOUNT', KEYS[i]) + redis.call('ZCOUNT', KEYS[i + 1], MOMENT_MAX, '+inf')
end
local why = (knobs[3] == '1' and 'paused')
  or (now_ms < opens_at_ms and 'not_open')
  or (closes_at_ms > 0 and now_ms >= closes_at_ms and 'over')
  or (gone >= seats_total and 'sold_out')
if why then
  return { 'closed', why, #expired, live, more }
end

-- A lottery's people come in the order of its draw, and nobody before there is one. Others come in order
-- of place: when none of those waits, drawn or not, or first if Redis forgot that they had gone before.
local drawn = redis.call('HMGET', draw, 'id', 'people', 'cursor', 'last', 'round', 'value', 'segments')
local people, cursor = tonumber(drawn[2] or nil), tonumber(drawn[3] or 0)
local is_drawn = people and (drawn[5] == '' or drawn[6])
local head = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or nil) or math.huge
if people and head > tonumber(drawn[4]) then
  cursor = people
end
local in_draw = people and cursor < people
if drawn[1] and (not people or (in_draw and (not is_drawn or drawn[1] ~= ARGV[10]))) then
  return { 'undrawn', #expired, live, more }
end

-- A clock that went back gives no credit, and starts the count again from where it is.
local kept = redis.call('HMGET', pace, 'at', 'credit')
local elapsed_ms = math.max(0, math.min(1000, now_ms - (tonumber(kept[1] or nil) or 0)))
local credit = math.min(batch, (tonumber(kept[2] or nil) or 0) + batch * elapsed_ms / 1000)
local wanted = math.max(0, math.min(math.floor(credit), capacity - live))
local most, next_up = math.min(wanted, ITEMS_MAX), {}
local first = in_draw and (string.match(drawn[7] or '', '^%d+') or '0') or 'inf'
if in_draw and head >= tonumber(first) then
  -- Who is behind names ranks that are done; who is ahead, because Redis forgot some, names none.
  local at = FIRST_PLACE + cursor - start
  while #next_up < most and at >= FIRST_PLACE and ARGV[at] do
    next_up[#next_up + 1] = redis.call('ZRANGEBYSCORE', waiting, ARGV[at], ARGV[at])[1]
    at, cursor = at + 1, cursor + 1
  end
elseif most > 0 then
  next_up = redis.call('ZRANGEBYSCORE', waiting, '-inf', '(' .. first, 'LIMIT', 0, most)
end
local count = #next_up
if people then
  redis.call('HSET', draw, 'cursor', digits(cursor))
end
redis.call('HSET', pace, 'at', digits(now_ms), 'credit', string.format('%.6f', credit - count))

if count > 0 then
  local expires_ms, unclaimed, index = digits(now_ms + claim_ttl_ms), ':0:' .. digits(now_ms), {}
  for i = 1, count do
    local place, user = string.match(next_up[i], '^(%d+):?(%d*)$')
    redis.call('SET', token_prefix .. place, user .. unclaimed, 'PXAT', expires_ms)
    index[#index + 1] = expires_ms
    index[#index + 1] = place
  end
  redis.call('ZREM', waiting, unpack(next_up))
  redis.call('ZADD', active, unpack(index))
  redis.call('HINCRBY', stats, 'promoted', count)
end

-- A dead number below the head matters to nobody, unless it has a rank that is not done yet. The
-- newest stays: ordinals must not repeat.
head = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or nil) or math.huge
local newest = not (people and cursor < people) and redis.call('ZREVRANGE', dead, 0, 0)[1]
local passed = {}
for _, entry in ipairs(newest and redis.call('ZRANDMEMBER', dead, TRIM_SAMPLE) or {}) do
  if entry ~= newest and tonumber(string.match(entry, '(%d+)$')) < head then
    passed[#passed + 1] = entry
  end
end
if #passed > 0 then
  redis.call('ZREM', dead, unpack(passed))
end

if wanted > count and (in_draw or count == ITEMS_MAX) then
  more = 1
end
return { 'promoted', count, #expired, live + count, more, cursor }
