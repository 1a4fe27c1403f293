package pipe

import (
	"bufio"
	"bytes"
	"io"

	"postseal/internal/challenge"
)

// input is a message from stdin.
type input struct {
	r    *bufio.Reader
	head []byte // header block with the empty line, or its first part if it is too large
	mbox int    // length of an mbox file's line at the start of head, in bytes
	body []byte // of a candidate, up to the bound
	more bool   // the body exceeds the bound
}

// readHead reads the header block. A block larger than the bound cannot be a challenge's, so
// the rest stays in the reader.
func readHead(r io.Reader) (*input, error) {
	in := &input{r: bufio.NewReaderSize(r, 32<<10)}
	defer func() { in.mbox = mboxLine(in.head) }()
	for len(in.head) <= challenge.MaxHeader {
		line, err := in.r.ReadSlice('\n')
		in.head = append(in.head, line...)
		if err == io.EOF {
			return in, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return in, err
		}
		if string(line) == "\n" || string(line) == "\r\n" {
			return in, nil
		}
	}
	return in, nil
}

// readBody reads as much of the body as a challenge can have.
func (in *input) readBody() error {
	limit := max(challenge.MaxMessage-len(in.head), 0)
	body, err := io.ReadAll(io.LimitReader(in.r, int64(limit)+1))
	in.body, in.more = body, len(body) > limit
	return err
}

// mboxLine returns the length of the "From " line above a message in an mbox file and in
// procmail's input from Postfix, or 0. This is the only place that cuts it: anywhere but on
// top of stdin such a line is not a field, and the message is refused. If a colon follows,
// the line is a From in obsolete syntax (RFC 5322, Section 4.5), which counts.
func mboxLine(head []byte) int {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("From "))
	if !ok || bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(":")) {
		return 0
	}
	return min(len(line)+1, len(head))
}

// message returns the message read so far.
func (in *input) message() challenge.Message {
	return challenge.Message{
		Raw:       append(in.head[in.mbox:len(in.head):len(in.head)], in.body...),
		Truncated: in.more,
	}
}

// drain reads the rest, so that the mail server can deliver its whole message.
func (in *input) drain() error {
	_, err := io.Copy(io.Discard, in.r)
	return err
}
