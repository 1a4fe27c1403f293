-- Ends a claim as if it had never been. The key stays, empty: the mail half needs no
-- right to remove answers.
-- KEYS: answer:ID, lock:ID, rate, rate:CA
-- ARGV: owner
local a = redis.call('HMGET', KEYS[1], 'owner', 'before')
if a[1] ~= ARGV[1] then
  return 0
end
local phase = ''
if a[2] and a[2] ~= '' then
  phase = 'failed'
end
redis.call('HSET', KEYS[1], 'phase', phase, 'json', a[2] or '', 'owner', '', 'before', '')
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
