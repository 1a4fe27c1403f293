package pipe

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"postseal/internal/challenge"
)

// statusField is the field with the outcome, for the filter that reads the message next.
const statusField = "Postseal-Status"

// passthrough copies the message to w with our status on top, below an mbox line. It removes
// any status that the message already has: a stranger claimed that.
func (in *input) passthrough(w io.Writer, out challenge.Outcome) error {
	r := bufio.NewReader(io.MultiReader(bytes.NewReader(in.head), bytes.NewReader(in.body), in.r))
	bw := bufio.NewWriter(w)
	if in.mbox > 0 {
		if err := copyLine(bw, r); err != nil {
			return err
		}
	}
	io.WriteString(bw, statusField+": "+status(out)+lineEnd(in.head))
	if err := copyHeader(bw, r); err != nil {
		return err
	}
	if _, err := io.Copy(bw, r); err != nil {
		return err
	}
	return bw.Flush()
}

// status returns the value of the added field.
func status(out challenge.Outcome) string {
	word := out.Verdict.String()
	if out.Verdict == challenge.Later {
		word = challenge.None.String() // no decision: the reason says why
	}
	if out.Reason == "" {
		return word
	}
	return word + "; " + out.Reason
}

// lineEnd returns the line ending that the message uses.
func lineEnd(head []byte) string {
	if i := bytes.IndexByte(head, '\n'); i > 0 && head[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// copyLine copies one line of any length.
func copyLine(w io.Writer, r *bufio.Reader) error {
	for {
		part, err := r.ReadSlice('\n')
		if _, err := w.Write(part); err != nil {
			return err
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF {
			return nil
		}
		return err
	}
}

// copyHeader copies the header block without our field and its continuation lines.
func copyHeader(w *bufio.Writer, r *bufio.Reader) error {
	drop := false
	for {
		start, err := r.Peek(len(statusField) + 1)
		if len(start) == 0 {
			return ignoreEOF(err)
		}
		if start[0] == '\n' || bytes.HasPrefix(start, []byte("\r\n")) {
			return nil
		}
		if start[0] != ' ' && start[0] != '\t' {
			drop = isStatus(start)
		}
		to := io.Writer(w)
		if drop {
			to = io.Discard
		}
		if err := copyLine(to, r); err != nil {
			return err
		}
	}
}

// isStatus reports whether a line starts our field. White space before the colon is obsolete
// syntax that readers still accept.
func isStatus(start []byte) bool {
	name := strings.TrimRight(string(start[:min(len(start), len(statusField)+1)]), ": \t")
	return strings.EqualFold(name, statusField)
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
