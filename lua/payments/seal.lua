--[[
payments/seal: ends a rebuild: writes the live settings back and sets the epoch, last of all.

Why a script: from the moment the epoch is there, other servers trust the sold set and the settings.

KEYS
  [1] rebuild   string  id of the rebuild under way; removed
  [2] epoch     string  set
  [3] settings  hash    live knobs; fields that exist are left alone

ARGV
  [1] id     of this rebuild
  [2] epoch  its new epoch, random, from the caller
  [3..]      field, value of each remembered setting, at most 100 pairs

Returns
  {"sealed"}  the epoch is set
  {"lost"}    nothing changed: this rebuild is no longer the one under way

A repeat finds its own epoch and answers the same. Cost: O(n) for n settings.
]]
local rebuild, epoch, settings = KEYS[1], KEYS[2], KEYS[3]
local id, epoch_id = ARGV[1], ARGV[2]
local FIRST_SETTING = 3

if redis.call('GET', epoch) == epoch_id then
  return { 'sealed' }
end
if redis.call('GET', rebuild) ~= id then
  return { 'lost' }
end
for i = FIRST_SETTING, #ARGV, 2 do
  redis.call('HSETNX', settings, ARGV[i], ARGV[i + 1])
end
redis.call('SET', epoch, epoch_id)
redis.call('DEL', rebuild)
return { 'sealed' }
