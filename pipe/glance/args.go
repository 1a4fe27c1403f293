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
	case "--resolver":
		return isHostPort(value, true)
	}
	return false
}

// isHostPort takes plain names and numbers with a plain port.
func isHostPort(s string, needPort bool) bool {
	host := len(s)
	for i := range len(s) {
		if c := s[i]; c == ':' && i > 0 {
			host = i
			break
		} else if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && (c != '-' || i == 0) {
			return false
		}
	}
	if host == len(s) {
		return !needPort
	}
	port := s[host+1:]
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return 1 <= len(port) && len(port) <= 4
}
