package enroll

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/failure"
)

const mixed = "\ufeff  bob@example.org\r\n" +
	"# a comment\n" +
	"\n" +
	"Alice@Example.ORG\n" +
	"alice@example.org\n" +
	"carol@example.net\n" +
	"Dave <dave@example.org>\n" +
	"erin\n" +
	"NoReply@example.org\n" +
	"fr\u200bank@example.org\n" +
	"\ufeff# another\n" +
	"last@example.org"

func checkMixed(t *testing.T, s Source, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Alice@example.org", "bob@example.org", "last@example.org"}; !slices.Equal(s.Addresses, want) {
		t.Errorf("addresses %q", s.Addresses)
	}
	if want := []string{"NoReply@example.org"}; !slices.Equal(s.Excluded, want) {
		t.Errorf("excluded %q", s.Excluded)
	}
	const counts = "1 line of another domain, 1 line twice, 3 invalid lines: 7, 8, 10"
	if s.Lines != 9 || s.Counts.String() != counts {
		t.Errorf("%d lines, %s", s.Lines, s.Counts)
	}
}

// A list is read in the same way from a command, a file and the standard input.
func TestReadSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "li'st")
	if err := os.WriteFile(path, []byte(mixed), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTSEAL_TEST_LIST", path)
	tbl := table(t, "exclude=noreply@*")
	for _, tbl.Source = range []string{`cat "$POSTSEAL_TEST_LIST"`, "file:" + path, "-"} {
		s, err := ReadSource(t.Context(), tbl, strings.NewReader(mixed))
		checkMixed(t, s, err)
	}
	tbl.Source = `cat; cat "$POSTSEAL_TEST_LIST"; echo warning >&2` // the standard input is empty
	s, err := ReadSource(t.Context(), tbl, strings.NewReader("other@example.org\n"))
	checkMixed(t, s, err)
}

func TestSourceFails(t *testing.T) {
	tbl := table(t, "")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	left, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0) // its end comes with that of the process left behind
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	for source, words := range map[string]string{
		"echo a@example.org; echo one >&2; printf 'user db\\033[2J down\\n\\n' >&2; exit 3": `source of example.org: exit status 3: user db\x1b[2J down`,
		"echo a@example.org; exit 1":                          "exit status 1",
		"echo a@example.org; kill -9 $$":                      "signal: killed",
		"/nonexistent/command":                                "not found",
		"file:/nonexistent/list":                              "no such file",
		"file:/":                                              "is a directory",
		"yes " + strings.Repeat("x", 1000):                    "more than 64 MiB",
		"echo a@example.org | cat; sleep 99 3>" + fifo + " &": "left a process behind",
	} {
		tbl.Source = source
		s, err := ReadSource(t.Context(), tbl, nil)
		if err == nil || !strings.Contains(err.Error(), words) || failure.KindOf(err) != failure.KindFailed ||
			!strings.Contains(failure.HintOf(err), source) || s.Lines != 0 {
			t.Errorf("%s: %v (%s), %v", source, err, failure.HintOf(err), s)
		}
	}
	if err := left.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := left.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the process left behind lives on: %v", err)
	}
}

// A line without an end does not fill the memory, and its tail is not an address.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 2*maxLine) + "\nb@example.org\n" + "d@example.org" + strings.Repeat(" ", 2*maxLine) + "e\n" + strings.Repeat(" ", 2*maxLine) + "c@example.org\na@example.org"
	for size := range []int{1, 7, 5000} {
		list := &list{table: table(t, "")}
		in := &lines{each: list.add}
		for rest := long; rest != ""; rest = rest[min(size+1, len(rest)):] {
			if _, err := in.Write([]byte(rest[:min(size+1, len(rest))])); err != nil {
				t.Fatal(err)
			}
		}
		in.end()
		if s := list.source(); strings.Join(s.Addresses, " ") != "a@example.org b@example.org" || s.Invalid != 2 || cap(in.part) > 4*maxLine {
			t.Errorf("%d bytes at a time: %+v, %d bytes kept", size+1, s, cap(in.part))
		}
	}
}

func TestInvalidLinesAreBounded(t *testing.T) {
	list := &list{table: table(t, "")}
	for range 30 {
		list.add([]byte("not an address"))
	}
	if s := list.source(); s.Invalid != 30 || !strings.HasSuffix(s.Counts.String(), "19, 20, …") {
		t.Error(s.Counts)
	}
}

// When the run ends, so does all that the source has started.
func TestSourceEndsWithTheContext(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tbl := table(t, "")
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	for _, tbl.Source = range []string{"echo a@example.org; sh -c 'exec 3> " + fifo + "; echo >&3; exec sleep 9999'", "file:" + fifo, "-"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := ReadSource(ctx, tbl, stdin)
			done <- err
		}()
		if strings.HasPrefix(tbl.Source, "echo") {
			child, err := os.Open(fifo)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := child.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cancel()
			if _, err := io.ReadAll(child); err != nil { // the kernel closes it when the child dies
				t.Error(err)
			}
		}
		cancel()
		if err := <-done; failure.KindOf(err) != failure.KindLater {
			t.Errorf("%s: %v", tbl.Source, err)
		}
	}
}
