package cert

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/test/certs"

	"software.sslmate.com/src/go-pkcs12"
)

const alice = "alice@example.test"

// A request holds subjectAltName, keyUsage if requested, and nothing else.
func TestCSR(t *testing.T) {
	for name, tc := range map[string]struct {
		emails, usages []string
		certbot        bool
		extensions     int
		usage          x509.KeyUsage
	}{
		"plain":       {emails: []string{alice}, extensions: 1},
		"two":         {emails: []string{alice, "bob@example.test"}, extensions: 1},
		"non-ASCII":   {emails: []string{"jörg@example.test"}, extensions: 1},
		"certbot":     {emails: []string{alice}, certbot: true, extensions: 1},
		"signing":     {emails: []string{alice}, usages: []string{"digitalSignature", "contentCommitment"}, extensions: 2, usage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment},
		"encryption":  {emails: []string{alice}, usages: []string{"keyAgreement"}, extensions: 2, usage: x509.KeyUsageKeyAgreement},
		"RSA encrypt": {emails: []string{alice}, usages: []string{"keyEncipherment"}, extensions: 2, usage: x509.KeyUsageKeyEncipherment},
	} {
		der, err := NewCSR(certs.Key(t), tc.emails, tc.usages, tc.certbot)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if csr.CheckSignature() != nil || len(csr.Extensions) != tc.extensions || csr.Subject.String() != "" {
			t.Errorf("%s: %d extensions, subject %q", name, len(csr.Extensions), csr.Subject)
		}
		emails, dns, err := parseNames(csr.Extensions[0].Value)
		if err != nil || !slices.Equal(emails, tc.emails) || tc.certbot != slices.Equal(dns, tc.emails) {
			t.Errorf("%s: %v, %v, %v", name, emails, dns, err)
		}
		if tc.usage != 0 && (parsedUsage(t, csr.Extensions[1]) != tc.usage || !csr.Extensions[1].Critical) {
			t.Errorf("%s: usage %v, critical %v", name, csr.Extensions[1].Value, csr.Extensions[1].Critical)
		}
	}
}

// parsedUsage lets crypto/x509 read a keyUsage extension.
func parsedUsage(t *testing.T, ext pkix.Extension) x509.KeyUsage {
	t.Helper()
	return certs.SelfSigned(t, certs.Key(t), func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, ext) }).KeyUsage
}

