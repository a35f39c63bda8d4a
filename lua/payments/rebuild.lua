--[[
payments/rebuild: asks to be the one server that rebuilds the sold set of a concert.

Why a script: "no epoch, so it must be rebuilt" and "by me" must be one step; as two, a server could
start over after another one has finished.

KEYS
  [1] rebuild  string  id of the rebuild under way, with a TTL; for a while after it, another text
  [2] epoch    string  id of the last complete rebuild

ARGV
  [1] id       of this rebuild, from the caller
  [2] lock_ms  > 0, how long it may go without a sign of life

Returns
  {"locked"}          this id rebuilds now
  {"busy"}            nothing changed: another id does
  {"present", epoch}  nothing changed: there is nothing to rebuild

A repeat with the same id answers the same and renews the TTL. Cost: O(1).
]]
local rebuild, epoch = KEYS[1], KEYS[2]
local id, lock_ms = ARGV[1], ARGV[2]

local present = redis.call('GET', epoch)
if present then
  return { 'present', present }
end
local current = redis.call('GET', rebuild)
if current and current ~= id then
  return { 'busy' }
end
redis.call('SET', rebuild, id, 'PX', lock_ms)
return { 'locked' }
