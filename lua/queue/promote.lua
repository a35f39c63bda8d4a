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
  [9..] sold    bitmap  seats sold, one key per date
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

Returns
  {"promoted", count, expired, active, more}
     expired: expired tokens dropped now; active: live ones, afterwards
     more: 1 if a call now could do more (an item limit was reached)
  {"closed", why, expired, active, more}  nobody was promoted; why: "paused", "not_open", "over" or
                                          "sold_out"
  {"not_ready"}                           nothing changed: another generation
  {"unsettled"}                           nothing changed: the line was settled in another turn

Repeated, it is another tick: the pace bounds it. Cost: <= 64 promotions and 64 expiries.
]]
local run, epoch, waiting, active = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pace, settings, stats, dead = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local claim_ttl_ms, seats_total, token_prefix = tonumber(ARGV[5]), tonumber(ARGV[8]), ARGV[9]
local FIRST_SOLD, ITEMS_MAX, TRIM_SAMPLE = 9, 64, 64
local KNOB_MAX, MOMENT_MAX = 10000000, 253402300799999

if redis.call('GET', run) ~= ARGV[1] or redis.call('GET', epoch) ~= ARGV[2] then
  return { 'not_ready' }
end
if string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') ~= ARGV[1] then
  return { 'unsettled' }
end

local function digits(number)
  return string.format('%.0f', number)
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

local sold = 0
for i = FIRST_SOLD, #KEYS do
  sold = sold + redis.call('BITCOUNT', KEYS[i])
end
local why = (knobs[3] == '1' and 'paused')
  or (now_ms < opens_at_ms and 'not_open')
  or (closes_at_ms > 0 and now_ms >= closes_at_ms and 'over')
  or (sold >= seats_total and 'sold_out')
if why then
  return { 'closed', why, #expired, live, more }
end

-- A clock that went back gives no credit, and starts the count again from where it is.
local kept = redis.call('HMGET', pace, 'at', 'credit')
local elapsed_ms = math.max(0, math.min(1000, now_ms - (tonumber(kept[1] or nil) or 0)))
local credit = math.min(batch, (tonumber(kept[2] or nil) or 0) + batch * elapsed_ms / 1000)
local wanted = math.max(0, math.min(math.floor(credit), capacity - live))
local next_up = wanted > 0 and redis.call('ZPOPMIN', waiting, math.min(wanted, ITEMS_MAX)) or {}
local count = #next_up / 2
redis.call('HSET', pace, 'at', digits(now_ms), 'credit', string.format('%.6f', credit - count))

if count > 0 then
  local expires_ms, unclaimed, index = digits(now_ms + claim_ttl_ms), ':0:' .. digits(now_ms), {}
  for i = 1, #next_up, 2 do
    local place, user = string.match(next_up[i], '^(%d+):?(%d*)$')
    redis.call('SET', token_prefix .. place, user .. unclaimed, 'PXAT', expires_ms)
    index[#index + 1] = expires_ms
    index[#index + 1] = place
  end
  redis.call('ZADD', active, unpack(index))
  redis.call('HINCRBY', stats, 'promoted', count)
end

-- A dead number below the head matters to nobody. The newest stays: ordinals must not repeat.
local head = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or nil) or math.huge
local newest = redis.call('ZREVRANGE', dead, 0, 0)[1]
local passed = {}
for _, entry in ipairs(newest and redis.call('ZRANDMEMBER', dead, TRIM_SAMPLE) or {}) do
  if entry ~= newest and tonumber(string.match(entry, '(%d+)$')) < head then
    passed[#passed + 1] = entry
  end
end
if #passed > 0 then
  redis.call('ZREM', dead, unpack(passed))
end

if count == ITEMS_MAX and wanted > count then
  more = 1
end
return { 'promoted', count, #expired, live + count, more }