func TestLeaf(t *testing.T) {
	key := certs.Key(t)
	for name, tc := range map[string]struct {
		change func(*x509.Certificate)
		want   func(*Wanted)
		err    string
	}{
		"good":               {},
		"other case":         {change: func(c *x509.Certificate) { c.EmailAddresses = []string{"ALICE@Example.test"} }},
		"clientAuth beside":  {change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }},
		"any usage":          {change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, err: "more than mail"},
		"begins in a moment": {change: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }},
		"another key":        {want: func(w *Wanted) { w.Key = certs.Key(t) }, err: "another key"},
		"another address":    {change: func(c *x509.Certificate) { c.EmailAddresses = []string{"eve@example.test"} }, err: "were ordered"},
		"one too many":       {change: func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, "eve@example.test") }, err: "were ordered"},
		"one missing":        {want: func(w *Wanted) { w.Emails = []string{alice, "bob@example.test"} }, err: "were ordered"},
		"no names":           {change: func(c *x509.Certificate) { c.EmailAddresses = nil }, err: "no subjectAltName"},
		"for servers":        {change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, err: "more than mail"},
		"no EKU":             {change: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, err: "emailProtection"},
		"no EKU, agreement":  {change: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, want: func(w *Wanted) { w.Usages = []string{"keyAgreement"} }, err: "emailProtection"},
		"no EKU, signing":    {change: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, want: func(w *Wanted) { w.Usages = []string{"digitalSignature"} }},
		"expired":            {change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, err: "expired"},
		"not yet": {change: func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
			c.NotAfter = time.Now().Add(2 * time.Hour)
		}, err: "begins only"},
		"servers beside":   {change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }, err: "more than mail"},
		"code beside":      {change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, err: "more than mail"},
		"anything beside":  {change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, err: "more than mail"},
		"OCSP beside":      {change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) }, err: "more than mail"},
		"a usage unheard":  {change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }},
		"signs, no EKU":    {change: func(c *x509.Certificate) { c.ExtKeyUsage, c.KeyUsage = nil, x509.KeyUsageDigitalSignature }},
		"encrypts, no EKU": {change: func(c *x509.Certificate) { c.ExtKeyUsage, c.KeyUsage = nil, x509.KeyUsageKeyAgreement }, want: func(w *Wanted) { w.Usages = []string{"digitalSignature"} }, err: "emailProtection"},
		"a CA":             {change: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, err: "of a CA"},
		"signs for a CA":   {change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, err: "of a CA"},
		"dNSName beside":   {change: func(c *x509.Certificate) { c.DNSNames = []string{"www.example.test"} }, err: "were ordered"},
		"its own dNSName":  {change: func(c *x509.Certificate) { c.DNSNames = []string{alice} }, err: "were ordered"},
		"both, certbot":    {change: func(c *x509.Certificate) { c.DNSNames = []string{alice} }, want: func(w *Wanted) { w.Certbot = true }},
		"a host, certbot":  {change: func(c *x509.Certificate) { c.DNSNames = []string{alice, "example.test"} }, want: func(w *Wanted) { w.Certbot = true }, err: "were ordered"},
		"an IP address":    {change: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, err: "kind [7]"},
		"a URI":            {change: func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "urn", Opaque: "x"}} }, err: "kind [6]"},
		"a principal name": {change: func(c *x509.Certificate) {
			c.EmailAddresses, c.ExtraExtensions = nil, []pkix.Extension{{Id: oidSubjectAltName, Value: principalName(alice)}}
		}, err: "kind [0]"},
		"a stranger's CN":   {change: func(c *x509.Certificate) { c.Subject.CommonName = "eve@example.test" }, err: "subject names"},
		"a look-alike's CN": {change: func(c *x509.Certificate) { c.Subject.CommonName = "al\u0130ce@example.test" }, err: "subject names"},
		"its own CN":        {change: func(c *x509.Certificate) { c.Subject.CommonName = "Alice@example.test" }},
		"a name as CN":      {change: func(c *x509.Certificate) { c.Subject.CommonName = "Alice" }},
		"a stranger's subject": {change: func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidEmailAddress, Value: "eve@example.test"}}
		}, err: "subject names"},
		"for ever":           {change: func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }, err: "valid from"},
		"ends before begins": {change: func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(time.Minute) }, err: "valid from"},
		"dNSName, certbot":   {change: func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{alice} }, want: func(w *Wanted) { w.Certbot = true }},
		"dNSName":            {change: func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{alice} }, err: "were ordered"},
	} {
		w := Wanted{Key: key, Emails: []string{alice}, Now: time.Now()}
		if tc.want != nil {
			tc.want(&w)
		}
		if tc.change == nil {
			tc.change = func(*x509.Certificate) {}
		}
		err := w.Check(certs.SelfSigned(t, key, tc.change))
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// principalName is a subjectAltName with the otherName that Microsoft's logins read.
func principalName(name string) []byte {
	seq, err := asn1.Marshal(otherName{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}, name})
	if err != nil {
		panic(err)
	}
	seq[0] = 0xa0 // [0], where the SEQUENCE was
	san, err := asn1.Marshal([]asn1.RawValue{stringName(tagRFC822Name, name), {FullBytes: seq}})
	if err != nil {
		panic(err)
	}
	return san
}

