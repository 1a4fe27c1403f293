package pipe

import (
	"bufio"
	"bytes"
	"io"

	"postseal/internal/challenge"
)

// input is a message as it comes from stdin.
type input struct {
	r    *bufio.Reader
	head []byte // header block with the empty line, or its first part if it is too large
	mbox int    // bytes of head that are the line of an mbox file
	body []byte // of a candidate: what fits into the bound
	more bool   // there was more than the bound
}

// readHead reads the header block. One that is larger than the bound cannot be a
// challenge, so the rest stays in the reader.
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

// mboxLine returns the length of the "From " line above a message in an
// mbox file and in what procmail receives from Postfix, 0 if there is none. It is cut
// here and nowhere else: anywhere but on top of stdin such a line is not a field, and is
// refused. With a colon next it is a From in obsolete syntax (RFC 5322, Section 4.5),
// which counts.
func mboxLine(head []byte) int {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("From "))
	if !ok || bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(":")) {
		return 0
	}
	return min(len(line)+1, len(head))
}

// message returns what has been read.
func (in *input) message() challenge.Message {
	return challenge.Message{
		Raw:       append(in.head[in.mbox:len(in.head):len(in.head)], in.body...),
		Truncated: in.more,
	}
}

// drain reads what is left, so that the mail server sees its message taken.
func (in *input) drain() error {
	_, err := io.Copy(io.Discard, in.r)
	return err
}
