-- Reads answers as they stand now, the locks taken into account.
-- KEYS: answer:ID, lock:ID, and so on in pairs
-- ARGV: the largest answer
-- Returns for each pair the answer and 1 if its owner lives; false where there is none.
local found = {}
for i = 1, #KEYS, 2 do
  local json = redis.pcall('HGET', KEYS[i], 'json')
  if type(json) == 'table' or json and #json > tonumber(ARGV[1]) then
    json = '?' -- foreign
  end
  found[i] = json
  found[i + 1] = redis.call('EXISTS', KEYS[i + 1])
end
return found