// A chain from a CA is certificates and nothing else.
func TestReadChain(t *testing.T) {
	key := certs.Key(t)
	cert := certs.SelfSigned(t, key, func(*x509.Certificate) {})
	one := string(MarshalChain([]*x509.Certificate{cert}))
	secret, err := MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		text string
		n    int // certificates; 0 for a refusal
	}{
		"one":              {one, 1},
		"several":          {one + one + one, 3},
		"blank lines":      {"\n" + one + "\r\n\r\n" + one + " \n", 2},
		"CR LF":            {strings.ReplaceAll(one, "\n", "\r\n"), 1},
		"none":             {"\n", 0},
		"a key":            {one + string(secret), 0},
		"a key first":      {string(secret) + one, 0},
		"a broken key":     {one + "-----BEGIN PRIVATE KEY-----\n%%%\n-----END PRIVATE KEY-----\n" + one, 0},
		"a CRL":            {one + strings.ReplaceAll(one, "CERTIFICATE", "X509 CRL"), 0},
		"trusted":          {strings.ReplaceAll(one, "CERTIFICATE", "TRUSTED CERTIFICATE"), 0},
		"a header":         {strings.Replace(one, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), 0},
		"text":             {"subject: someone\n" + one, 0},
		"text behind":      {one + "hello", 0},
		"text between":     {one + "\x1b[2J\n" + one, 0},
		"no end":           {one + "-----BEGIN CERTIFICATE-----\n", 0},
		"no certificate":   {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0},
		"ten":              {strings.Repeat(one, 10), 10},
		"eleven":           {strings.Repeat(one, 11), 0},
		"a megabyte blank": {one + strings.Repeat("\n", 1<<20), 0},
	} {
		chain, err := ReadChain([]byte(tc.text))
		if len(chain) != tc.n || (err == nil) != (tc.n > 0) {
			t.Errorf("%s: %d, %v", name, len(chain), err)
		}
	}
}

func TestParseChain(t *testing.T) {
	cert := certs.SelfSigned(t, certs.Key(t), func(*x509.Certificate) {})
	text := MarshalChain([]*x509.Certificate{cert, cert})
	chain, err := ParseChain(append([]byte("subject: someone\n"), text...))
	if err != nil || len(chain) != 2 {
		t.Errorf("%d, %v", len(chain), err)
	}
	for _, bad := range []string{"", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseChain([]byte(bad)); err == nil {
			t.Errorf("%q is a chain", bad)
		}
	}
}

func FuzzParseNames(f *testing.F) {
	for _, certbot := range []bool{false, true} {
		der, err := marshalNames([]string{alice, "jörg@example.test"}, certbot)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		emails, _, err := parseNames(der)
		if err != nil {
			return
		}
		again, err := marshalNames(emails, false)
		if err != nil {
			return // a name that is not a string
		}
		if back, _, err := parseNames(again); err != nil || !slices.Equal(back, emails) {
			t.Errorf("%q became %q, %v", emails, back, err)
		}
	})
}

