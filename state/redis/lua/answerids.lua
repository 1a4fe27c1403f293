-- Returns the ids of the latest answers. Other members of the set are somebody's mistake
-- or worse, and of any size.
-- KEYS: answers
-- ARGV: how many, the longest id
local ids = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)) do
  if #id <= tonumber(ARGV[2]) then
    ids[#ids + 1] = id
  end
end
return ids
