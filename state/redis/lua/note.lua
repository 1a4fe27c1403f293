-- Notes that a challenge was refused or put off, at most once in a time.
-- KEYS: note:ID
-- ARGV: note, the time (ms), its life (ms), channel, ID
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or '')
if at and now >= at and now - at < tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'json', ARGV[1], 'at', now)
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
