-- Removes answers that had their time, with what was noted about them.
-- KEYS: answers
-- ARGV: until when (ms), how many, answer:, note:, their time (ms)
-- Returns how many it removed. The other keys have the same hash tag.
--
-- A score far ahead is forged and would keep its member for ever. That leaves the set alone:
-- the answer itself may be real, and then it has to stay.
local t = redis.call('TIME')
local ahead = string.format('(%.0f', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[5]))
while true do
  local forged = redis.call('ZRANGEBYSCORE', KEYS[1], ahead, '+inf', 'LIMIT', 0, ARGV[2])
  if #forged == 0 then
    break
  end
  redis.call('ZREM', KEYS[1], unpack(forged))
end

local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('DEL', ARGV[3] .. id)
  redis.call('DEL', ARGV[4] .. id)
  redis.call('ZREM', KEYS[1], id)
end
return #ids
