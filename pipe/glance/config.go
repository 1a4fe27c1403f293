package glance

// plainConfig tells whether a configuration file has nothing in it but comments and
// a few settings, each once, in their simplest form and with values that are legal.
// cli.ReadFile takes each such file, which a fuzz target checks.
func plainConfig(file []byte) bool {
	var seen [len(settings)]bool
	smime := false
	for len(file) > 0 {
		end := lineEnd(file, 0)
		if end < 0 {
			return false
		}
		line := trim(file[:end-1])
		file = file[end:]
		switch {
		case !isText(line):
			return false
		case len(line) == 0 || line[0] == '#':
		case string(line) == "[smime]" && !smime:
			smime = true
		default:
			i, value := setting(line)
			if i < 0 || seen[i] || smime != (settings[i] == "roots") || !legalSetting(settings[i], value) {
				return false
			}
			seen[i] = true
		}
	}
	return true
}

// settings are the keys that are known here.
var settings = [...]string{"state", "smtp", "helo", "resolver", "server", "contact", "listen", "metrics", "roots"}

// setting reads key = "value" and returns which it is, -1 for none.
func setting(line []byte) (i int, value string) {
	eq := 0
	for eq < len(line) && line[eq] != '=' {
		eq++
	}
	if eq == len(line) {
		return -1, ""
	}
	key, quoted := string(trim(line[:eq])), trim(line[eq+1:])
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return -1, ""
	}
	value = string(quoted[1 : len(quoted)-1])
	for i := range len(value) {
		if value[i] == '"' || value[i] == '\\' {
			return -1, ""
		}
	}
	for i, name := range settings {
		if key == name {
			return i, value
		}
	}
	return -1, ""
}

func legalSetting(key, value string) bool {
	switch key {
	case "smtp", "helo", "resolver":
		return legal("--"+key, value)
	case "state":
		// Other URLs, and what could be taken for one, could hold a password, which not
		// everybody may read.
		return len(value) > 1 && value[0] == '/' && value[1] != '/' && index(value, ':') == len(value) || isRedis(value)
	}
	return len(value) > 0
}

func trim(line []byte) []byte {
	for len(line) > 0 && isSpace(line[0]) {
		line = line[1:]
	}
	for len(line) > 0 && isSpace(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	return line
}

func isText(line []byte) bool {
	for _, c := range line {
		if !isPrint(c) && !isSpace(c) {
			return false
		}
	}
	return true
}
