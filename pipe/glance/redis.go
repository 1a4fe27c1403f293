package glance

// isRedis takes the URL of a Redis in its usual form, without a password:
// redis://USER@HOST:PORT/DB?password-file=/FILE, where all but HOST may be missing.
func isRedis(s string) bool {
	rest, ok := after(s, "redis://")
	if !ok {
		if rest, ok = after(s, "rediss://"); !ok {
			return false
		}
	}
	if n := index(rest, '@'); n < len(rest) {
		if !isName(rest[:n], "-_.") {
			return false
		}
		rest = rest[n+1:]
	}
	if n := index(rest, '?'); n < len(rest) {
		file, ok := after(rest[n+1:], "password-file=/")
		if !ok || !isName(file, "-_./") {
			return false
		}
		rest = rest[:n]
	}
	if n := index(rest, '/'); n < len(rest) {
		if len(rest) != n+2 || rest[n+1] < '0' || rest[n+1] > '9' {
			return false
		}
		rest = rest[:n]
	}
	return rest != "" && isHostPort(rest, false)
}

// after returns what comes after the beginning of s.
func after(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

// index returns where a character is, or the length of s.
func index(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return len(s)
}

// isName tells whether s is of letters, digits and some other characters.
func isName(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && index(others, c) == len(others) {
			return false
		}
	}
	return len(s) > 0
}
