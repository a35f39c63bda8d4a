--[[
payments/seal: ends a rebuild: writes the live settings back and sets the epoch, last of all. Soon
after, the other servers write back what they remember: the one that rebuilt may have just started.

Why a script: from the moment the epoch is there, other servers trust the sold set and the settings.

KEYS
  [1] rebuild   string  id of the rebuild under way; then, for a while, the epoch that it ended with
  [2] epoch     string  set
  [3] settings  hash    live knobs; fields that exist are left alone

ARGV
  [1] id       of this rebuild; "" from a server that did not rebuild
  [2] epoch    new, random, from the caller; the one that is set from a server that did not rebuild
  [3] late_ms  > 0, how long other servers may write back settings from now on
  [4..]        field, value of each remembered setting, at most 100 pairs

Returns
  {"sealed"}  the epoch is set; the settings are written back, unless it was set long ago
  {"lost"}    nothing changed: this rebuild is no longer the one under way

A server that was away for longer does not write back: an operator may have changed his mind since.
A repeat finds its own epoch and answers the same. Cost: O(n) for n settings.
]]
local rebuild, epoch, settings = KEYS[1], KEYS[2], KEYS[3]
local id, epoch_id, late_ms = ARGV[1], ARGV[2], ARGV[3]
local FIRST_SETTING = 4

local is_set = redis.call('GET', epoch) == epoch_id
local is_mine = redis.call('GET', rebuild) == (is_set and epoch_id or id)
if not is_set and not is_mine then
  return { 'lost' }
end
if is_mine then
  for i = FIRST_SETTING, #ARGV, 2 do
    redis.call('HSETNX', settings, ARGV[i], ARGV[i + 1])
  end
end
if not is_set then
  redis.call('SET', epoch, epoch_id)
  redis.call('SET', rebuild, epoch_id, 'PX', late_ms)
end
return { 'sealed' }
