package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// receiver reads what is sent to the journal.
type receiver struct {
	*testing.T
	path string
	conn *net.UnixConn
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{T: t, path: filepath.Join(t.TempDir(), "socket")}
	r.open()
	return r
}

func (r *receiver) open() {
	r.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path, Net: "unixgram"})
	if err != nil {
		r.Fatal(err)
	}
	r.conn = conn
	r.Cleanup(func() { conn.Close() })
}

// next returns the next entry.
func (r *receiver) next() map[string]string {
	r.Helper()
	buf := make([]byte, 1<<20)
	n, err := r.conn.Read(buf)
	if err != nil {
		r.Fatal(err)
	}
	fields, err := parseEntry(buf[:n])
	if err != nil {
		r.Fatal(err)
	}
	return fields
}

// parseEntry reads an entry as the journal does, independently of the code that writes it.
func parseEntry(p []byte) (map[string]string, error) {
	fields := map[string]string{}
	for len(p) > 0 {
		line, rest, ok := bytes.Cut(p, []byte("\n"))
		if !ok {
			return nil, errors.New("the last field has no end")
		}
		name, value, plain := bytes.Cut(line, []byte("="))
		if !plain {
			if len(rest) < 8 {
				return nil, errors.New("a length is missing")
			}
			size := binary.LittleEndian.Uint64(rest)
			if rest = rest[8:]; uint64(len(rest)) <= size || rest[size] != '\n' {
				return nil, fmt.Errorf("a value of %d bytes does not end there", size)
			}
			value, rest = rest[:size], rest[size+1:]
		}
		if _, twice := fields[string(name)]; twice {
			return nil, fmt.Errorf("%s twice", name)
		}
		fields[string(name)] = string(value)
		p = rest
	}
	return fields, nil
}

func logger(path string, text io.Writer) *slog.Logger {
	return slog.New(&handler{socket: &socket{path: path}, text: textHandler(text, nil)})
}

