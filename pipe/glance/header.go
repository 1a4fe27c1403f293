package glance

// verdict is what is known of a message from the bytes that have come so far.
type verdict int

const (
	unfinished verdict = iota // the header block has not ended
	ordinary                  // no Subject of it is that of a challenge
	doubtful
)

// judge reads a header block from its start. What it calls ordinary is never a
// challenge to challenge.Candidate, which a fuzz target compares.
func judge(msg []byte) verdict {
	for start := 0; start < len(msg); {
		end := lineEnd(msg, start)
		if end < 0 {
			return unfinished
		}
		if isEmpty(msg[start:end]) {
			return ordinary
		}
		if isSubject(msg[start:end]) {
			for end < len(msg) && isSpace(msg[end]) {
				if end = lineEnd(msg, end); end < 0 {
					return unfinished
				}
			}
			if end == len(msg) {
				return unfinished // the next line may belong to it
			}
			if !harmless(msg[start+len(subject) : end]) {
				return doubtful
			}
		}
		start = end
	}
	return unfinished
}

// lineEnd returns where the line after the one at i starts, -1 if it has no end.
func lineEnd(msg []byte, i int) int {
	for ; i < len(msg); i++ {
		if msg[i] == '\n' {
			return i + 1
		}
	}
	return -1
}

func isEmpty(line []byte) bool {
	return len(line) == 1 || len(line) == 2 && line[0] == '\r'
}

const subject = "subject"

// isSubject tells whether a line starts like a Subject field, its colon aside.
func isSubject(line []byte) bool {
	if len(line) < len(subject) {
		return false
	}
	for i := range len(subject) {
		if line[i]|0x20 != subject[i] {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// harmless tells whether what follows the name of a Subject field cannot be that of
// a challenge: it starts with a character that "ACME:" does not start with, as it
// stands or in an encoded word.
func harmless(rest []byte) bool {
	if len(rest) == 0 || rest[0] != ':' {
		return false
	}
	i := 1
	for i < len(rest) && (isSpace(rest[i]) || rest[i] == '\r' || rest[i] == '\n') {
		i++
	}
	rest = rest[i:]
	if len(rest) == 0 {
		return true
	}
	switch c := rest[0]; {
	case c == '=':
		return harmlessWord(rest)
	case c == 'A':
		return len(rest) > 1 && isLetter(rest[1]) && rest[1] != 'C'
	default:
		return isPrint(c)
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == ' ' }

// isPrint leaves out what some would take for white space, and bytes of other
// alphabets.
func isPrint(c byte) bool { return '!' <= c && c <= '~' }

// harmlessWord looks at the first character of an encoded word (RFC 2047):
// =?charset?encoding?text?=
func harmlessWord(word []byte) bool {
	if len(word) < 2 || word[1] != '?' {
		return len(word) > 1 && isLetter(word[1])
	}
	i := 2
	for i < len(word) && (isLetter(word[i]) && word[i] != ' ' || '0' <= word[i] && word[i] <= '9' || word[i] == '-') {
		i++
	}
	if i == 2 || i+3 >= len(word) || word[i] != '?' || word[i+2] != '?' {
		return false
	}
	first := word[i+3]
	switch word[i+1] | 0x20 {
	case 'q':
		// "=" starts any character, "_" is a space, "?" the end.
		return isPrint(first) && first != 'A' && first != '=' && first != '_' && first != '?'
	case 'b':
		// The first six bits of "A" are Q, those of a space and other control
		// characters are A to I.
		return ('J' <= first && first <= 'Z' || 'a' <= first && first <= 'z' || '0' <= first && first <= '9') && first != 'Q'
	}
	return false
}
