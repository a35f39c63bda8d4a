--[[
queue/clear: everybody who waits loses their place. Whoever is active goes on, and whoever comes next
stands in a new line.

Why a script: the end of the line, the count of those who were in it and the note of it are one step,
or somebody could be counted twice, or not at all.

KEYS
  [1] cleared  string  answer of this call, 5 s
  [2] waiting  zset    <place> or <place>:<user> -> place
  [3] stats    hash    counters
  [4] audit    stream  what operators did

ARGV
  [1] request  the operator's request, for the note
  [2] kept_ms  integer > 0, how long the answer is kept for a re-send

Returns
  {"cleared", left}  how many lost their place; of nobody nothing is noted

No number is given twice: seq goes on. Nor is one noted as dead: a place that neither waits nor has a
token is gone, and all of these are below the head of whatever line comes next. Nobody of a lottery
waits any more then, so its draw is done: see queue/promote.

A repeat is safe: the same call answers the same for kept_ms, whoever has come since.
Cost: O(1): the memory is given back beside.
]]
local cleared, waiting, stats, audit = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local request, kept_ms = ARGV[1], ARGV[2]
local ENTRIES_MAX = 1000

local answered = redis.call('GET', cleared)
if answered then
  return { 'cleared', answered }
end

local left = redis.call('ZCARD', waiting)
if left > 0 then
  redis.call('UNLINK', waiting)
  redis.call('HINCRBY', stats, 'left', left)
  redis.call('XADD', audit, 'MAXLEN', '~', ENTRIES_MAX, '*',
    'request', request, 'action', 'cleared', 'left', left)
end
redis.call('SET', cleared, left, 'PX', kept_ms)
return { 'cleared', left }
