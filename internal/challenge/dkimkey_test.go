package challenge

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// keyRecords are key records with a place for a key, and the reason why they are invalid.
var keyRecords = map[string]string{
	"v=DKIM1; k=rsa; p=RSA":           "",
	"p=RSA":                           "",
	"k=rsa; p=PKCS1;":                 "",
	"v=DKIM1; k=ed25519; p=ED":        "",
	" v = DKIM1 ;\tp = RSA ; ":        "",
	"v=DKIM1; h=sha1 : sha256; p=RSA": "",
	"v=DKIM1; s=tlsrpt:email; p=RSA":  "",
	"v=DKIM1; s=*; t=s; n=x=y; p=RSA": "",
	"v=DKIM1; g=x; x=y; p=RSA":        "",
	`v=DKIM1\; k=rsa\; p=RSA`:         `its v= is "DKIM1\\", not DKIM1`,
	"v=dkim1; p=RSA":                  `its v= is "dkim1", not DKIM1`,
	"v=; p=RSA":                       `its v= is "", not DKIM1`,
	"v=DKIM1; h=rsa-sha256; p=RSA":    `its h= is "rsa-sha256", which does not allow sha256`,
	"v=DKIM1; h=SHA256; p=RSA":        "does not allow sha256",
	"v=DKIM1; h=; p=RSA":              "does not allow sha256",
	"v=DKIM1; s=tlsrpt; p=RSA":        `its s= is "tlsrpt", which does not allow email`,
	"v=DKIM1; s=EMAIL; p=RSA":         "does not allow email",
	"v=DKIM1; k=RSA; p=RSA":           `its k= is "RSA", not rsa or ed25519`,
	"v=DKIM1; k=dsa; p=RSA":           "not rsa or ed25519",
	"v=DKIM1; k=ed25519; p=RSA":       "an Ed25519 key has 32",
	"v=DKIM1; p=ED":                   "not an RSA key",
	"v=DKIM1; p=EC":                   "not an RSA key",
	"v=DKIM1; p=SHORT":                "its RSA key has 512 bits",
	"v=DKIM1; p=LONG":                 "its RSA key has 8200 bits",
	"v=DKIM1; p=":                     "the key is revoked",
	"v=DKIM1; k=rsa":                  "it has no p=",
	"v=spf1 -all":                     `its v= is "spf1 -all", not DKIM1`,
	"":                                "it has no p=",
	"v=DKIM1; p=!":                    "its p= is not base64",
	"v=DKIM1; p=RSA; p=RSA":           "one appears twice",
	"my key":                          "its tags are not a list",
	"v=DKIM1 k=rsa p=RSA":             `its v= is "DKIM1 k=rsa p=`,
	"\"v=DKIM1; k=rsa; p=RSA\"":       "it",
	"v=DKIM1; p=RSA; k=\x1b[2J\u202e": `its k= is "\x1b[2J\u202e", not rsa or ed25519`,
	"v=DKIM1; s=" + strings.Repeat("x", 5000) + "; p=RSA": "which does not allow email",
}

// fillRecord puts the keys of the test into a record.
func fillRecord(record string) string {
	k := recordKeys()
	for name, value := range k {
		if rest, ok := strings.CutSuffix(record, name); ok {
			record = rest + value
		}
		record = strings.ReplaceAll(record, "p="+name, "p="+value)
		record = strings.ReplaceAll(record, "p = "+name, "p = "+value)
	}
	return record
}

var privateRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var recordKeys = sync.OnceValue(func() map[string]string {
	pkix := func(key crypto.PublicKey) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			panic(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	sized := func(bits uint) string {
		key := privateRSA().PublicKey
		n := *key.N
		if have := uint(n.BitLen()); bits > have {
			n.Lsh(&n, bits-have)
		} else {
			n.Rsh(&n, have-bits)
		}
		key.N = n.SetBit(&n, 0, 1)
		return pkix(&key)
	}
	ed := ed25519.PublicKey(strings.Repeat("k", ed25519.PublicKeySize))
	return map[string]string{
		"RSA": pkix(privateRSA().Public()), "PKCS1": base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&privateRSA().PublicKey)),
		"ED": base64.StdEncoding.EncodeToString(ed), "EC": pkix(ed), "SHORT": sized(512), "LONG": sized(8200),
	}
})

func TestKeyRecord(t *testing.T) {
	for record, want := range keyRecords {
		key, err := parsePublicKey(fillRecord(record))
		switch {
		case want == "" && (err != nil || key.Key == nil):
			t.Errorf("%q: %v", record, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", record, err, want)
		case err != nil && (len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x1b\u202e\n")):
			t.Errorf("%q: no line for a terminal: %q", record, err)
		}
	}
}

func TestKeyFlags(t *testing.T) {
	for flags, want := range map[string]PublicKey{"": {}, "y": {Testing: true}, "s : Y": {Testing: true, Exact: true}, "S": {Exact: true}, "z": {}} {
		key, err := parsePublicKey(fillRecord("t=" + flags + "; p=RSA"))
		if err != nil || key.Testing != want.Testing || key.Exact != want.Exact {
			t.Errorf("t=%s: %+v, %v", flags, key, err)
		}
	}
}

func TestFindKey(t *testing.T) {
	good, revoked := fillRecord("p=RSA"), "p="
	for _, c := range []struct {
		records []string
		want    error
	}{{nil, errNoKey}, {[]string{good}, nil}, {[]string{good, "v=spf1 -all"}, ErrSeveralKeys}, {[]string{revoked}, ErrRevokedKey}} {
		if _, err := FindKey(c.records); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.records, err, c.want)
		}
	}
}

// FuzzKeyRecord compares with the library that verifies: a record that is good here is good
// there, with the same key.
func FuzzKeyRecord(f *testing.F) {
	for record := range keyRecords {
		f.Add(record)
	}
	var mail strings.Builder
	err := dkim.Sign(&mail, strings.NewReader("From: a@b.example\r\n\r\nHi.\r\n"), &dkim.SignOptions{Domain: "b.example", Selector: "s", Signer: privateRSA()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record string) {
		record = fillRecord(record)
		key, err := parsePublicKey(record)
		if err != nil {
			return
		}
		if rsaKey, ok := key.Key.(*rsa.PublicKey); !ok || !rsaKey.Equal(privateRSA().Public()) {
			return // the mail is signed with the RSA key
		}
		results, err := dkim.VerifyWithOptions(strings.NewReader(mail.String()), &dkim.VerifyOptions{
			LookupTXT: func(string) ([]string, error) { return []string{record}, nil },
		})
		if err != nil || len(results) != 1 || results[0].Err != nil {
			t.Errorf("%q is good, and to the library: %v %v", record, err, results[0].Err)
		}
	})
}
