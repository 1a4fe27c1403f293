package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// Interactive lets a person answer the challenge mail with a mail program of their own, for
// mailboxes on other people's servers.
type Interactive struct {
	Ask func(ctx context.Context, prompt string) (string, error) // reads one line
	Out io.Writer
	Dir string // directory of the drafts: ADDRESS-reply.eml

	one sync.Mutex // one question at a time
}

// askPerson shows the reply to a challenge and waits until the person has sent it.
func (r *run) askPerson(ctx context.Context, c *store.Challenge, to chan<- *state.Answer) error {
	p := r.req.Interactive
	p.one.Lock()
	defer p.one.Unlock()
	fmt.Fprintf(p.Out, "\nThe CA mails a challenge from %s to %s. Answer only that one.\n", c.From, c.Email)
	part1, err := p.askToken(ctx)
	if err != nil {
		return err
	}
	thumbprint, err := r.ca.Thumbprint()
	if err != nil {
		return err
	}
	record := &state.Pending{Token: c.Token, Thumbprint: thumbprint, Join: r.ca.Join(r.req.TokenJoin)}
	digest, err := record.Digest(part1)
	if err != nil {
		return err
	}
	if err := p.show(draft{from: c.Name(), to: c.From, part1: part1, digest: digest}); err != nil {
		return err
	}
	if _, err := p.Ask(ctx, "Send the reply, then press Enter: "); err != nil {
		return err
	}
	select {
	case to <- &state.Answer{ID: c.ID, Phase: state.Sent, Email: c.Email, Claimed: r.i.Now().UTC(), Ended: r.i.Now().UTC()}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Interactive) askToken(ctx context.Context) (string, error) {
	for {
		line, err := p.Ask(ctx, "Paste its Subject: ")
		if err != nil {
			return "", err
		}
		part1, err := parseSubject(line)
		if err == nil {
			return part1, nil
		}
		fmt.Fprintf(p.Out, "That is not a challenge's Subject: %v.\n", err)
	}
}

// minPart1 is the length of 128 bits in base64url (RFC 8823, Section 3.1, item 1).
const minPart1 = 22

// pasted is a Subject as people paste it.
var pasted = regexp.MustCompile(`(?is)^(?:subject:)?\s*(re:)?(.*)$`)

// parseSubject returns token-part1 of a Subject as people paste it.
func parseSubject(line string) (string, error) {
	parts := pasted.FindStringSubmatch(strings.TrimSpace(line))
	if parts[1] != "" {
		return "", errors.New(`it is a reply ("Re:")`)
	}
	rest, ok := strings.CutPrefix(parts[2], "ACME:")
	if !ok {
		return "", errors.New(`it begins with "ACME:"`)
	}
	// RFC 8823, Section 3.1, item 1: ignore white space from folding.
	part1 := strings.Join(strings.Fields(rest), "")
	switch {
	case !ca.IsToken(part1):
		return "", errors.New("the token has characters that are not base64url")
	case len(strings.TrimRight(part1, "=")) < minPart1:
		return "", errors.New("the token is shorter than 128 bits")
	}
	return part1, nil
}

// draft is a reply for a person to send.
type draft struct{ from, to, part1, digest string }

func (d draft) subject() string { return "Re: ACME: " + d.part1 }

// block returns the part of the body that counts (RFC 8823, Section 3.2, item 7).
func (d draft) block() string {
	return "-----BEGIN ACME RESPONSE-----\r\n" + d.digest + "\r\n-----END ACME RESPONSE-----\r\n"
}

// mailto returns a link that opens the reply in a mail program (RFC 6068).
func (d draft) mailto() string {
	return "mailto:" + url.PathEscape(d.to) + "?subject=" + url.PathEscape(d.subject()) + "&body=" + url.PathEscape(d.block())
}

// eml returns a draft for Outlook and Thunderbird, which open a file with X-Unsent as one to
// send.
func (d draft) eml(now time.Time) []byte {
	return []byte("X-Unsent: 1\r\n" +
		"From: " + d.from + "\r\n" +
		"To: " + d.to + "\r\n" +
		"Subject: " + d.subject() + "\r\n" +
		"Date: " + now.Format(time.RFC1123Z) + "\r\n" +
		"MIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=us-ascii\r\n" +
		"Content-Transfer-Encoding: 7bit\r\n\r\n" + d.block())
}

func (p *Interactive) show(d draft) error {
	file := filepath.Join(p.Dir, store.BaseName(d.from)+"-reply.eml")
	if err := state.WriteFile(file, d.eml(time.Now()), 0o600); err != nil {
		return fmt.Errorf("the draft: %w", err)
	}
	fmt.Fprintf(p.Out, "\nReply to it, from %s and to %s (or its Reply-To), as plain text with nothing but:\n\n%s\n"+
		"The same as a link:\n%s\n\nThe same as a draft to open and send: %s\n\n",
		d.from, d.to, strings.ReplaceAll(d.block(), "\r\n", "\n"), d.mailto(), file)
	return nil
}
