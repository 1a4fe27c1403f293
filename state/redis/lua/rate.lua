-- Counts the claims of the last time.
-- KEYS: rate, rate:CA
-- ARGV: the time (ms)
local t = redis.call('TIME')
local since = string.format('(%.0f', t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(ARGV[1]))
return {redis.call('ZCOUNT', KEYS[1], since, '+inf'), redis.call('ZCOUNT', KEYS[2], since, '+inf')}
