package testca

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

// verdict is what a reply was found to be.
type verdict struct {
	kind   Verdict
	reason string
}

func bad(err error) verdict { return verdict{VerdictBad, err.Error()} }

// expected is what a reply must fit; copied from an authorization.
type expected struct {
	address   string // ordered
	challFrom string // From of the challenge mail
	replyTo   string // its Reply-To
	messageID string // its Message-ID
	part1     string
	digest    string
}

// judge finds the challenge a reply belongs to and checks the reply. The
// authorization is nil when there is none.
func (ca *CA) judge(r Reply) (verdict, *authz) {
	e, err := parseEntity(r.Data)
	if err != nil {
		return verdict{VerdictUnknown, err.Error()}, nil
	}
	part1, err := e.subjectToken()
	if err != nil {
		return verdict{VerdictUnknown, err.Error()}, nil
	}
	ca.mu.Lock()
	a := ca.byPart1[part1]
	if a == nil {
		ca.mu.Unlock()
		return verdict{VerdictUnknown, "no challenge has this token-part1"}, nil
	}
	want := expected{
		address: a.ident.Value, challFrom: a.from, replyTo: ca.cfg.ReplyTo, messageID: a.messageID, part1: a.part1,
		digest: responseDigest(ca.cfg.Join, a.part1, a.token, a.account.thumb),
	}
	ca.mu.Unlock()
	return ca.check(r, e, want), a
}

// check holds a reply against RFC 8823, Section 3.2: what no CA can do
// without always, the rest when strict, and what some CAs demand beyond it
// when picky.
func (ca *CA) check(r Reply, e *entity, want expected) verdict {
	if err := checkFrom(e, want.address); err != nil {
		return bad(err)
	}
	if ca.cfg.Strict {
		if err := checkStrict(r, e, want); err != nil {
			return bad(err)
		}
	}
	text, err := e.plainText(ca.cfg.Strict)
	if err != nil {
		return bad(err)
	}
	digest, err := responseBlock(text, ca.cfg.Strict)
	if err == nil && ca.cfg.Picky {
		err = checkPicky(e, digest, want)
	}
	if err != nil {
		return bad(err)
	}
	if strings.TrimRight(strings.ReplaceAll(digest, "\n", ""), "=") != want.digest {
		return bad(errors.New("the digest is not that of the key authorization (RFC 8823, Section 3, item 6)"))
	}
	if ca.cfg.Strict {
		return ca.checkDKIM(r.Data, want.address)
	}
	return verdict{VerdictGood, ""}
}

// checkStrict is RFC 8823, Section 3.2, items 2 to 7, as far as the header
// goes.
func checkStrict(r Reply, e *entity, want expected) error {
	for _, check := range []func(Reply, *entity, expected) error{
		checkSingular, checkExactFrom, checkTo, checkInReplyTo, checkNoList, checkLineEnds,
	} {
		if err := check(r, e, want); err != nil {
			return err
		}
	}
	return nil
}

// checkFrom is item 2: the address ordered, alone.
func checkFrom(e *entity, address string) error {
	from, err := e.one("From")
	if err != nil {
		return err
	}
	list, err := mail.ParseAddressList(from)
	if err != nil || len(list) != 1 {
		return fmt.Errorf("the From %q does not hold exactly one address", from)
	}
	if !strings.EqualFold(certificateName(list[0].Address), certificateName(address)) {
		return fmt.Errorf("the From is %q, the order is for %q (RFC 8823, Section 3.2, item 2)", list[0].Address, address)
	}
	return nil
}

// checkExactFrom wants the address byte for byte, and the same in the
// envelope.
func checkExactFrom(r Reply, e *entity, want expected) error {
	from, _ := e.one("From")
	if from = strings.TrimSpace(from); from != want.address && from != "<"+want.address+">" {
		return fmt.Errorf("the From is %q, not exactly %q (RFC 8823, Section 3.2, item 2)", from, want.address)
	}
	if r.From != want.address {
		return fmt.Errorf("the envelope sender is %q, not %q as in From", r.From, want.address)
	}
	return nil
}

// checkSingular is RFC 5322, Section 3.6: fields that occur once at most.
func checkSingular(_ Reply, e *entity, _ expected) error {
	for _, name := range []string{
		"Date", "From", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References",
		"Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	} {
		if n := len(e.all(name)); n > 1 {
			return fmt.Errorf("%s occurs %d times", name, n)
		}
	}
	return nil
}

// checkTo is item 3: Reply-To of the challenge, else its From.
func checkTo(_ Reply, e *entity, want expected) error {
	address := want.challFrom
	or(&want.replyTo, address)
	to, err := e.one("To")
	if err != nil {
		return err
	}
	list, err := mail.ParseAddressList(to)
	if err != nil || len(list) != 1 || !strings.EqualFold(list[0].Address, want.replyTo) {
		return fmt.Errorf("the To is %q, not %q (RFC 8823, Section 3.2, item 3)", to, want.replyTo)
	}
	return nil
}

