-- Returns the mail halves that were last heard of, each with its time (ms).
-- KEYS: alive
-- ARGV: how many, how much of a name
local found = redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  found[i] = string.sub(found[i], 1, tonumber(ARGV[2]))
end
return found
