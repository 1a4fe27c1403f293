-- Counts the claims of the last time.
-- KEYS: rate, rate:CA
-- ARGV: the time, how far ahead a claim counts after the clock was set back (ms)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local since = string.format('(%.0f', now - tonumber(ARGV[1]))
local last = string.format('%.0f', now + tonumber(ARGV[2]))
return {redis.call('ZCOUNT', KEYS[1], since, last), redis.call('ZCOUNT', KEYS[2], since, last)}
