package challenge

import "strings"

// without returns the usual h= without some names.
func without(names ...string) string {
	var kept []string
	for _, name := range strings.Split(usualH, ":") {
		drop := false
		for _, n := range names {
			drop = drop || strings.EqualFold(n, name)
		}
		if !drop {
			kept = append(kept, name)
		}
	}
	return strings.Join(kept, ":")
}

// present is h= of a CA that names only the fields that its mail has.
const present = "from:to:subject:date:message-id:auto-submitted:mime-version:content-type"

// headerCases are rule 3 (duplicate fields) and RFC 8823, Section 3.1, item 6 (what a
// signature covers).
var headerCases = []corpusCase{
	{name: "from-added-above", why: "DKIM takes the bottom one of two and people read the top one.",
		sign: []sig{{h: present}}, after: []edit{top("From: eve@evil.example")}, want: refused(0, "2 From fields")},
	{name: "from-added-below", why: "And the other way round.",
		sign: []sig{{h: present}}, after: []edit{add("From: eve@evil.example")}, want: refused(0, "2 From fields")},
	{name: "from-added-same", why: "Even if both say the same.",
		sign: []sig{{h: present}}, after: []edit{top("From: " + caFrom)}, want: refused(0, "2 From fields")},
	{name: "to-added-above", why: "A challenge for mallory made to look like one for alice: this is the attack that the whole check is for.",
		edit: []edit{set("To", "mallory@evil.example")}, sign: []sig{{h: present}}, after: []edit{top("To: " + alice)},
		want: refused(0, "2 To fields")},
	{name: "to-added-below", why: "The same with the fields swapped.",
		edit: []edit{set("To", "mallory@evil.example")}, sign: []sig{{h: present}}, after: []edit{add("To: " + alice)},
		want: refused(0, "2 To fields")},
	{name: "subject-added-above", why: "Another token on top of a signed one.",
		sign: []sig{{h: present}}, after: []edit{top("Subject: ACME: AAAAAAAAAAAAAAAAAAAAAA")}, want: refused(0, "2 Subject fields")},
	{name: "subject-added-below", why: "Another token below.",
		sign: []sig{{h: present}}, after: []edit{add("Subject: ACME: AAAAAAAAAAAAAAAAAAAAAA")}, want: refused(0, "2 Subject fields")},
	{name: "subject-added-ordinary", why: "A newsletter that is validly signed, with a challenge's Subject on top.",
		edit: []edit{set("Subject", "News")}, sign: []sig{{h: present}}, after: []edit{top("Subject: ACME: " + part1)},
		want: refused(0, "2 Subject fields")},
	{name: "subject-two-signed", why: "Two Subjects from the start, both signed.",
		edit: []edit{add("Subject: ACME: " + part1)}, sign: []sig{{h: present + ":subject"}}, want: refused(0, "2 Subject fields")},
	{name: "subject-other-case", why: "Names of fields have no case: a SUBJECT is a second Subject.",
		sign: []sig{{h: present}}, after: []edit{top("SUBJECT: ACME: AAAAAAAAAAAAAAAAAAAAAA")}, want: refused(0, "2 Subject fields")},
	{name: "subject-space-colon-second", why: "A space before the colon (RFC 5322, Section 4.5) does not make it another field.",
		sign: []sig{{h: present}}, after: []edit{top("Subject : ACME: AAAAAAAAAAAAAAAAAAAAAA")}, want: refused(0, "2 Subject fields")},
	{name: "subject-space-colon", why: "A space before the colon is obsolete and legal, and relaxed canonicalization drops it.",
		edit: []edit{del("Subject"), add("Subject : ACME: " + part1)}},
	{name: "subject-space-colon-simple", why: "Under simple canonicalization the space is signed.",
		edit: []edit{del("Subject"), add("Subject : ACME: " + part1)}, sign: []sig{{c: "simple/simple"}}},
	{name: "names-odd-case", why: "Names of fields have no case.",
		edit: []edit{func(d *draft) {
			for i, f := range d.fields {
				name, value, _ := strings.Cut(f, ":")
				d.fields[i] = strings.ToUpper(name) + ":" + value
			}
		}}},
	{name: "no-space-after-colon", why: "Nor need a space follow the colon.",
		edit: []edit{func(d *draft) {
			for i, f := range d.fields {
				d.fields[i] = strings.Replace(f, ": ", ":", 1)
			}
		}}},
	{name: "reply-to-twice", why: "Two Reply-To: two opinions of where the reply goes.",
		edit: []edit{set("Reply-To", "r@ca.example")}, sign: []sig{{h: present + ":reply-to"}}, after: []edit{top("Reply-To: s@ca.example")},
		want: refused(0, "2 Reply-To fields")},
	{name: "auto-submitted-twice", why: "One says that a robot wrote it and one that it did not.",
		sign: []sig{{h: present}}, after: []edit{top("Auto-Submitted: no")}, want: refused(0, "2 Auto-Submitted fields")},
	{name: "auto-submitted-twice-same", why: "A relay that adds its own.",
		sign: []sig{{h: present}}, after: []edit{add("Auto-Submitted: auto-generated")}, want: refused(0, "2 Auto-Submitted fields")},
	{name: "message-id-twice", why: "Which one is In-Reply-To to name?",
		sign: []sig{{h: present}}, after: []edit{top("Message-ID: <other@ca.example>")}, want: refused(0, "2 Message-ID fields")},
	{name: "date-twice", why: "An old challenge with a new Date on top.",
		sign: []sig{{h: present}}, after: []edit{top("Date: Mon, 01 Jun 2026 12:00:00 +0000")}, want: refused(0, "2 Date fields")},
	{name: "sender-twice", why: "RFC 5322, Section 3.6: at most one Sender.",
		edit: []edit{set("Sender", "a@ca.example")}, after: []edit{add("Sender: b@ca.example")}, want: refused(0, "2 Sender fields")},
	{name: "cc-twice", why: "RFC 5322, Section 3.6: at most one Cc.",
		edit: []edit{add("Cc: bob@example.test", "Cc: carol@example.test")}, sign: []sig{{h: usualH + ":cc"}}, want: refused(0, "2 Cc fields")},
	{name: "content-type-twice", why: "Two bodies in one, depending on the reader.",
		sign: []sig{{h: present}}, after: []edit{top("Content-Type: text/html")}, want: refused(0, "2 Content-Type fields")},
	{name: "mime-version-twice", why: "RFC 2045, Section 4: one MIME-Version.",
		after: []edit{add("MIME-Version: 1.0")}, want: refused(0, "2 Mime-Version fields")},
	{name: "received-many", why: "Trace fields stand as often as they like, and on top.",
		after: []edit{top("Received: from a by b; Mon, 1 Jun 2026 12:00:00 +0000", "Received: from b\r\n\tby c; Mon, 1 Jun 2026 12:00:00 +0000",
			"Return-Path: <bounce@ca.example>", "X-Spam: no", "X-Spam: no")}},
	{name: "mime-type-any", why: "Item 7: the body can be of any type.",
		edit: []edit{set("Content-Type", "multipart/alternative; boundary=b"),
			body("--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n--b--\r\n")}},
	{name: "list-fields", why: "Nothing forbids List-* in a challenge.",
		edit: []edit{add("List-Id: <x.ca.example>", "List-Unsubscribe: <mailto:x@ca.example>")}},

	{name: "h-present-only", why: "Many CAs sign just what is there. Absent fields could be added, and those that matter may stand only once.",
		sign: []sig{{h: present}}},
	{name: "h-lower-case", why: "Names in h= have no case; a client in the field refuses what is not lower-case.",
		sign: []sig{{h: strings.ToLower(usualH)}}},
	{name: "h-upper-case", why: "The same the other way.",
		sign: []sig{{h: strings.ToUpper(usualH)}}},
	{name: "h-spaces", why: "FWS around the colons of h= (RFC 6376, Section 3.5).",
		sign: []sig{{h: "From : To\r\n\t: Subject :Date:\r\n Auto-Submitted"}}},
	{name: "h-duplicates", why: "Names twice mean: and no second one was there (RFC 6376, Section 8.15).",
		sign: []sig{{h: "From:From:To:To:Subject:Subject:Date:Date:Auto-Submitted:Auto-Submitted:Reply-To"}}},
	{name: "h-duplicates-added", why: "An over-signed Subject breaks as soon as one is added; here the second one is refused first.",
		sign: []sig{{h: "From:From:To:To:Subject:Subject:Auto-Submitted"}}, after: []edit{top("Subject: x")}, want: refused(0, "2 Subject fields")},
	{name: "h-minimal", why: "From, To, Subject and Auto-Submitted are what counts; Date then counts as absent.",
		sign: []sig{{h: "from:to:subject:auto-submitted"}}},
	{name: "h-no-from", why: "RFC 6376, Section 5.4: From MUST be signed.",
		sign: []sig{{h: without("from")}}, want: refused(0, "does not cover From")},
	{name: "h-no-to", why: "Without To, a challenge for one is a challenge for all.",
		sign: []sig{{h: without("to")}}, want: refused(0, "does not cover To")},
	{name: "h-no-subject", why: "Without Subject, any token would do.",
		sign: []sig{{h: without("subject")}}, want: refused(0, "does not cover Subject")},
	{name: "h-no-auto-submitted", why: "Auto-Submitted that is not covered counts as absent.",
		sign: []sig{{h: without("auto-submitted")}}, want: refused(1, "does not cover Auto-Submitted")},
	{name: "h-no-date", why: "Date that is not covered counts as absent, and may be absent.",
		sign: []sig{{h: without("date")}}},
	{name: "h-no-message-id", why: "An uncovered Message-ID may still be echoed: all it can do is name a mail that is not there.",
		sign: []sig{{h: without("message-id")}}},
	{name: "h-no-reply-to", why: "No Reply-To, none covered: fine.",
		sign: []sig{{h: without("reply-to")}}},
	{name: "h-no-sender", why: "Item 6 asks for it, and nothing here depends on it (SPEC.md: default policy).",
		sign: []sig{{h: without("sender", "cc", "in-reply-to", "references", "content-type", "content-transfer-encoding")}}},
	{name: "h-empty", why: "Nothing signed.",
		sign: []sig{{h: " "}}, want: refused(0, "does not cover From")},
	{name: "h-look-alike", why: "A name that only looks like Subject (a Cyrillic letter) covers nothing.",
		sign: []sig{{h: "from:to:\u0455ubject:auto-submitted"}}, want: refused(0, "does not cover Subject")},
	{name: "h-x-subject", why: "X-Subject is not Subject.",
		sign: []sig{{h: "from:to:x-subject:auto-submitted"}}, want: refused(0, "does not cover Subject")},
	{name: "h-201-names", why: "More names than any signer writes: somebody's attempt to make us work.",
		sign: []sig{{h: usualH + strings.Repeat(":x", 200)}}, want: refused(0, "h= names more than 200")},
	{name: "subject-changed", why: "The Subject was changed on the way.",
		after: []edit{set("Subject", "ACME: AAAAAAAAAAAAAAAAAAAAAA")}, want: refused(1, "signature did not verify")},
	{name: "to-changed", why: "To was changed on the way.",
		edit: to("mallory@evil.example"), after: []edit{set("To", alice)}, want: refused(1, "signature did not verify")},
	{name: "body-changed", why: "A list's footer or a disclaimer: the body is not what was signed.",
		after: []edit{func(d *draft) { d.body += "-- \r\nScanned by X\r\n" }}, want: refused(1, "body hash did not verify")},
	{name: "uncovered-added", why: "Fields that nothing depends on may be added.",
		after: []edit{top("X-Virus-Scanned: yes", "Delivered-To: "+alice)}},

	{name: "message-id-absent", why: "Section 3.2, item 5: no Message-ID, no In-Reply-To.",
		edit: []edit{del("Message-ID")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-empty", why: "An empty one does not count.",
		edit: []edit{set("Message-ID", "")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-folded", why: "A fold before the id is usual with long ones.",
		edit: []edit{set("Message-ID", "\r\n <challenge-1@ca.example>")}},
	{name: "message-id-no-brackets", why: "An id without brackets cannot be repeated: RFC 5322, Section 3.6.4 has them.",
		edit: []edit{set("Message-ID", "challenge-1@ca.example")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-odd", why: "Odd and legal: In-Reply-To repeats every byte.",
		edit: []edit{set("Message-ID", "<A2299BB.FF7788+=_%$!#&'*/?^`{|}~@[192.0.2.1]>")},
		want: want{verdict: Answered, msgID: "<A2299BB.FF7788+=_%$!#&'*/?^`{|}~@[192.0.2.1]>"}},
	{name: "message-id-no-at", why: "Without an at sign it is still what the CA will compare with.",
		edit: []edit{set("Message-ID", "<20260601.1>")}, want: want{verdict: Answered, msgID: "<20260601.1>"}},
	{name: "message-id-spaces", why: "A space could start another field's value in a sloppy reader.",
		edit: []edit{set("Message-ID", "<a b@ca.example>")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-fold-inside", why: "A fold inside the id.",
		edit: []edit{set("Message-ID", "<challenge-1\r\n @ca.example>")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-bare-cr", why: "A bare CR that some mail servers take for a line end.",
		edit: []edit{set("Message-ID", "<a@ca.example>\rBcc: eve@evil.example")}, sign: []sig{{c: "simple/simple"}}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-bare-lf", why: "A bare LF becomes a line of its own before the signature is looked at.",
		edit:  []edit{set("Message-ID", "<a@ca.example>")},
		after: []edit{set("Message-ID", "<a@ca.example>\nBcc: eve@evil.example")}, want: want{verdict: Answered, msgID: "<a@ca.example>"}},
	{name: "message-id-two", why: "Two ids in one field.",
		edit: []edit{set("Message-ID", "<a@ca.example><b@ca.example>")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-comment", why: "A comment after the id is legal and rare; the reply does without In-Reply-To.",
		edit: []edit{set("Message-ID", "<a@ca.example> (x)")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-utf8", why: "An id that is not ASCII cannot be repeated in a reply that is.",
		edit: []edit{set("Message-ID", "<\u00fc@ca.example>")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-control", why: "A control character.",
		edit: []edit{set("Message-ID", "<a\x1b[2J@ca.example>")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-500", why: "500 characters are repeated.",
		edit: []edit{set("Message-ID", "<"+strings.Repeat("a", 498)+">")}, want: want{verdict: Answered, msgID: "<" + strings.Repeat("a", 498) + ">"}},
	{name: "message-id-501", why: "Longer ones are not: lines end at 998 (RFC 5322, Section 2.1.1).",
		edit: []edit{set("Message-ID", "<"+strings.Repeat("a", 499)+">")}, want: want{verdict: Answered, msgID: "-"}},
	{name: "message-id-30000", why: "A huge one that nothing covers must not fill the answer's record, which would then be unreadable and block the order.",
		sign: []sig{{h: without("message-id")}}, after: []edit{set("Message-ID", "<"+strings.Repeat("<", 30000)+">")},
		want: want{verdict: Answered, msgID: "-"}},
	{name: "bcc-twice", why: "RFC 5322, Section 3.6, allows each of these once.",
		edit: []edit{add("Bcc: x@ca.example", "Bcc: y@ca.example")}, want: refused(0, "2 Bcc fields")},
	{name: "in-reply-to-twice", why: "Two threads.",
		edit: []edit{add("In-Reply-To: <a@ca.example>", "In-Reply-To: <b@ca.example>")}, want: refused(0, "2 In-Reply-To fields")},
	{name: "references-twice", why: "Two threads.",
		edit: []edit{add("References: <a@ca.example>", "References: <b@ca.example>")}, want: refused(0, "2 References fields")},
	{name: "content-transfer-encoding-twice", why: "Two readings of one body.",
		edit: []edit{add("Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64")}, want: refused(0, "2 Content-Transfer-Encoding fields")},
}
