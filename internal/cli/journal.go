package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"postseal/internal/printable"
)

const socketPath = "/run/systemd/journal/socket"

// patience is how long the journal may take to accept an entry.
const patience = 200 * time.Millisecond

// socket is the journal's socket for entries in its native protocol, a datagram each
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
//
// Send of go-systemd is unsuitable. It has no deadline and loops while the journal's queue is
// full, which would hold up mail; and it sends an entry that is too large for a datagram
// through a file in /dev/shm, which a confined program cannot make.
type socket struct {
	path string

	mu   sync.Mutex
	conn net.Conn
}

// stderr returns the journal's socket, nil unless standard error leads to the journal.
func stderr() *socket {
	if yes, err := journal.StderrIsJournalStream(); !yes || err != nil {
		return nil
	}
	return &socket{path: socketPath}
}

// send sends an entry. It reconnects if the journal has restarted since the last one.
func (s *socket) send(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.write(e)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.write(e)
	}
	return err
}

func (s *socket) write(e entry) error {
	if s.conn == nil {
		conn, err := net.Dial("unixgram", s.path)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	err := s.conn.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = s.conn.Write(e)
	}
	if err != nil {
		s.conn.Close()
		s.conn = nil
	}
	return err
}

// entry is an entry in its wire form.
type entry []byte

func newEntry(priority journal.Priority, message string) entry {
	var e entry
	e.add("MESSAGE", message)
	e.add("PRIORITY", strconv.Itoa(int(priority)))
	e.add("SYSLOG_IDENTIFIER", filepath.Base(os.Args[0]))
	return e
}

// add appends a field: its name, and its value up to the end of the line or, if it has
// several lines, after its length (64 bits, little endian).
func (e *entry) add(name, value string) {
	if !strings.Contains(value, "\n") {
		*e = append(*e, name+"="+value+"\n"...)
		return
	}
	b := bytes.NewBuffer(*e)
	b.WriteString(name + "\n")
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	b.WriteString(value + "\n")
	*e = b.Bytes()
}

// maxValue bounds a value, in bytes; journalctl does not show longer ones in JSON.
const maxValue = 4000

// maxFields bounds the fields of an entry. Together they must fit into a datagram.
const maxFields = 32

// oneLine makes a value one line of text.
func oneLine(s string) string { return printable.Line(s, maxValue) }

// lines is oneLine for a text of our own that has lines.
func lines(s string) string { return printable.Lines(s, maxValue) }

// prefix starts the names of our fields; names without it belong to the journal, and names
// that start with "_" only the journal may write.
const prefix = "POSTSEAL_"

// maxName bounds a field's name, in bytes; the journal drops longer ones.
const maxName = 64

// fieldName turns an attribute's key into the name of a field: dropped-before becomes
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
