-- Removes the record of an address and a CA.
-- KEYS: pending:KEY, pending
-- ARGV: KEY, CA, channel, version, note:, the order ("": any)
-- What a newer version wrote stays.
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  local found, record = pcall(cjson.decode, redis.call('HGET', KEYS[1], ARGV[2]) or '')
  local whole = found and type(record) == 'table'
  local others = whole and ARGV[6] ~= '' and record.id ~= ARGV[6]
  if not others and (not whole or (tonumber(record.version) or 0) <= tonumber(ARGV[4])) then
    redis.call('HDEL', KEYS[1], ARGV[2])
    if whole and type(record.id) == 'string' then
      redis.call('DEL', ARGV[5] .. record.id) -- what was noted about it; it has the same hash tag
    end
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
