package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// fieldsOnly are the keys of attributes that repeat the message for searches by field. No
// text has them.
var fieldsOnly = []string{"verdict", "step", "certificate"}

// stack is the key of the one attribute that keeps its lines: a panic's.
const stack = "stack"

// ToJournal reports whether standard error leads to the journal.
func ToJournal() bool { return stderr() != nil }

// NewLogHandler returns the handler for the log of a program: to the journal if standard
// error leads there, otherwise text to standard error.
func NewLogHandler() slog.Handler {
	text := textHandler(os.Stderr, nil)
	if s := stderr(); s != nil {
		return &handler{socket: s, text: text}
	}
	return text
}

// textHandler writes lines without the attributes that leaveOut names.
func textHandler(w io.Writer, leaveOut []string) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (slices.Contains(fieldsOnly, a.Key) || slices.Contains(leaveOut, a.Key)) {
			return slog.Attr{}
		}
		return a
	}})
}

// handler sends each record as an entry, and passes what it cannot send to text.
type handler struct {
	socket *socket
	text   slog.Handler
	attrs  []slog.Attr // of the logger
	groups []string    // that are open
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.text.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool { attrs = append(slices.Clip(attrs), h.qualified(a)...); return true })
	if len(attrs) > maxFields {
		attrs = attrs[:maxFields]
	}
	e := newEntry(priority(r.Level), message(ctx, r, attrs))
	for _, a := range attrs {
		e.add(fieldName(a.Key), a.Value.String())
	}
	if err := h.socket.send(e); err != nil {
		return h.text.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.text = h.text.WithAttrs(attrs)
	for _, a := range attrs {
		with.attrs = append(slices.Clip(with.attrs), h.qualified(a)...)
	}
	return &with
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.text = h.text.WithGroup(name)
	with.groups = append(slices.Clip(h.groups), name)
	return &with
}

// qualified returns an attribute, or those of a group, under its whole name and with a
// printable value.
func (h *handler) qualified(a slog.Attr) []slog.Attr {
	if a.Equal(slog.Attr{}) {
		return nil
	}
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		inner := handler{groups: h.groups}
		if a.Key != "" {
			inner.groups = append(slices.Clip(h.groups), a.Key)
		}
		var all []slog.Attr
		for _, member := range value.Group() {
			all = append(all, inner.qualified(member)...)
		}
		return all
	}
	clean := oneLine
	if a.Key == stack {
		clean = lines
	}
	key := strings.Join(append(slices.Clip(h.groups), a.Key), "_")
	return []slog.Attr{slog.String(key, clean(value.String()))}
}

// message returns the record as a line of text. A stack has its own field.
func message(ctx context.Context, r slog.Record, attrs []slog.Attr) string {
	var b bytes.Buffer
	text := textHandler(&b, []string{slog.TimeKey, slog.LevelKey, slog.MessageKey, stack})
	line := slog.Record{Message: r.Message, Level: r.Level}
	line.AddAttrs(attrs...)
	if text.Handle(ctx, line) != nil { // a buffer accepts everything
		return oneLine(r.Message)
	}
	return oneLine(strings.TrimSpace(r.Message + " " + strings.TrimSuffix(b.String(), "\n")))
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// LastWords returns the writer for the error with which a program ends: standard error,
// marked so that the journal takes each line for an error of the service. It does not use the
// native protocol, because the journal finds the service of an entry by its process, which
// has ended by then.
func LastWords() io.Writer {
	if !ToJournal() {
		return os.Stderr
	}
	return marked{os.Stderr}
}

// marked marks each line as one of priority 3, as sd-daemon(3) describes it.
type marked struct{ io.Writer }

func (w marked) Write(line []byte) (int, error) {
	if _, err := w.Writer.Write(append([]byte("<3>"), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
