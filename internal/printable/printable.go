// Package printable makes text from elsewhere fit to be seen.
//
// Text that a CA, a mail, a DNS or SMTP server, another user or the other half wrote reaches
// a terminal, a log, a header or a draft only in printable form. A control character, C1,
// bidi or any other format character can drive a terminal, start a line or hide its
// neighbours; this package writes each as Go would write it in a string.
package printable

import (
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// more marks the end of a shortened text.
const more = "…"

// Line makes s one line of printable text of at most most bytes.
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

// shown returns the printable form of r, the first rune of s. A byte that does not start a
// rune is written as a byte.
func shown(s string, r rune, keep string) string {
	if _, size := utf8.DecodeRuneInString(s); r == utf8.RuneError && size == 1 {
		return `\x` + strconv.FormatUint(uint64(s[0])|0x100, 16)[1:]
	}
	if Is(r) || strings.ContainsRune(keep, r) {
		return string(r)
	}
	return strings.Trim(strconv.QuoteRuneToASCII(r), "'")
}

// Is reports whether a character is visible: not a control, C1, bidi or other format
// character, and not white space other than a plain space.
func Is(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }

// Text reports whether s holds only such characters.
func Text(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !Is(r) })
}

// ASCII reports whether s holds only characters of ASCII, and no DEL.
func ASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' })
}

// Word quotes a word for a shell if necessary. People copy the command in a hint, and an
// address may hold a backtick.
func Word(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._-+@%,:=", r) || r < utf8.RuneSelf && (r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// JSON replaces unprintable characters in a JSON text by JSON's own escapes, so that it means
// the same. Only strings can hold such characters.
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

// Writer passes lines on to w and escapes all that is not printable. It is the last way out:
// a value that might start a line of its own has to pass through Line before.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, Lines(string(p), len(p)*len(`\U00000000`)+1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
