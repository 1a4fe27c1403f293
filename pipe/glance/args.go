package glance

// program is what the process has to be called: a test binary is none of ours.
const program = "postseal-pipe"

// plain tells whether a command line, its words ended by NUL, has nothing in it but
// flags that say nothing about ordinary mail, with values that are legal.
func plain(line []byte) bool {
	name, line := word(line)
	if base(name) != program {
		return false
	}
	for len(line) > 0 {
		var flag, value string
		flag, line = word(line)
		if flag, value = cut(flag); value == "" {
			value, line = word(line)
		}
		if value == "" || value[0] == '-' || !legal(flag, value) {
			return false
		}
	}
	return true
}

func word(line []byte) (first string, rest []byte) {
	for i, c := range line {
		if c == 0 {
			return string(line[:i]), line[i+1:]
		}
	}
	return string(line), nil
}

func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// cut splits --flag=value.
func cut(arg string) (flag, value string) {
	for i := range len(arg) {
		if arg[i] == '=' {
			return arg[:i], arg[i+1:]
		}
	}
	return arg, ""
}

func legal(flag, value string) bool {
	switch flag {
	case "--state":
		return value[0] == '/' || isRedis(value)
	case "--smtp":
		const scheme = "smtp://"
		return len(value) > len(scheme) && value[:len(scheme)] == scheme && isHostPort(value[len(scheme):], false)
	case "--helo":
		return isGreeting(value)
	case "--resolver":
		return isHostPort(value, true)
	}
	return false
}

// isHostPort takes plain names and addresses with a plain port, as package hostport
// does.
func isHostPort(s string, needPort bool) bool {
	host := s
	for i := range len(s) {
		if s[i] == ':' {
			host = s[:i]
			break
		}
	}
	if !isHost(host) || host == s {
		return isHost(host) && !needPort
	}
	port := s[len(host)+1:]
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return 1 <= len(port) && len(port) <= 4 && port[0] != '0'
}

// isHost takes names whose labels all start with a letter, and IPv4 addresses; there
// are others.
func isHost(s string) bool {
	digits, dots, value, start := true, 0, 0, true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && !start:
			dots, value, start = dots+1, 0, true
			continue
		case c >= '0' && c <= '9' && (digits || !start):
			if digits && !start && value == 0 {
				return false
			}
			if value = 10*value + int(c-'0'); digits && value > 255 {
				return false
			}
		case c|0x20 >= 'a' && c|0x20 <= 'z' && (!digits || i == 0), c == '-' && !start && !digits:
			digits, value = false, 0
		default:
			return false
		}
		start = false
	}
	return !start && len(s) < 64 && (!digits || dots == 3)
}

// isGreeting takes fully qualified names for EHLO.
func isGreeting(s string) bool {
	dots := 0
	for i := 1; i < len(s); i++ {
		if s[i] != '.' {
			continue
		}
		if dots++; s[i-1] == '-' {
			return false
		}
	}
	return isHost(s) && dots > 0 && s[len(s)-1] != '-' && (s[0] < '0' || s[0] > '9')
}
