--[[
ops/sample: what a concert's sale is like at this moment; once a second it becomes a row of the last
hour.

Why a script: all numbers of a row must be of one moment, and of all servers that ask in one second
exactly one may write it.

KEYS
  [1] waiting   zset    <place> or <place>:<user> -> place
  [2] active    zset    place -> expiry in ms
  [3] stats     hash    counters
  [4] seq       int     last place given
  [5] series    stream  one row per second, the newest 3,600: its second in ms -> what is in Returns
  [6] servers   zset    server -> ms when it last sampled; forgotten after a minute
  [7] polls     hash    total: polls of all servers; server -> those that it has told of
  [8] draw      hash    of a lottery: see queue/draw
  [9..] sold:<date>, held:<date>   bitmap and zset of every date, in pairs, at most 40 pairs; a seat
                                   that is withheld has the score NEVER

ARGV
  [1] server    text, id of the server that asks
  [2] polls     integer >= 0, how often it was polled since it started
  [3] estimate  integer >= 0, seconds that somebody who comes now would be told to wait; "" = unknown

Returns
  {"sampled", now_ms, servers, waiting, active, held, withheld, sold, last, head, estimate, issued,
   promoted, claimed, expired, left, consumed, holds, released, lapsed, polls}
     servers: those seen within a minute; held: seats that people hold; last: the last place given, ""
     if there is none; head: the lowest place that waits, "" if there is none, or if a lottery says who
     is next; holds: what stats calls held

A repeat is safe: a second has one row, and polls that were told are not counted again.
Cost: O(size of the bitmaps + dates x log holds + servers that were forgotten, at most 64).
]]
local waiting, active, stats, seq = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local series, servers, polls, draw = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local server, server_polls, estimate = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local FIRST_DATE, ROWS_MAX, FORGOTTEN_MAX, SILENT_MS = 9, 3600, 64, 60000
local NEVER = '253402300799999'
local COUNTERS = {
  'issued', 'promoted', 'claimed', 'expired', 'left', 'consumed', 'held', 'released', 'lapsed',
}

local function digits(number)
  return string.format('%d', number)
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local second_ms = tonumber(time[1]) * 1000
local newest = redis.call('XREVRANGE', series, '+', '-', 'COUNT', 1)[1]
local is_due = not newest or tonumber(string.match(newest[1], '^%d+')) < second_ms

local sold, held, withheld = 0, 0, 0
-- In a cluster one more key follows: see the runner of scripts.
for i = FIRST_DATE, #KEYS - 1, 2 do
  sold = sold + redis.call('BITCOUNT', KEYS[i])
  held = held + redis.call('ZCOUNT', KEYS[i + 1], '(' .. digits(now_ms), '(' .. NEVER)
  withheld = withheld + redis.call('ZCOUNT', KEYS[i + 1], NEVER, '+inf')
end
local told = tonumber(redis.call('HGET', polls, server) or nil) or server_polls
local news = math.max(0, server_polls - told)
local total = (tonumber(redis.call('HGET', polls, 'total') or nil) or 0) + news
local silent_since = digits(now_ms - SILENT_MS)
local silent = redis.call('ZRANGEBYSCORE', servers, '-inf', silent_since, 'LIMIT', 0, FORGOTTEN_MAX)

-- As queue/promote: until all ranks of a lottery are done, or none of its people waits, the lowest
-- place is not the next.
local head = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or ''
local drawn = redis.call('HMGET', draw, 'id', 'people', 'cursor', 'last')
if drawn[1] and head ~= '' then
  local people = tonumber(drawn[2] or nil)
  local is_done = people and (tonumber(drawn[3] or 0) >= people or tonumber(head) > tonumber(drawn[4]))
  head = is_done and head or ''
end

local row = {
  'waiting', redis.call('ZCARD', waiting),
  'active', redis.call('ZCOUNT', active, '(' .. digits(now_ms), '+inf'),
  'held', held,
  'withheld', withheld,
  'sold', sold,
  'last', redis.call('GET', seq) or '',
  'head', head,
  'estimate', estimate,
}
for i, count in ipairs(redis.call('HMGET', stats, unpack(COUNTERS))) do
  row[#row + 1] = COUNTERS[i] == 'held' and 'holds' or COUNTERS[i]
  row[#row + 1] = count or '0'
end
row[#row + 1], row[#row + 2] = 'polls', digits(total)

if #silent > 0 then
  redis.call('ZREM', servers, unpack(silent))
  redis.call('HDEL', polls, unpack(silent))
end
redis.call('ZADD', servers, digits(now_ms), server)
redis.call('HSET', polls, server, digits(server_polls), 'total', digits(total))
if is_due then
  redis.call('XADD', series, 'MAXLEN', '=', ROWS_MAX, digits(second_ms) .. '-0', unpack(row))
end

local answer = { 'sampled', now_ms, redis.call('ZCARD', servers) }
for i = 2, #row, 2 do
  answer[#answer + 1] = row[i]
end
return answer
