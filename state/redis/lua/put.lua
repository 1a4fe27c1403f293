-- Writes the record of an address and a CA.
-- KEYS: pending:KEY, pending, since
-- ARGV: KEY, CA, record, expiry (ms, 0: never), most CAs at an address, channel, version,
--   the order whose record may be replaced ("": any)
-- Returns for how long somebody has been waiting (ms), -1: too many CAs, or a record
-- of a newer version or another order that is there.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1]) -- foreign
end
local old = redis.call('HGET', KEYS[1], ARGV[2])
local found, record = pcall(cjson.decode, old or '')
if found and type(record) == 'table' and (tonumber(record.version) or 0) > tonumber(ARGV[7]) then
  return old
end
if found and type(record) == 'table' and ARGV[8] ~= '' and type(record.id) == 'string' and record.id ~= ARGV[8] then
  return old
end
if not old and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then
  return -1
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local age = 0
local since = tonumber(redis.call('GET', KEYS[3]))
if since and since <= now and redis.call('ZCARD', KEYS[2]) > 0 then
  age = now - since
else
  redis.call('SET', KEYS[3], now)
end

-- The key lives as long as the last of its records, and readers look at each one's.
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
local expiry = tonumber(ARGV[4])
if redis.call('HLEN', KEYS[1]) > 1 and expiry > 0 then
  local others = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if others == 'inf' then
    expiry = 0
  elseif others and tonumber(others) > expiry then
    expiry = tonumber(others)
  end
end
if expiry > 0 then
  redis.call('PEXPIREAT', KEYS[1], expiry)
  redis.call('ZADD', KEYS[2], expiry, ARGV[1])
else
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[2], '+inf', ARGV[1])
end
redis.call('PUBLISH', ARGV[6], ARGV[1])
return age