// checkInReplyTo is item 5. A challenge without Message-ID may have been given
// one on its way.
func checkInReplyTo(_ Reply, e *entity, want expected) error {
	if want.messageID == "" {
		return nil
	}
	got, err := e.one("In-Reply-To")
	if err != nil || strings.TrimSpace(got) != want.messageID {
		return fmt.Errorf("the In-Reply-To is %q, not the challenge's Message-ID %q (RFC 8823, Section 3.2, item 5)", strings.TrimSpace(got), want.messageID)
	}
	return nil
}

// checkNoList is item 6.
func checkNoList(_ Reply, e *entity, _ expected) error {
	for _, f := range e.fields {
		if len(f.name) > 5 && strings.EqualFold(f.name[:5], "List-") {
			return fmt.Errorf("the reply has a %s field (RFC 8823, Section 3.2, item 6)", f.name)
		}
	}
	return nil
}

// checkLineEnds is item 7: lines end in CRLF, and neither occurs alone.
func checkLineEnds(r Reply, _ *entity, _ expected) error {
	rest := bytes.ReplaceAll(r.Data, []byte("\r\n"), nil)
	if bytes.ContainsAny(rest, "\r\n") {
		return errors.New("the reply has a bare CR or LF (RFC 8823, Section 3.2, item 7)")
	}
	return nil
}

// checkPicky is what the fussiest CAs seen demand: the plainest Subject, one
// part, and the digest in one unpadded line.
func checkPicky(e *entity, digest string, want expected) error {
	if s, _ := e.one("Subject"); s != "Re: ACME: "+want.part1 {
		return fmt.Errorf("the Subject is %q, not %q", s, "Re: ACME: "+want.part1)
	}
	if mt := e.mediaType(); mt != "text/plain" {
		return fmt.Errorf("the reply is %s, not text/plain", mt)
	}
	if cte := e.encoding(); cte != "7bit" {
		return fmt.Errorf("the Content-Transfer-Encoding is %s, not 7bit", cte)
	}
	if len(digest) != 43 || strings.ContainsAny(digest, "=\n") {
		return fmt.Errorf("the response is not one line of 43 characters: %q", digest)
	}
	return nil
}

// requiredInReply is the least a reply's signature covers, present or not
// (RFC 8823, Section 3.2, item 9).
var requiredInReply = []string{
	"From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To",
	"References", "Message-ID", "Content-Type", "Content-Transfer-Encoding",
}

// maxSignatures bounds the work a single reply can cause.
const maxSignatures = 10

// checkDKIM is RFC 8823, Section 3.2, item 9: one signature that passes, is
// of the From domain, and covers enough.
func (ca *CA) checkDKIM(raw []byte, address string) verdict {
	all, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{
		LookupTXT: ca.lookupDKIMKey, MaxVerifications: maxSignatures,
	})
	if err != nil && len(all) == 0 {
		return bad(fmt.Errorf("the DKIM signatures cannot be checked: %w", err))
	}
	_, domain, _ := splitAddress(address)
	v := bad(errors.New("the reply has no DKIM signature (RFC 8823, Section 3.2, item 9)"))
	for _, sig := range all {
		switch err := checkSignature(sig, domain); {
		case err == nil:
			return verdict{VerdictGood, ""}
		case dkim.IsTempFail(sig.Err):
			v = verdict{VerdictLater, sig.Err.Error()}
		case v.kind != VerdictLater:
			v = bad(err)
		}
	}
	return v
}

func checkSignature(sig *dkim.Verification, domain string) error {
	if sig.Err != nil {
		return fmt.Errorf("the DKIM signature of %q does not pass: %w", sig.Domain, sig.Err)
	}
	if asciiDomain(sig.Domain) != asciiDomain(domain) {
		return fmt.Errorf("the DKIM signature has d=%s, From has %s (RFC 8823, Section 3.2, item 9)", sig.Domain, domain)
	}
	for _, name := range requiredInReply {
		if !containsFold(sig.HeaderKeys, name) {
			return fmt.Errorf("the DKIM signature's h= lacks %s (RFC 8823, Section 3.2, item 9)", name)
		}
	}
	return nil
}

// lookupDKIMKey takes keys from the CA's own DNS. Names may hold U-labels
// (RFC 8616, Section 4). A key in testing mode counts as none (RFC 6376,
// Section 3.6.1).
func (ca *CA) lookupDKIMKey(name string) ([]string, error) {
	txt, err := ca.zone.lookupTXT(name)
	for _, record := range txt {
		if testingKey.MatchString(record) {
			return nil, errors.New("the key is in testing mode")
		}
	}
	return txt, err
}

var testingKey = regexp.MustCompile(`(?:^|;)\s*t\s*=[^;]*\by\b`)

func containsFold(all []string, s string) bool {
	for _, a := range all {
		if strings.EqualFold(a, s) {
			return true
		}
	}
	return false
}

// entity is a message or a part of one, taken apart.
type entity struct {
	fields []field // values unfolded, as they stand otherwise
	body   []byte
}

