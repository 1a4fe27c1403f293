package challenge

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/cli"
)

// sig is a DKIM signature to make. Its code follows the text of RFC 6376 and not the library:
// every tag is as the case wants it, legal or not.
type sig struct {
	d, s, h, a, c, q string // tags; "" means the usual value, "-" leaves the tag out
	more             string // further tags, verbatim, each with its semicolon
	key              string // a file of testdata/keys; "" means rsa2048
	bad              bool   // the signature is broken
	raw              string // a whole field instead
	below            bool   // the field is below the header, not on top
}

// usualH is h= of a CA that follows RFC 8823 to the letter.
const usualH = "From:Sender:Reply-To:To:Cc:Subject:Date:In-Reply-To:References:" +
	"Message-ID:Auto-Submitted:Content-Type:Content-Transfer-Encoding"

func usual(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// field returns the DKIM-Signature field for a message with CRLF line ends.
func (s sig) field(mail string) string {
	if s.raw != "" {
		return s.raw
	}
	header, body, _ := strings.Cut(mail, "\r\n\r\n")
	headerWay, bodyWay, _ := strings.Cut(usual(s.c, "relaxed/relaxed"), "/")
	names := usual(s.h, usualH)
	hash := sha256.Sum256([]byte(canonicalBody(bodyWay, body)))
	out := "DKIM-Signature: v=1; "
	for _, tag := range []struct{ name, value string }{
		{"a", usual(s.a, "rsa-sha256")}, {"c", usual(s.c, "relaxed/relaxed")}, {"d", usual(s.d, "ca.example")},
		{"s", usual(s.s, "s1")}, {"q", usual(s.q, "-")},
	} {
		if tag.value != "-" {
			out += tag.name + "=" + tag.value + "; "
		}
	}
	out = strings.TrimRight(out+s.more, " ") + "\r\n\th=" + names + ";\r\n\tbh=" + base64.StdEncoding.EncodeToString(hash[:]) + ";\r\n\tb="
	data := ""
	for _, f := range pick(header, names) {
		data += canonicalField(headerWay, f) + "\r\n"
	}
	data += canonicalField(headerWay, out)
	value := base64.StdEncoding.EncodeToString(testKey(usual(s.key, "rsa2048")).sign(data))
	if s.bad {
		value = "AAAA" + value[4:]
	}
	return out + value[:60] + "\r\n\t " + value[60:]
}

// pick chooses the fields to sign, from the bottom (RFC 6376, Section 5.4.2).
func pick(header, names string) (picked []string) {
	fields := regexp.MustCompile(`\r\n([^ \t])`).ReplaceAllString(header, "\x00$1")
	rest := strings.Split(fields, "\x00")
	for _, name := range strings.Split(names, ":") {
		for i := len(rest) - 1; i >= 0; i-- {
			own, _, _ := strings.Cut(rest[i], ":")
			if strings.EqualFold(strings.TrimSpace(own), strings.TrimSpace(name)) {
				picked = append(picked, rest[i])
				rest = append(rest[:i:i], rest[i+1:]...)
				break
			}
		}
	}
	return picked
}

var wsp = regexp.MustCompile(`[ \t]+`)

// canonicalField follows RFC 6376, Sections 3.4.1 and 3.4.2.
func canonicalField(way, field string) string {
	if way != "relaxed" {
		return field
	}
	name, value, _ := strings.Cut(strings.ReplaceAll(field, "\r\n", ""), ":")
	return strings.ToLower(strings.TrimRight(name, " \t")) + ":" + strings.Trim(wsp.ReplaceAllString(value, " "), " ")
}

// canonicalBody follows RFC 6376, Sections 3.4.3 and 3.4.4.
func canonicalBody(way, body string) string {
	if way == "relaxed" {
		lines := strings.Split(body, "\r\n")
		for i, line := range lines {
			lines[i] = strings.TrimRight(wsp.ReplaceAllString(line, " "), " ")
		}
		body = strings.Join(lines, "\r\n")
	}
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	if body == "" && way == "relaxed" {
		return ""
	}
	return body + "\r\n"
}

// key is a private key of testdata/keys.
type key struct{ crypto.Signer }

var testKeys sync.Map

func testKey(name string) key {
	if k, ok := testKeys.Load(name); ok {
		return k.(key)
	}
	signer, err := (&cli.DKIMKey{Key: "testdata/keys/" + name + ".pem"}).Signer()
	if err != nil {
		panic(err)
	}
	testKeys.Store(name, key{signer})
	return key{signer}
}

// sign signs according to RFC 6376 and RFC 8463: Ed25519 signs the hash.
func (k key) sign(data string) []byte {
	hash := sha256.Sum256([]byte(data))
	if ed, ok := k.Signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(ed, hash[:])
	}
	out, err := k.Sign(nil, hash[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return out
}

// public returns p= of the key's record.
func (k key) public() string {
	if ed, ok := k.Signer.(ed25519.PrivateKey); ok {
		return base64.StdEncoding.EncodeToString(ed.Public().(ed25519.PublicKey))
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public().(*rsa.PublicKey))
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// The signer of the corpus must agree with the library about what a good
// signature is, or refused cases would be refused for the wrong reason.
func TestSignerAgreesWithLibrary(t *testing.T) {
	mails := map[string]string{
		"plain":         newDraft().String(),
		"folded":        newDraft().with(set("Subject", "ACME:\r\n \t"+part1)).String(),
		"blank lines":   newDraft().with(body(" \r\n\r\nx \t y\t\r\n\r\n\r\n")).String(),
		"empty body":    newDraft().with(body("")).String(),
		"white body":    newDraft().with(body(" \r\n\r\n")).String(),
		"repeated":      newDraft().with(add("Cc: a@b.example"), add("Cc:  c@d.example")).String(),
		"no end":        newDraft().with(body("x")).String(),
		"space : colon": newDraft().with(del("Subject"), add("Subject : x")).String(),
	}
	for name, mail := range mails {
		for _, c := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed", "relaxed", "simple"} {
			for _, algorithm := range []struct{ a, key, k string }{{"rsa-sha256", "rsa2048", "rsa"}, {"ed25519-sha256", "ed25519", "ed25519"}} {
				field := sig{c: c, a: algorithm.a, key: algorithm.key, h: usualH + ":Cc:Cc"}.field(mail)
				results, err := dkim.VerifyWithOptions(strings.NewReader(field+"\r\n"+mail), &dkim.VerifyOptions{
					LookupTXT: func(string) ([]string, error) {
						return []string{"v=DKIM1; k=" + algorithm.k + "; p=" + testKey(algorithm.key).public()}, nil
					},
				})
				if err != nil || len(results) != 1 || results[0].Err != nil {
					t.Errorf("%s, %s, %s: %v %v", name, c, algorithm.a, err, results[0].Err)
				}
			}
		}
	}
}
