-- Decides on the claim of a replica on one counter. One hash a counter: the begin of its window, and for each replica the number of its
-- last claim and what it was granted. Claims state what a replica has, so that one that comes twice, or never, changes no sum.
local id, number = ARGV[1], tonumber(ARGV[2])
local seconds, begin, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local claimed, least, wanted, parts = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local is_last = ARGV[10] == '1'

local now = tonumber(redis.call('TIME')[1])
local start = now - now % seconds
local written = string.format('%.0f', start)
if redis.call('HGET', KEYS[1], 'begin') ~= written then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'begin', written)
  redis.call('EXPIRE', KEYS[1], start + seconds - now + 1)
end

local own, others, ended, gone = 0, 0, 0, {}
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local last, granted = string.match(fields[at + 1], '^(%d+):(%d+)$')
  if fields[at] == id then
    -- A claim that was late: the replica has sent others since.
    if tonumber(last) >= number then return {} end
    own = tonumber(granted)
  elseif granted then
    others = others + tonumber(granted)
    if fields[at] == 'ended' then ended = tonumber(granted)
    elseif granted == '0' then gone[#gone + 1] = fields[at] end
  end
end
-- Replicas that hold nothing, most of which have ended, are forgotten before there are many.
if #gone > 32 then redis.call('HDEL', KEYS[1], unpack(gone)) end

local before = own
if claimed >= 0 and begin == start then before = claimed end
local sum = before + others
local rest = math.max(limit - sum, 0)
local granted = 0
if least > 0 and rest >= least then
  granted = math.min(math.max(wanted, math.floor(rest / parts)), rest)
end
if is_last then
  -- The number stays, so that a claim that comes twice is not added twice.
  redis.call('HSET', KEYS[1], 'ended', string.format('0:%.0f', ended + before), id, string.format('%.0f:0', number))
else
  redis.call('HSET', KEYS[1], id, string.format('%.0f:%.0f', number, before + granted))
end
return { start, before, granted, sum + granted }