// parseEntity splits header from body. It is lenient with line ends, which
// have a check of their own.
func parseEntity(raw []byte) (*entity, error) {
	e := &entity{}
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		raw = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			e.body = raw
			return e, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(e.fields) == 0 {
				return nil, errors.New("the header starts with a folded line")
			}
			e.fields[len(e.fields)-1].value += string(line)
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return nil, fmt.Errorf("the header has a line without a colon: %q", line)
		}
		e.fields = append(e.fields, field{string(bytes.TrimRight(name, " \t")), strings.TrimPrefix(string(value), " ")})
	}
	return e, nil // a header only
}

func (e *entity) all(name string) []string {
	var values []string
	for _, f := range e.fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

// one returns the value of a field that must be there once.
func (e *entity) one(name string) (string, error) {
	values := e.all(name)
	if len(values) != 1 {
		return "", fmt.Errorf("%s occurs %d times, not once", name, len(values))
	}
	return values[0], nil
}

var encodedWord = regexp.MustCompile(`=\?([^?*]*)(?:\*[^?]*)?\?[bBqQ]\?`)

// subjectToken finds token-part1 in the Subject (RFC 8823, Section 3.2, item
// 1): encoded-words are decoded, a prefix is ignored, and so is white space
// within the token.
func (e *entity) subjectToken() (string, error) {
	s, err := e.one("Subject")
	if err != nil {
		return "", err
	}
	for _, w := range encodedWord.FindAllStringSubmatch(s, -1) {
		if !strings.EqualFold(w[1], "utf-8") && !strings.EqualFold(w[1], "us-ascii") {
			return "", fmt.Errorf("the Subject is encoded in %s; only UTF-8 and US-ASCII are allowed", w[1])
		}
	}
	if s, err = (&mime.WordDecoder{}).DecodeHeader(s); err != nil {
		return "", fmt.Errorf("the Subject cannot be decoded: %w", err)
	}
	_, token, ok := strings.Cut(s, "ACME:")
	if !ok {
		return "", fmt.Errorf("the Subject %q lacks the label ACME: (RFC 8823, Section 3.2, item 1)", s)
	}
	return strings.Join(strings.Fields(token), ""), nil
}

func (e *entity) mediaType() string {
	values := e.all("Content-Type")
	if len(values) == 0 {
		return "text/plain" // RFC 2045, Section 5.2
	}
	mt, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return "application/octet-stream"
	}
	return mt
}

func (e *entity) encoding() string {
	values := e.all("Content-Transfer-Encoding")
	if len(values) == 0 {
		return "7bit"
	}
	return strings.ToLower(strings.TrimSpace(values[0]))
}

// plainText finds the text/plain part and decodes it (RFC 8823, Section 3.2,
// items 7 and 8). Strictly, no other multipart than alternative will do.
func (e *entity) plainText(strict bool) ([]byte, error) {
	switch mt := e.mediaType(); {
	case mt == "text/plain":
		return e.decoded()
	case mt == "multipart/alternative", !strict && strings.HasPrefix(mt, "multipart/"):
		return e.alternative(strict)
	default:
		return nil, fmt.Errorf("the reply is %s, not text/plain or multipart/alternative (RFC 8823, Section 3.2, item 7)", mt)
	}
}

func (e *entity) alternative(strict bool) ([]byte, error) {
	_, params, err := mime.ParseMediaType(e.all("Content-Type")[0])
	if err != nil {
		return nil, err
	}
	parts := multipart.NewReader(bytes.NewReader(e.body), params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err != nil {
			return nil, errors.New("the reply has no text/plain part (RFC 8823, Section 3.2, item 7)")
		}
		sub := &entity{}
		for name, values := range p.Header {
			for _, v := range values {
				sub.fields = append(sub.fields, field{name, v})
			}
		}
		if sub.body, err = io.ReadAll(p); err != nil {
			return nil, fmt.Errorf("the reply's parts cannot be read: %w", err)
		}
		if text, err := sub.plainText(strict); err == nil {
			return text, nil
		}
	}
}

func (e *entity) decoded() ([]byte, error) {
	switch enc := e.encoding(); enc {
	case "7bit", "8bit", "binary":
		return e.body, nil
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(e.body)))
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(e.body)))
	default:
		return nil, fmt.Errorf("the Content-Transfer-Encoding %q is unknown", enc)
	}
}

const (
	beginResponse = "-----BEGIN ACME RESPONSE-----"
	endResponse   = "-----END ACME RESPONSE-----"
)

// responseBlock returns the lines between the markers, of which there must be
// one pair (RFC 8823, Section 3.2, item 7). Strictly, the marker is the whole
// line.
func responseBlock(text []byte, strict bool) (string, error) {
	var lines, block []string
	begins, ends, inside := 0, 0, false
	lines = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	for _, line := range lines {
		if !strict {
			line = strings.TrimSpace(line)
		}
		switch {
		case line == beginResponse:
			begins++
			inside = true
		case line == endResponse:
			ends++
			inside = false
		case inside:
			block = append(block, line)
		}
	}
	if begins != 1 || ends != 1 || inside {
		return "", fmt.Errorf("the reply has %d BEGIN and %d END lines, not one block (RFC 8823, Section 3.2, item 7)", begins, ends)
	}
	return strings.Join(block, "\n"), nil
}
