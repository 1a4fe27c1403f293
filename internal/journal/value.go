package journal

import (
	"strings"

	"postseal/internal/printable"
)

// maxValue bounds a value, in bytes; journalctl shows no longer ones as JSON.
const maxValue = 4000

// maxFields bounds the fields of an entry. Together they must fit into a datagram.
const maxFields = 32

// oneLine makes a value one line of text.
func oneLine(s string) string { return printable.Line(s, maxValue) }

// lines is oneLine for a text of our own that has lines.
func lines(s string) string { return printable.Lines(s, maxValue) }

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
