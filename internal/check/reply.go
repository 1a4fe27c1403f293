package check

import (
	"context"
	"io"
	"os"
	"time"
)

// arrival is how long a message may take from the SMTP server to the mailbox.
const arrival = 20 * time.Second

// maxMessage bounds what is read of a message that should have some KiB.
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
		r.fail("give a file with one message", "--message %q: %v", c.Message, cause(err))
		return
	}
	m, err := parseReceived(data)
	if err != nil {
		r.fail("give a file with one message, its header included", "--message %q: %v", c.Message, err)
		return
	}
	c.judge(ctx, r, m)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMessage))
}

// sendSample submits a message and, if it is known where it arrives, waits for it.
func (c *checker) sendSample(ctx context.Context, r *report) {
	if len(c.Emails) == 0 {
		r.fail("give the address that a certificate is for with -e ADDR", "--mail-to needs a sender")
		return
	}
	from := c.Emails[0]
	to, err := c.parseSMTP()
	if err != nil {
		return // said by the check of SMTP
	}
	// Opened before the message leaves, so that its arrival is not missed.
	var box *mailbox
	if c.Mailbox != "" {
		if box, err = openMailbox(c.Mailbox); err != nil {
			r.fail("give a Maildir or an mbox file that "+me()+" may read", "--mailbox %q: %v", c.Mailbox, cause(err))
			return
		}
		defer box.close()
	}
	id, err := c.submit(ctx, to, from)
	if err != nil {
		r.fail(smtpHint(err), "the message from %s to %s was not sent: %v", from, c.MailTo, server(err))
		return
	}
	r.ok("a message in the form of a reply was sent from %s to %s: %s", from, c.MailTo, id)
	c.awaitSample(ctx, r, box, id)
}

func (c *checker) submit(ctx context.Context, to submission, from string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, oneCheck)
	defer cancel()
	s, err := c.connect(ctx, to)
	if err != nil {
		return "", err
	}
	defer s.quit()
	id, message := sample(from, c.MailTo, c.now())
	return id, s.send(from, c.MailTo, message)
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
	m, err := parseReceived(data)
	if err != nil {
		r.fail("", "the message that arrived: %v", err)
		return
	}
	c.judge(ctx, r, m)
}
