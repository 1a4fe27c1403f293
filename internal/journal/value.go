package journal

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxValue bounds a value, in bytes; journalctl shows no longer ones as JSON.
const maxValue = 4000

// maxFields bounds the fields of an entry. Together they must fit into a datagram.
const maxFields = 32

// printable makes a value one line of text. What is not printable is written as Go
// would.
func printable(s string) string { return escape(s, false) }

// lines is printable for a text of our own that has lines.
func lines(s string) string { return escape(s, true) }

func escape(s string, keepLines bool) string {
	var b strings.Builder
	for _, r := range s {
		n := b.Len()
		if unicode.IsPrint(r) || keepLines && (r == '\n' || r == '\t') {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		if b.Len() > maxValue {
			return cut(b.String()[:n])
		}
	}
	return b.String()
}

// cut shortens a text that is too long, and shows that.
func cut(s string) string {
	const more = "…"
	for len(s) > maxValue-len(more) {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s + more
}

// prefix is what the names of our fields begin with; those without belong to the
// journal, and those that begin with "_" are its own to write.
const prefix = "POSTSEAL_"

// maxName bounds a field's name, in bytes; the journal drops longer ones.
const maxName = 64

// fieldName makes the name of a field of an attribute's key: dropped-before becomes
// POSTSEAL_DROPPED_BEFORE.
func fieldName(key string) string {
	name := prefix + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), maxName)]
}
