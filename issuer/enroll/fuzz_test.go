package enroll

import (
	"slices"
	"strings"
	"testing"

	"postseal/internal/printable"
	"postseal/state"
)

// Whatever a source says, and in whatever pieces: its addresses are those of the domain,
// printable, sorted, each once, and all lines are accounted for.
func FuzzSource(f *testing.F) {
	f.Add([]byte(mixed), 3)
	f.Add([]byte("\xff\xfea\x00@\n\n#\n a@example.org \r\nA@EXAMPLE.ORG.\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		tbl := table(t, "exclude=no*@*")
		whole, pieces := &list{table: tbl}, &list{table: tbl}
		in := &lines{each: whole.add}
		in.Write(text)
		in.end()
		in = &lines{each: pieces.add}
		for piece := range slices.Chunk(text, 1+max(0, size)%100) {
			in.Write(piece)
		}
		in.end()
		s, again := whole.source(), pieces.source()
		if !slices.Equal(s.Addresses, again.Addresses) || !slices.Equal(s.Excluded, again.Excluded) || s.Counts.String() != again.Counts.String() {
			t.Errorf("whole %+v, in pieces %+v", s, again)
		}
		if n := len(s.Addresses) + len(s.Excluded) + s.Other + s.Twice + s.Invalid; n != s.Lines {
			t.Errorf("%d of %d lines", n, s.Lines)
		}
		for n, addr := range s.Addresses {
			if !strings.HasSuffix(addr, "@example.org") || !printable.Text(addr) || n > 0 && state.Key(s.Addresses[n-1]) >= state.Key(addr) {
				t.Errorf("%q", s.Addresses)
			}
		}
	})
}
