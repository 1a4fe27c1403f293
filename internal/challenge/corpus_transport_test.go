package challenge

import "strings"

func toLF(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// transportCases are what mail servers, files and pipes make of a message.
var transportCases = []corpusCase{
	{name: "lf", why: "procmail and files have LF line ends; the signature is over CRLF.",
		bytes: toLF},
	{name: "lf-header-only", why: "Header with LF, body with CRLF: some filters rewrite the header.",
		bytes: func(s string) string {
			header, body, _ := strings.Cut(s, "\r\n\r\n")
			return toLF(header) + "\n\n" + body
		}},
	{name: "lf-body-only", why: "And the other way round.",
		bytes: func(s string) string {
			header, body, _ := strings.Cut(s, "\r\n\r\n")
			return header + "\r\n\r\n" + toLF(body)
		}},
	{name: "lf-simple", why: "LF under simple canonicalization, with folds.",
		edit: subject("ACME:\r\n\t" + part1), sign: []sig{{c: "simple/simple"}}, bytes: toLF},
	{name: "mbox-line", why: "A line of an mbox file on top, as procmail gets it from Postfix.",
		bytes: func(s string) string { return "From bounce@ca.example Mon Jun  1 12:00:00 2026\n" + toLF(s) }},
	{name: "mbox-line-crlf", why: "The same with CRLF.",
		bytes: func(s string) string { return "From bounce@ca.example Mon Jun  1 12:00:00 2026\r\n" + s }},
	{name: "mbox-line-twice", why: "Two of them are no header.",
		bytes: func(s string) string { return strings.Repeat("From x Mon Jun  1 12:00:00 2026\n", 2) + s }, want: ignored("cannot be read")},
	{name: "from-stuffing", why: "A body line that starts with From and was quoted for an mbox: the body is not what was signed.",
		edit: []edit{body("From here on.\r\n")}, bytes: func(s string) string { return strings.Replace(s, "\nFrom here", "\n>From here", 1) },
		want: refused(1, "body hash did not verify")},
	{name: "no-final-line-end", why: "The last line has no end: DKIM adds it.",
		bytes: func(s string) string { return strings.TrimSuffix(s, "\r\n") }},
	{name: "blank-lines-at-end", why: "Mail boxes add blank lines: DKIM drops them.",
		bytes: func(s string) string { return s + "\r\n\r\n" }},
	{name: "empty-body", why: "A header and an empty body.",
		edit: []edit{body("")}},
	{name: "empty-body-simple", why: "Under simple canonicalization an empty body is one CRLF.",
		edit: []edit{body("")}, sign: []sig{{c: "simple/simple"}}},
	{name: "no-empty-line", why: "A header that ends with the file, without the empty line.",
		edit: []edit{body("")}, bytes: func(s string) string { return strings.TrimSuffix(s, "\r\n") }},
	{name: "no-line-end-at-all", why: "Not even the last header field ends.",
		edit: []edit{body("")}, bytes: func(s string) string { return strings.TrimSuffix(s, "\r\n\r\n") }},
	{name: "body-8-bit", why: "Bytes over 127 in the body are signed as they are.",
		edit: []edit{body("f\xfcr Alice \xff\xfe\r\n")}},
	{name: "body-nul", why: "A NUL in the body.",
		edit: []edit{body("a\x00b\r\n")}},
	{name: "body-bare-cr", why: "A bare CR in the body is no line end.",
		edit: []edit{body("a\rb\r\n")}, sign: []sig{{c: "simple/simple"}}},
	{name: "body-long-line", why: "A line longer than SMTP allows.",
		edit: []edit{body(strings.Repeat("x", 5000) + "\r\n")}},
	{name: "body-dots", why: "Lines that start with a dot are no end of anything here.",
		edit: []edit{body(".\r\n..\r\n.x\r\n")}},
	{name: "header-8-bit", why: "Raw Latin-1 in a field that nothing depends on.",
		edit: []edit{add("X-Note: f\xfcr Alice")}},
	{name: "header-8-bit-name", why: "Raw bytes in a display name.",
		edit: from("\"f\u00fcr Alice\" <" + caFrom + ">")},
	{name: "header-8-bit-subject", why: "A byte over 127 in the token.",
		edit: subject("ACME: V4nE8NhYh6e\xfcBpfQTg5qqQ"), want: refused(0, illegal)},
	{name: "header-nul-subject", why: "A NUL in the token ends strings in C.",
		edit: subject("ACME: " + part1 + "\x00x"), want: refused(0, illegal)},
	{name: "header-nul-from", why: "A NUL in the address.",
		edit: from("acme-challenge+1\x00@ca.example"), want: refused(0, "From is no address")},
	{name: "header-nul-elsewhere", why: "A NUL in a field that nothing depends on.",
		edit: []edit{add("X-Note: a\x00b")}},
	{name: "header-bare-cr-subject", why: "A bare CR in the Subject, which some readers take for a line end.",
		edit: subject("ACME: " + part1 + "\rBcc: eve@evil.example"), want: refused(0, illegal)},
	{name: "header-cr-cr-lf", why: "A line that ends with CR CR LF.",
		edit: subject("ACME: " + part1 + "\r"), sign: []sig{{c: "simple/simple"}}},
	{name: "header-no-colon", why: "A line without a colon: this is no header.",
		edit: []edit{add("hello")}, want: ignored("cannot be read")},
	{name: "header-space-in-name", why: "A name with a space in it is no name.",
		edit: []edit{add("X Note: a")}, want: ignored("cannot be read")},
	{name: "header-empty-name", why: "A field without a name is skipped by all readers.",
		after: []edit{add(": a")}},
	{name: "header-starts-with-space", why: "The header starts with a continuation of nothing.",
		bytes: func(s string) string { return " x\r\n" + s }, want: ignored("cannot be read")},
	{name: "header-starts-with-empty-line", why: "Everything is body.",
		bytes: func(s string) string { return "\r\n" + s }, want: ignored("not that of a challenge")},
	{name: "empty", why: "Nothing at all.",
		bytes: func(string) string { return "" }, want: ignored("not that of a challenge")},
	{name: "subject-in-body", why: "A challenge quoted in a body.",
		edit: []edit{set("Subject", "Fwd"), body("Subject: ACME: " + part1 + "\r\n")}, want: ignored("not that of a challenge")},
	{name: "subject-after-white-line", why: "A line of a single CR is no empty line; this is no header.",
		bytes: func(s string) string { return strings.Replace(s, "\nSubject:", "\n\r\r\nSubject:", 1) }, want: ignored("cannot be read")},
	{name: "fields-200", why: "200 fields are looked at.",
		after: []edit{func(d *draft) {
			for len(d.fields) < 200 {
				d.fields = append(d.fields, "X: y")
			}
		}}},
	{name: "fields-201", why: "201 are not (SPEC.md, Verdicts: none).",
		after: []edit{func(d *draft) {
			for len(d.fields) < 201 {
				d.fields = append(d.fields, "X: y")
			}
		}}, want: ignored("too large")},
	{name: "content-transfer-encoding", why: "The body's encoding is none of our business.",
		edit: []edit{set("Content-Transfer-Encoding", "base64"), body("aGVsbG8=\r\n")}},
	{name: "bounce", why: "A bounce with a challenge inside is a bounce.",
		edit: []edit{set("Subject", "Undelivered Mail Returned to Sender"), set("Content-Type", "multipart/report; boundary=b")}, want: ignored("not that of a challenge")},
}
