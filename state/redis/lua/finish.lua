-- Records how a claim ended. The lock may be over: what was sent was sent.
-- KEYS: answer:ID, lock:ID, answers
-- ARGV: owner, phase, answer, ID, channel
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'phase', ARGV[2], 'json', ARGV[3], 'owner', ARGV[1], 'before', '')
redis.call('ZADD', KEYS[3], now, ARGV[4])
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
redis.call('PUBLISH', ARGV[5], ARGV[4])
return 1