func TestKeys(t *testing.T) {
	for _, kind := range KeyTypes {
		key, err := NewKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		data, err := MarshalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseKey(data)
		if err != nil || !SamePublicKey(back.Public(), key) {
			t.Errorf("%s: %v", kind, err)
		}
		if got, err := KeyTypeOf(back); got != kind || err != nil {
			t.Errorf("%s is %s, %v", kind, got, err)
		}
	}
	if _, err := NewKey("dsa"); failure.KindOf(err) != failure.KindUsage {
		t.Errorf("dsa: %v", err)
	}
	rsaKey := func(bits uint) crypto.Signer {
		return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}}
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, refused := range []crypto.Signer{rsaKey(1024), rsaKey(2040), rsaKey(2050), p521} {
		if kind, err := KeyTypeOf(refused); err == nil {
			t.Errorf("%T is %s", refused, kind)
		}
	}
	for _, bad := range []string{"", "x", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(path); failure.KindOf(err) != failure.KindUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCheckUsages(t *testing.T) {
	for name, tc := range map[string]struct {
		usages []string
		kind   string
		ok     bool
	}{
		"none":              {nil, "rsa2048", true},
		"dual RSA":          {[]string{"digitalSignature", "keyEncipherment"}, "rsa4096", true},
		"dual EC":           {[]string{"digitalSignature", "keyAgreement"}, "p384", true},
		"signing EC":        {[]string{"digitalSignature", "contentCommitment"}, "p256", true},
		"encipherment EC":   {[]string{"keyEncipherment"}, "p256", false},
		"agreement RSA":     {[]string{"keyAgreement"}, "rsa2048", false},
		"agreement RSA-any": {[]string{"keyAgreement"}, "rsa2056", false},
		"agreement, any":    {[]string{"keyAgreement"}, "", true},
		"encipherment, any": {[]string{"keyEncipherment"}, "", true},
		"no usage":          {[]string{"keyCertSign"}, "rsa2048", false},
	} {
		if err := CheckUsages(tc.usages, tc.kind); (err == nil) != tc.ok || err != nil && failure.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEncryptionOnly(t *testing.T) {
	for usages, want := range map[string]bool{
		"": false, "digitalSignature": false, "digitalSignature keyEncipherment": false, "keyAgreement contentCommitment": false,
		"keyEncipherment": true, "keyAgreement": true, "keyEncipherment keyAgreement": true,
	} {
		if got := EncryptionOnly(strings.Fields(usages)); got != want {
			t.Errorf("%q: %v", usages, got)
		}
	}
}

func TestContainer(t *testing.T) {
	key := certs.Key(t)
	leaf := certs.SelfSigned(t, key, func(*x509.Certificate) {})
	for _, format := range Formats {
		for _, pass := range []string{"", "secret word"} {
			data, err := EncodeContainer(format, key, []*x509.Certificate{leaf, leaf}, pass)
			if err != nil {
				t.Fatal(err)
			}
			back, cert, chain, err := pkcs12.DecodeChain(data, pass)
			if err != nil || !cert.Equal(leaf) || len(chain) != 1 || !SamePublicKey(key.Public(), back.(crypto.Signer)) {
				t.Errorf("%s %q: %v", format, pass, err)
			}
			if _, _, _, err := pkcs12.DecodeChain(data, "wrong"); err == nil {
				t.Errorf("%s %q opens with anything", format, pass)
			}
			tripleDES := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3} // RFC 7292, Appendix C
			if got := bytes.Contains(data, tripleDES); got != (format == "legacy") {
				t.Errorf("%s is encrypted with 3DES: %v", format, got)
			}
		}
	}
}

// A container may have others' certificates before that of its key.
func TestOpenContainer(t *testing.T) {
	key, other := certs.Key(t), certs.Key(t)
	leaf, first := certs.SelfSigned(t, key, func(*x509.Certificate) {}), certs.SelfSigned(t, other, func(*x509.Certificate) {})
	for name, tc := range map[string]struct {
		chain []*x509.Certificate
		found bool
	}{
		"first": {[]*x509.Certificate{leaf, first}, true}, "second": {[]*x509.Certificate{first, leaf}, true}, "none": {[]*x509.Certificate{first}, false},
	} {
		data, err := EncodeContainer("modern", key, tc.chain, "word")
		if err != nil {
			t.Fatal(err)
		}
		cert, back, err := openContainer(data, "word")
		if (err == nil) != tc.found || tc.found && (!cert.Equal(leaf) || !SamePublicKey(key.Public(), back)) {
			t.Errorf("%s: %v, %v", name, cert, err)
		}
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for path, text := range map[string]string{file: "one two\r\nthree\n", file + ".empty": "\r\nthree\n", file + ".umlaut": "\u00fc\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		p    Passphrase
		want string
		ok   bool
	}{
		"none":      {Passphrase{Kind: PassNone}, "", true},
		"given":     {Passphrase{Kind: PassGiven, Value: "x y"}, "x y", true},
		"file":      {Passphrase{Kind: PassFile, Path: file}, "one two", true},
		"no file":   {Passphrase{Kind: PassFile, Path: file + "x"}, "", false},
		"no line":   {Passphrase{Kind: PassFile, Path: file + ".empty"}, "", false},
		"in a file": {Passphrase{Kind: PassFile, Path: file + ".umlaut"}, "\u00fc", false},
		"umlaut":    {Passphrase{Kind: PassGiven, Value: "ü"}, "ü", false},
		"control":   {Passphrase{Kind: PassGiven, Value: "a\tb"}, "a\tb", false},
		"null byte": {Passphrase{Kind: PassGiven, Value: "a\x00b"}, "a\x00b", false},
	} {
		got, err := tc.p.Word("")
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	first, err := Passphrase{}.Word("")
	if err != nil || len(first) < 20 {
		t.Errorf("%q, %v", first, err)
	}
	if second, _ := (Passphrase{}).Word(""); second == first {
		t.Error("the same twice")
	}
	if word, err := (Passphrase{Kind: PassGenerated}).Word(first); word != first || err != nil {
		t.Errorf("its owner has written down %q, and it is %q, %v", first, word, err)
	}
}
