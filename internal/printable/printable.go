// Package printable makes text that was not written here fit to be seen.
//
// What a CA, a mail, a DNS or SMTP server, another user or the other half wrote goes to a
// terminal, a log, a header or a draft only as printable text. A control character, one
// of C1, bidi or any other format character drives a terminal, begins a line or hides what
// it stands beside; here each is written as Go would write it in a string.
package printable

import (
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// more is the end of what was cut.
const more = "…"

// Line makes s one line of printable text of at most that many bytes.
func Line(s string, most int) string { return escape(s, most, "") }

// Lines is Line for a text of our own that has lines and columns.
func Lines(s string, most int) string { return escape(s, most, "\n\t") }

func escape(s string, most int, keep string) string {
	var b strings.Builder
	for n, r := range s {
		if b.Len() > most {
			break
		}
		b.WriteString(shown(s[n:], r, keep))
	}
	if b.Len() <= most {
		return b.String()
	}
	text := b.String()[:most-len(more)]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + more
}

// shown returns how r, the first rune of s, is written. A byte that begins no rune is
// written as a byte.
func shown(s string, r rune, keep string) string {
	if _, size := utf8.DecodeRuneInString(s); r == utf8.RuneError && size == 1 {
		return `\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:]
	}
	if Is(r) || strings.ContainsRune(keep, r) {
		return string(r)
	}
	return strings.Trim(strconv.QuoteRune(r), "'")
}

// Is reports whether a character is one to be seen: no control, C1, bidi or other format
// character, and no white space but the plain one.
func Is(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }

// Text reports whether s holds nothing else.
func Text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !Is(r) })
}

// ASCII reports whether s holds no other characters than those of ASCII, and no DEL.
func ASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}

// Word quotes a word for a shell where that is needed. Whoever reads a command in a hint
// copies it, and an address may hold a backtick.
func Word(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._-+@%,:=", r) || r < utf8.RuneSelf && (r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// JSON writes what is not printable in a JSON text with the escapes of JSON, so that it
// means the same. Only strings can hold such characters.
func JSON(text []byte) []byte {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case Is(r) || r == '\n':
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b.WriteString(unit(high) + unit(low))
		default:
			b.WriteString(unit(r))
		}
	}
	return []byte(b.String())
}

func unit(r rune) string { return `\u` + strconv.FormatInt(int64(r)|0x10000, 16)[1:] }

// Writer passes lines on to w with all that is not printable escaped. It is the last way
// out: a value that might begin a line of its own has to go through Line before.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, Lines(string(p), len(p)*len(`\U00000000`)+1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
