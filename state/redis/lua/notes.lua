-- Reads notes.
-- KEYS: note:ID and so on
-- ARGV: the largest note
-- Returns for each key the note and its count; ? for a note that is foreign.
local found = {}
for i, key in ipairs(KEYS) do
  local n = redis.pcall('HMGET', key, 'json', 'count')
  if n.err or n[1] and #n[1] > tonumber(ARGV[1]) then
    n = {'?'}
  end
  found[2 * i - 1] = n[1] or ''
  found[2 * i] = string.sub(n[2] or '', 1, 20)
end
return found
