--[[
payments/cancel: ends one attempt to pay that PostgreSQL has definitely refused.

Why a script: to be timed and repeated like the other steps of the protocol. It removes this attempt
only: another one of the same token may be under way, and the holds keep the deadlines that `begin`
gave them.

KEYS
  [1] paying   zset  attempt -> lease end ms

ARGV
  [1] attempt  id, as given to `begin`

Returns {"cancelled", count}: 1, or 0 if the attempt was not there (any more).

A repeat finds nothing to remove. Cost: O(log n).
]]
local paying = KEYS[1]
local attempt = ARGV[1]

return { 'cancelled', redis.call('ZREM', paying, attempt) }
