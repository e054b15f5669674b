-- Notes that a replica is there. Gives whether it was known, how many there are, the time in milliseconds, and how many have said so since a
-- time in seconds.
local time = redis.call('TIME')
local now, kept = tonumber(time[1]), tonumber(ARGV[2])
local was_known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - kept)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], kept * 2)
local fresh = redis.call('ZCOUNT', KEYS[1], ARGV[3], '+inf')
return { was_known, redis.call('ZCARD', KEYS[1]), now * 1000 + math.floor(tonumber(time[2]) / 1000), fresh }
