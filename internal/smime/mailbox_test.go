package smime

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
)

func TestSmtpUTF8Mailbox(t *testing.T) {
	constrain := func(permitted, excluded []string) change {
		return func(c *x509.Certificate) { c.PermittedEmailAddresses, c.ExcludedEmailAddresses = permitted, excluded }
	}
	const mailbox = "gr\u00fc\u00dfe@ca.example"
	for _, c := range []struct {
		name       string
		constraint change
		leaf       change
		mailboxes  []string
		want       string
	}{
		{"plain", nil, names(false, mailbox), []string{mailbox}, ""},
		{"critical", nil, names(true, mailbox), []string{mailbox}, ""},
		{"two", nil, names(false, mailbox, "\u5b66\u751f@xn--pss25c.example"), []string{mailbox, "\u5b66\u751f@xn--pss25c.example"}, ""},
		{"ASCII local part", nil, names(false, "acme@ca.example"), nil, "names no mailbox"},
		{"line break", nil, names(false, "\u00fc\r\n@ca.example"), nil, "names no mailbox"},
		{"no domain", nil, names(false, "\u00fc@"), nil, "names no mailbox"},
		{"not UTF-8", nil, names(false, "\xff@ca.example"), nil, "names no mailbox"},
		{"permitted", constrain([]string{"ca.example"}, nil), names(false, mailbox), []string{mailbox}, ""},
		{"permitted below", constrain([]string{".example"}, nil), names(false, mailbox), []string{mailbox}, ""},
		{"permitted U-label", constrain([]string{"xn--pss25c.example"}, nil), names(false, "\u533b\u751f@\u5927\u5b66.example"),
			[]string{"\u533b\u751f@\u5927\u5b66.example"}, ""},
		{"not permitted", constrain([]string{"other.example"}, nil), names(false, mailbox), nil, "may not vouch"},
		{"not permitted, critical", constrain([]string{"other.example"}, nil), names(true, mailbox), nil, "may not vouch"},
		{"one of two not permitted", constrain([]string{"ca.example"}, nil), names(false, mailbox, "\u00fc@x.example"), nil, "may not vouch"},
		{"domain that IDNA rejects", constrain([]string{"ca.example"}, nil), names(false, "\u00fc@a_b.example"), nil, "has no domain"},
		{"excluded", constrain(nil, []string{"CA.example"}), names(false, mailbox), nil, "may not vouch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := newCA(t, nil, "root")
			issuer := newCA(t, ca, "sub", append([]change{}, nonNil(c.constraint)...)...)
			id := newLeaf(t, issuer, ecKey(t), c.leaf)
			got, err := Verify([]byte(opaque(newCMS(marked(outerHead), id).build(t))), Options{Roots: ca.root(), Now: now})
			switch {
			case c.want != "":
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			case err != nil:
				t.Error(err)
			case !slices.Equal(got.Mailboxes, c.mailboxes):
				t.Errorf("got %q, want %q", got.Mailboxes, c.mailboxes)
			}
		})
	}
}

// A root may be there twice with the same name and key, such as before and after it was
// limited to one domain. One chain that permits the mailbox is enough.
func TestSmtpUTF8MailboxOneOfTwoChains(t *testing.T) {
	wide := newCA(t, nil, "root")
	narrow := issue(t, nil, wide.key, &x509.Certificate{
		Subject: wide.cert.Subject, SubjectKeyId: wide.cert.SubjectKeyId, IsCA: true, BasicConstraintsValid: true,
		PermittedEmailAddresses: []string{"other.example"},
	}, nil)
	id := newLeaf(t, wide, ecKey(t), names(false, "gr\u00fc\u00dfe@ca.example"))
	raw := []byte(opaque(newCMS(marked(outerHead), id).build(t)))
	for _, order := range [][]*identity{{wide, narrow}, {narrow, wide}} {
		roots := x509.NewCertPool()
		for _, root := range order {
			roots.AddCert(root.cert)
		}
		if _, err := Verify(raw, Options{Roots: roots, Now: now}); err != nil {
			t.Error(err)
		}
	}
}

func nonNil(c change) []change {
	if c == nil {
		return nil
	}
	return []change{c}
}

func TestReadOtherNames(t *testing.T) {
	for in, want := range map[string]string{
		"\x30\x00":                         "",
		"\x30\x03\x82\x01a":                "",
		"\x30\x03\x82\x02a":                "malformed",
		"\x30\x00\x00":                     "malformed",
		"\x30\x02\xa0\x00":                 "malformed",
		"\x30\x07\xa0\x05\x06\x01\x2a\xa0": "malformed",
		"\x30\x09\xa0\x07\x06\x01\x2a\xa0\x02\x05\x00":                                                "",
		"\x30\x0b\xa0\x09\x06\x01\x2a\xa0\x02\x05\x00\x05\x00":                                        "malformed",
		"\x30\x17\xa0\x15\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x09\xa0\x09\x0c\x05\xc3\xbc@ca\x05\x00": "malformed",
		"": "malformed",
	} {
		got, ok := readOtherNames([]byte(in))
		if len(got) != 0 || ok != (want == "") {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}
