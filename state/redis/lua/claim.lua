-- Claims a challenge: of any number that try, one owner gets it.
-- KEYS: answer:ID, lock:ID, answers, rate, rate:CA
-- ARGV: ID, owner, answer, life of the lock (ms), life of a count (ms), pending:KEY, CA,
--       version, the largest answer
-- Returns ok, busy, gone, done with the phase and the answer, or newer with an answer
-- of a newer version.
--
-- The pending record is no KEY, because Redis wants the right to write for each of
-- those, and the mail half only reads it. It has the same hash tag.
local found, record = pcall(cjson.decode, redis.call('HGET', ARGV[6], ARGV[7]) or '')
if not found or type(record) ~= 'table' or record.id ~= ARGV[1] then
  return {'gone'}
end

local a = redis.call('HMGET', KEYS[1], 'phase', 'owner', 'json')
local phase, owner, json = a[1], a[2], a[3]
if json and #json > tonumber(ARGV[9]) then
  json = '?' -- foreign
end
local known, last = pcall(cjson.decode, json or '')
if known and type(last) == 'table' and (tonumber(last.version) or 0) > tonumber(ARGV[8]) then
  return {'newer', json}
end
if phase == 'claimed' and owner == ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
  return {'ok'} -- the reply to the same question was lost
end
if phase == 'sent' or phase == 'unknown' then
  return {'done', phase, json or ''}
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'busy'}
end
if phase == 'sending' then
  return {'done', phase, json or ''} -- its process died: perhaps it was sent
end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local before = ''
if phase == 'failed' then
  before = json or ''
end
redis.call('HSET', KEYS[1], 'json', ARGV[3], 'phase', 'claimed', 'owner', ARGV[2], 'before', before)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
redis.call('ZADD', KEYS[3], now, ARGV[1])
for i = 4, 5 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - tonumber(ARGV[5]))
  redis.call('ZADD', KEYS[i], now, ARGV[2])
end
return {'ok'}
