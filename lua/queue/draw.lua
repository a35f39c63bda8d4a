--[[
queue/draw: brings the lottery of a concert forward: commits to a seed before the first arrival,
freezes who takes part when the sale opens, and takes over the beacon's value, once each.

Why a script: "nobody has come yet" and "this is the seed" are one step, or a seed could be chosen by
who came; "the sale is open" and "these are the numbers given" are one step, or somebody late could
be drawn.

KEYS
  [1] draw      hash    id, commitment, sealed, round, committed_ms; once frozen: segments, people,
                        last, cursor, frozen_ms; value, once the beacon's value was posted: then by
                        queue/configure, or here if somebody wrote the setting by hand
  [2] run       string  the turn that this line was settled in: see queue/settle
  [3] epoch     string  id of the last rebuild from PostgreSQL
  [4] seq       int     last place given
  [5] waiting   zset    <place> or <place>:<user> -> place
  [6] skipped   zset    <from>-<to>, numbers that were never given -> to
  [7] settings  hash    live knobs

ARGV
  [1] opens_at_ms  Unix ms > 0, unless the live setting says otherwise
  [2] id           names the draw that the caller would commit to
  [3] commitment   hex digits: what seed and terms hash to
  [4] sealed       hex digits: the seed, for those who have the token key
  [5] round        the round of a public beacon whose value is to be mixed in, "" for none

Returns
  {"draw", {field, value, ...}}  the draw as it is now
  {"none"}       there is none, and there will be none: the sale is open or somebody has come
  {"unsettled"}  nothing changed: the line must be settled first, or the concert be rebuilt

A repeat is safe: what is committed, frozen or taken over stays. Cost: O(log n + ranges skipped), of
which at most 200 are kept.
]]
local draw, run, epoch, seq, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local skipped, settings = KEYS[6], KEYS[7]
local id, commitment, sealed, round = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local MOMENT_MAX, VALUE_DIGITS_MAX = 253402300799999, 128

local turn = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
local last = tonumber(redis.call('GET', seq) or nil)
if not last or redis.call('GET', run) ~= turn or redis.call('EXISTS', epoch) == 0 then
  return { 'unsettled' }
end

local function digits(number)
  return string.format('%d', number)
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local knobs = redis.call('HMGET', settings, 'opens_at', 'beacon')
local opens_at_ms = knobs[1] and string.match(knobs[1], '^%d+$') and tonumber(knobs[1])
if not opens_at_ms or opens_at_ms > MOMENT_MAX then
  opens_at_ms = tonumber(ARGV[1])
end
local is_open = now_ms >= opens_at_ms
local stored = redis.call('HMGET', draw, 'id', 'people', 'round', 'value')
local is_committed, is_frozen = stored[1], stored[2]

if not is_committed then
  if is_open or redis.call('ZCARD', waiting) > 0 then
    return { 'none' }
  end
  redis.call('HSET', draw, 'id', id, 'commitment', commitment, 'sealed', sealed, 'round', round,
    'committed_ms', digits(now_ms))
end

if is_committed and is_open and not is_frozen then
  -- From the first who waits to the last number given, without what was skipped.
  local head = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  local segments, people, from, final = {}, 0, tonumber(head or nil), 0
  local function add(first, to)
    if first <= to then
      segments[#segments + 1] = digits(first) .. '-' .. digits(to)
      people, final = people + to - first + 1, to
    end
  end
  if head then
    for _, range in ipairs(redis.call('ZRANGEBYSCORE', skipped, head, '+inf')) do
      local first, to = string.match(range, '^(%d+)-(%d+)$')
      add(from, tonumber(first) - 1)
      from = tonumber(to) + 1
    end
    add(from, last)
  end
  redis.call('HSET', draw, 'segments', table.concat(segments, ','), 'people', digits(people),
    'last', digits(final), 'cursor', '0', 'frozen_ms', digits(now_ms))
  is_frozen = true
end

local value = knobs[2]
if is_frozen and stored[3] ~= '' and not stored[4] and value
  and #value <= VALUE_DIGITS_MAX and string.match(value, '^%x+$') then
  redis.call('HSET', draw, 'value', value)
end
return { 'draw', redis.call('HGETALL', draw) }
