package smime

import (
	"bytes"
	"strings"
	"testing"
)

func TestCarve(t *testing.T) {
	for _, c := range []struct{ name, body, first, second, want string }{
		{"plain", "--b\r\none\r\n--b\r\ntwo\r\n--b--\r\n", "one", "two", ""},
		{"last line ends stay", "--b\r\none\r\n\r\n--b\r\ntwo\r\n--b--", "one\r\n", "two", ""},
		{"preamble and epilogue", "p\r\n\r\n--b\r\none\r\n--b\r\ntwo\r\n--b--\r\ne\r\n", "one", "two", ""},
		{"padding", "--b \t\r\none\r\n--b \r\ntwo\r\n--b-- ", "one", "two", ""},
		{"hyphens are text", "--b\r\n--b-\r\n--bb\r\n-b\r\n --b\r\nx--b\r\n--b\r\n--b--x\r\n--b--", "--b-\r\n--bb\r\n-b\r\n --b\r\nx--b", "--b--x", ""},
		{"bare LF is not a line end", "--b\r\none\n--b\r\n\r\n--b\r\ntwo\n--b\r\n--b--", "one\n--b\r\n", "two\n--b", ""},
		{"one part", "--b\r\none\r\n--b--\r\n", "", "", "fewer than two"},
		{"three parts", "--b\r\n1\r\n--b\r\n2\r\n--b\r\n3\r\n--b--\r\n", "", "", "more than two"},
		{"unclosed", "--b\r\n1\r\n--b\r\n2\r\n--b", "", "", "ends before"},
		{"empty first", "--b\r\n--b\r\n2\r\n--b--", "", "", "empty part"},
		{"blank first", "--b\r\n\r\n--b\r\n2\r\n--b--", "", "", "empty part"},
		{"blank second", "--b\r\n1\r\n--b\r\n\r\n--b--", "", "", "empty part"},
		{"empty second", "--b\r\n1\r\n--b\r\n--b--", "", "", "empty part"},
		{"again", "--b\r\n1\r\n--b\r\n2\r\n--b--\r\n--b--\r\n", "", "", "goes on after"},
		{"nothing", "", "", "", "fewer than two"},
	} {
		first, second, err := carve([]byte(c.body), "b")
		if c.want == "" && (err != nil || string(first) != c.first || string(second) != c.second) {
			t.Errorf("%s: %q, %q, %v", c.name, first, second, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestIsBoundary(t *testing.T) {
	for s, want := range map[string]bool{
		"b": true, "a b": true, strings.Repeat("x", 70): true,
		"": false, "b ": false, "\u00fc": false, strings.Repeat("x", 71): false,
	} {
		if isBoundary(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// FuzzCarve checks that the parts are slices of the body between delimiter lines, and hold no
// delimiter themselves.
func FuzzCarve(f *testing.F) {
	f.Add([]byte("--b\r\none\r\n--b\r\ntwo\r\n--b--\r\n"), "b")
	f.Add([]byte("p\r\n--b\r\n--bb\r\n\r\n--b \r\ntwo\r\n--b-- \r\n"), "b")
	f.Add([]byte("--b--\r\n--b--\r\n--b----"), "b--")
	f.Add(bytes.Repeat([]byte("--"), 100), "--")
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		first, second, err := carve(body, boundary)
		if err != nil {
			return
		}
		for _, part := range [][]byte{first, second} {
			if len(part) == 0 || !bytes.Contains(body, part) {
				t.Errorf("%q is not part of the body", part)
			}
			if bytes.Contains(part, []byte("\r\n--"+boundary+"\r\n")) {
				t.Errorf("%q holds a delimiter", part)
			}
		}
		rebuilt := "--" + boundary + "\r\n" + string(first) + "\r\n--" + boundary + "\r\n" + string(second) + "\r\n--" + boundary + "--\r\n"
		a, b, err := carve([]byte(rebuilt), boundary)
		if err != nil || !bytes.Equal(a, first) || !bytes.Equal(b, second) {
			t.Errorf("carving again: %q, %q, %v", a, b, err)
		}
	})
}
