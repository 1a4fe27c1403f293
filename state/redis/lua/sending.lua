-- Goes on to "sending". Only the owner of a living lock may, so a process that slept
-- past its lock never sends.
-- KEYS: answer:ID, lock:ID
-- ARGV: owner, answer, life of the lock (ms)
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
local a = redis.call('HMGET', KEYS[1], 'phase', 'owner')
if a[2] ~= ARGV[1] or (a[1] ~= 'claimed' and a[1] ~= 'sending') then
  return 0
end
redis.call('HSET', KEYS[1], 'phase', 'sending', 'json', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return 1
