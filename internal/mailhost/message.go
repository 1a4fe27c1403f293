package mailhost

import (
	"bytes"
	"strings"
)

// field is a header field as it stands in the message: value is everything
// behind the colon, white space and folds included, without the last CRLF.
type field struct{ name, value string }

// parse takes a message apart into its header fields and the body. What is no
// header field ends the header, as it does for Postfix.
func parse(msg []byte) (fields []field, body []byte) {
	for len(msg) > 0 {
		line, rest, _ := bytes.Cut(msg, []byte("\r\n"))
		if len(line) == 0 {
			return fields, rest
		}
		if isFold(line) && len(fields) > 0 {
			fields[len(fields)-1].value += "\r\n" + string(line)
			msg = rest
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return fields, msg
		}
		fields = append(fields, field{name, value})
		msg = rest
	}
	return fields, nil
}

func isFold(line []byte) bool { return line[0] == ' ' || line[0] == '\t' }

// headerValue returns the value of the first field with a name, unfolded.
func headerValue(msg []byte, name string) string {
	fields, _ := parse(msg)
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return strings.TrimSpace(strings.ReplaceAll(f.value, "\r\n", ""))
		}
	}
	return ""
}

func subject(msg []byte) string { return headerValue(msg, "Subject") }