// An entry has a field for each attribute, and the line as people read it.
func TestFields(t *testing.T) {
	r := receive(t)
	var text bytes.Buffer
	log := logger(r.path, &text)
	log.Warn("challenge refused", "address", "alice@example.test", "verdict", "refused", "reason", "no DKIM signature by ca.test", "dropped-before", 3)
	want := map[string]string{
		"MESSAGE":                 `challenge refused address=alice@example.test reason="no DKIM signature by ca.test" dropped-before=3`,
		"PRIORITY":                "4",
		"SYSLOG_IDENTIFIER":       "cli.test",
		"POSTSEAL_ADDRESS":        "alice@example.test",
		"POSTSEAL_VERDICT":        "refused",
		"POSTSEAL_REASON":         "no DKIM signature by ca.test",
		"POSTSEAL_DROPPED_BEFORE": "3",
	}
	if got := r.next(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if text.Len() > 0 {
		t.Errorf("said twice: %s", &text)
	}
	for level, priority := range map[slog.Level]string{slog.LevelInfo: "6", slog.LevelWarn: "4", slog.LevelError: "3"} {
		if log.Log(t.Context(), level, "x"); r.next()["PRIORITY"] != priority {
			t.Errorf("%v is not %s", level, priority)
		}
	}
	log.Debug("not wanted")
	log.With("a", 1).WithGroup("g").With("b", 2).Info("x", "c", errors.New("3"), slog.Group("d", "e", 4), slog.Attr{})
	if got := r.next(); got["POSTSEAL_A"]+got["POSTSEAL_G_B"]+got["POSTSEAL_G_C"]+got["POSTSEAL_G_D_E"] != "1234" || len(got) != 7 {
		t.Errorf("groups: %q", got)
	}
	log.Error("panic", "panic", "x", "stack", "goroutine 1:\nmain.f()\n")
	if got := r.next(); got["POSTSEAL_STACK"] != "goroutine 1:\nmain.f()\n" || got["MESSAGE"] != "panic panic=x" {
		t.Errorf("a stack: %q", got)
	}
}

// hostile are values that a stranger may choose.
var hostile = []string{
	"x\nPRIORITY=0\nMESSAGE=forged\n",
	"x\nMESSAGE\n\x06\x00\x00\x00\x00\x00\x00\x00forged\n",
	"nul\x00 and escape \x1b]0;title\x07\x1b[2J",
	"right to left \u202e, line \u2028, \x85 and \xff\xfe no UTF-8",
	strings.Repeat("64 KB ", 11_000),
	strings.Repeat("\x00", 64<<10),
	strings.Repeat("é", maxValue/2+1),
	"", "=", " ", `"quoted\"`,
}

// Whatever a value contains, it is one line of that value.
func TestHostileValues(t *testing.T) {
	r := receive(t)
	log := logger(r.path, failing{t})
	for _, value := range hostile {
		log.Info("challenge refused", "reason", value, "panic", value)
		wantHarmless(t, r.next(), "POSTSEAL_REASON", "POSTSEAL_PANIC")
		log.Info(value, "stack", value)
		wantHarmless(t, r.next(), "POSTSEAL_STACK")
	}
}

// failing is a writer that must receive nothing.
type failing struct{ *testing.T }

func (f failing) Write(p []byte) (int, error) { f.Errorf("as text: %.200s", p); return len(p), nil }

func wantHarmless(t *testing.T, fields map[string]string, ours ...string) {
	t.Helper()
	ours = append(ours, "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER")
	for _, name := range ours {
		value, ok := fields[name]
		if !ok {
			t.Errorf("no %s in %.200q", name, fields)
		}
		notLine := func(r rune) bool { return !unicode.IsPrint(r) && (name != "POSTSEAL_STACK" || r != '\n' && r != '\t') }
		if strings.IndexFunc(value, notLine) >= 0 || !utf8.ValidString(value) || len(value) > maxValue {
			t.Errorf("%s: %d bytes: %.200q", name, len(value), value)
		}
	}
	if len(fields) != len(ours) || fields["PRIORITY"] != "6" {
		t.Errorf("%d fields: %.200q", len(fields), fields)
	}
}

func FuzzHandler(f *testing.F) {
	for _, value := range hostile {
		f.Add("key", value, value)
	}
	f.Add("a=b\n", "x", "y")
	f.Fuzz(func(t *testing.T, key, value, text string) {
		r := receive(t)
		logger(r.path, failing{t}).With("own", 1).Warn(text, slog.Group("g", key, value), "stack", value)
		for name, value := range r.next() {
			if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || len(name) > maxName || name[0] == '_' {
				t.Errorf("field %q", name)
			}
			if len(value) > maxValue || name == "MESSAGE" && strings.Contains(value, "\n") {
				t.Errorf("%s: %.200q", name, value)
			}
		}
	})
}

// While the journal is gone, the log is text; afterwards it is entries again.
func TestJournalRestarts(t *testing.T) {
	r := receive(t)
	var text bytes.Buffer
	log := logger(r.path, &text)
	log.Info("one")
	r.next()
	r.conn.Close()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	log.Info("two", "reason", "nobody listens", "verdict", "none")
	if got := text.String(); !strings.Contains(got, `level=INFO msg=two reason="nobody listens"`+"\n") {
		t.Errorf("text: %q", got)
	}
	r.open()
	log.Info("three")
	if got := r.next()["MESSAGE"]; got != "three" {
		t.Errorf("got %q", got)
	}
	text.Reset()
	r.conn.Close()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.open()
	if log.Info("four"); text.Len() > 0 { // not a line is lost between two
		t.Errorf("text: %s", &text)
	}
}

// A journal that does not read delays nobody.
func TestJournalHangs(t *testing.T) {
	r := receive(t)
	var text bytes.Buffer
	log := logger(r.path, &text)
	for sent := 0; text.Len() == 0; sent++ {
		if sent > 100_000 {
			t.Fatal("the queue has no end")
		}
		log.Info("line")
	}
	if got := r.next()["MESSAGE"]; got != "line" {
		t.Errorf("got %q", got)
	}
	text.Reset()
	if log.Info("room again"); text.Len() > 0 {
		t.Errorf("text: %s", &text)
	}
}

// The journal drops a field whose name is too long, and an entry that fits into no datagram.
func TestManyFields(t *testing.T) {
	r := receive(t)
	var text bytes.Buffer
	var attrs []any
	for n := range 200 {
		attrs = append(attrs, fmt.Sprintf("field%03d%s", n, strings.Repeat("x", 100)), strings.Repeat("y", 2*maxValue))
	}
	logger(r.path, &text).Info("many", attrs...)
	if text.Len() > 0 {
		t.Fatalf("not sent: %.200s", &text)
	}
	fields := r.next()
	for name := range fields {
		if len(name) > 64 {
			t.Errorf("%s has %d bytes", name, len(name))
		}
	}
	if len(fields) != 3+maxFields {
		t.Errorf("%d fields", len(fields))
	}
}

// Loggers that have an ancestor in common share no attributes.
func TestSiblings(t *testing.T) {
	r := receive(t)
	parent := logger(r.path, io.Discard).With("a", "1", "b", "2", "c", "3")
	first, second := parent.With("x", "first"), parent.With("x", "second")
	first.Info("first")
	second.Info("second")
	for _, want := range []string{"first", "second"} {
		if got := r.next(); got["MESSAGE"] != want+" a=1 b=2 c=3 x="+want || got["POSTSEAL_X"] != want {
			t.Errorf("%q", got)
		}
	}
}

// On a terminal no field repeats the line.
func TestText(t *testing.T) {
	var text bytes.Buffer
	slog.New(textHandler(&text, nil)).Warn("challenge refused", "verdict", "refused", "reason", "a\nb")
	if got := text.String(); !strings.HasSuffix(got, `level=WARN msg="challenge refused" reason="a\nb"`+"\n") {
		t.Errorf("%q", got)
	}
}
