package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"postseal/internal/challenge"
	"postseal/internal/submit"
	"postseal/state"
)

// arrival is how long a message may take from the SMTP server to the mailbox.
const arrival = 20 * time.Second

// maxMessage bounds how much is read of a message that should have some KiB, in bytes.
const maxMessage = 1 << 20

// checkReply sends a message in the form of a reply and judges what arrives, or
// judges a copy of one that arrived earlier.
func (c *checker) checkReply(ctx context.Context, r *report) {
	if c.Message != "" {
		c.judgeFile(ctx, r)
	}
	switch {
	case c.MailTo != "":
		c.sendSample(ctx, r)
	case c.Mailbox != "":
		r.fail("say with --mail-to ADDR whose mailbox it is", "--mailbox is for a message that --mail-to sends")
	case c.Message == "":
		r.skip("no message was sent: --mail-to ADDR shows whether a reply is signed as it must be")
	}
}

func (c *checker) judgeFile(ctx context.Context, r *report) {
	data, err := readBounded(c.Message)
	if err != nil {
		r.fail("give a file with one message", "--message %q: %v", c.Message, state.Cause(err))
		return
	}
	c.judge(ctx, r, fmt.Sprintf("--message %q", c.Message), data)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMessage))
}

// sendSample submits a message and, if its mailbox is known, waits for it.
func (c *checker) sendSample(ctx context.Context, r *report) {
	if len(c.Emails) == 0 {
		r.fail("give the address that a certificate is for with -e ADDR", "--mail-to needs a sender")
		return
	}
	from := c.Emails[0]
	server, err := c.smtpServer()
	if err != nil {
		return // the check of SMTP says so
	}
	// Open it before the message leaves, so as not to miss its arrival.
	var box *mailbox
	if c.Mailbox != "" {
		if box, err = openMailbox(c.Mailbox); err != nil {
			r.fail("give a Maildir or an mbox file that "+me()+" may read", "--mailbox %q: %v", c.Mailbox, state.Cause(err))
			return
		}
	}
	id, message := challenge.Sample(from, c.MailTo, c.now())
	sendCtx, cancel := context.WithTimeout(ctx, oneCheck)
	defer cancel()
	err = server.Send(sendCtx, submit.Envelope{From: from, To: c.MailTo}, message, func() error { return nil })
	if err != nil {
		r.fail(smtpHint(err), "the message from %s to %s was not sent: %s", from, c.MailTo, refused(server, err))
		return
	}
	r.ok("a message in the form of a reply was sent from %s to %s: %s", from, c.MailTo, id)
	c.awaitSample(ctx, r, box, id)
}

func (c *checker) awaitSample(ctx context.Context, r *report, box *mailbox, id string) {
	if box == nil {
		r.warn("save it with its header and run: postseal check --message FILE",
			"see for yourself: it must bear a DKIM-Signature with d=%s and the digest in one line, and nothing appended",
			domainOf(c.Emails[0]))
		return
	}
	waitCtx, cancel := context.WithTimeout(ctx, arrival)
	defer cancel()
	data, err := box.wait(waitCtx, id)
	if err != nil {
		r.fail("the mail server's log says where "+id+" is", "the message did not arrive in %s within %s", c.Mailbox, arrival)
		return
	}
	c.judge(ctx, r, "the message that arrived", data)
}

// lookEvery is the interval between looks at a mailbox.
const lookEvery = 250 * time.Millisecond

// mailbox is a Maildir or an mbox file in which the check waits for a message. It ignores
// older content. The mailbox need not exist yet: the first message makes it.
type mailbox struct {
	path string
	seen map[string]bool // files of a Maildir
	size int64           // of an mbox file
}

// openMailbox remembers the present content.
func openMailbox(path string) (*mailbox, error) {
	b := &mailbox{path: path, seen: map[string]bool{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	if info != nil && !info.IsDir() {
		if _, err := readForeign(path, info.Size()); err != nil {
			return nil, err
		}
		b.size = info.Size()
	}
	if err := b.eachFile(func(_ *os.Root, name string) { b.seen[name] = true }); err != nil {
		return nil, err
	}
	return b, nil
}

// eachFile visits the files of a Maildir; anything else has none. The directories are their
// owner's, who may replace them by a link or a pipe: it opens nothing outside box.
func (b *mailbox) eachFile(do func(box *os.Root, name string)) error {
	if info, err := os.Stat(b.path); err != nil || !info.IsDir() {
		return nil //nolint:nilerr // the first message makes it
	}
	box, err := os.OpenRoot(b.path)
	if err != nil {
		return err
	}
	defer box.Close()
	for _, sub := range []string{"new", "cur"} {
		if info, err := box.Lstat(sub); err != nil || !info.IsDir() {
			continue
		}
		names, err := listIn(box, sub)
		if err != nil {
			return err
		}
		for _, name := range names {
			do(box, filepath.Join(sub, name))
		}
	}
	return nil
}

func listIn(box *os.Root, sub string) ([]string, error) {
	dir, err := box.OpenFile(sub, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// wait returns the message with a Message-ID once it arrives.
func (b *mailbox) wait(ctx context.Context, id string) ([]byte, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if msg := b.look([]byte(id)); msg != nil {
			return msg, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// look returns the message, nil if it is not there. A Maildir's files are whole; in an mbox
// file the end of the block shows that the message is.
func (b *mailbox) look(id []byte) (found []byte) {
	if info, err := os.Stat(b.path); err != nil || !info.IsDir() {
		return b.lookMbox(id)
	}
	// A directory that cannot be read now has nothing new now.
	_ = b.eachFile(func(box *os.Root, name string) {
		if found != nil || b.seen[name] {
			return
		}
		b.seen[name] = true
		if data, err := readIn(box, name); err == nil && bytes.Contains(data, id) {
			found = data
		}
	})
	return found
}

func (b *mailbox) lookMbox(id []byte) []byte {
	if info, err := os.Stat(b.path); err == nil && info.Size() < b.size {
		b.size = 0 // somebody emptied it
	}
	data, err := readForeign(b.path, b.size)
	if err != nil {
		return nil
	}
	for _, msg := range bytes.Split(append([]byte("\n\n"), data...), []byte("\n\nFrom ")) {
		if bytes.Contains(msg, id) && bytes.HasSuffix(data, []byte("\n\n")) {
			_, msg, _ = bytes.Cut(msg, []byte("\n"))
			return msg
		}
	}
	return nil
}

// readForeign reads a file of a mailbox, whose owner may put anything there, from an offset
// on and of bounded size.
func readForeign(path string, from int64) ([]byte, error) {
	f, err := state.OpenForeign(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, from, maxMessage))
}

// readIn is readForeign for a file of a Maildir.
func readIn(box *os.Root, name string) ([]byte, error) {
	f, err := state.OpenForeignIn(box, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMessage))
}
