package e2e

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/challenge"
	"postseal/internal/submit"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

// bench is a mail half with a real DNS server and a real SMTP server on loopback.
type bench struct {
	*challenge.Responder
	challenge []byte
}

const caAddr = "acme-challenge@" + caDomain
const caDomain = "ca.test"

func newBench(b *testing.B) *bench {
	b.Helper()
	ca, err := testca.Start(context.Background(), testca.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ca.Close() })
	ca.SetTXT(selector+"._domainkey."+caDomain, signingKey().record)
	server, err := submit.ParseServer("smtp://" + mta.StartSink(b).Addr)
	if err != nil {
		b.Fatal(err)
	}
	dir := state.Open(filepath.Join(b.TempDir(), "state"))
	if _, err := dir.Create(); err != nil {
		b.Fatal(err)
	}
	return &bench{
		&challenge.Responder{State: dir, LookupTXT: challenge.Resolver(ca.DNSAddr), Send: server.Send},
		signedChallenge(b),
	}
}

func rsaKey(b *testing.B) *rsa.PrivateKey {
	b.Helper()
	block, _ := pem.Decode([]byte(signingKey().pem))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// signedChallenge is a challenge of 5 KB, as CAs with a long explanation send.
func signedChallenge(b *testing.B) []byte {
	b.Helper()
	mail := "From: " + caAddr + "\r\nTo: " + alice + "\r\nSubject: ACME: V4nE8NhYh6edBpfQTg5qqQ\r\n" +
		"Date: " + time.Now().Format(time.RFC1123Z) + "\r\nMessage-ID: <1@ca.test>\r\nAuto-Submitted: auto-generated; type=acme\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("This is an automatically generated challenge.\r\n", 100)
	var signed bytes.Buffer
	err := dkim.Sign(&signed, strings.NewReader(mail), &dkim.SignOptions{
		Domain: caDomain, Selector: selector, Signer: rsaKey(b),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Reply-To", "Message-ID", "Auto-Submitted"},
	})
	if err != nil {
		b.Fatal(err)
	}
	return signed.Bytes()
}

// wait puts a new record for alice into pending/.
func (x *bench) wait(b *testing.B, id string) {
	b.Helper()
	now := time.Now()
	err := x.State.Put(&state.Pending{
		ID: id, Email: alice, Server: "https://ca.test/directory", From: caAddr, Token: "x6I65YvEk6xC4KV0QMvdJw",
		Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ", Join: "string", Created: now, Expires: now.Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
}

// Challenge mail in, reply taken by an SMTP server, the key looked up in the DNS.
func BenchmarkAnswer(b *testing.B) {
	x := newBench(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		x.wait(b, fmt.Sprint(i))
		b.StartTimer()
		if out := x.Answer(context.Background(), challenge.Message{Raw: x.challenge}); out.Verdict != challenge.Answered {
			b.Fatal(out.Verdict, out.Reason)
		}
	}
}

// The decision alone: parse, match, and verify with the key at hand.
func BenchmarkVerify(b *testing.B) {
	x := newBench(b)
	x.wait(b, "1")
	x.LookupTXT = func(context.Context, string) ([]string, error) { return []string{signingKey().record}, nil }
	for b.Loop() {
		if out, _ := x.Compose(context.Background(), challenge.Message{Raw: x.challenge}); out.Verdict != challenge.Answered {
			b.Fatal(out.Verdict, out.Reason)
		}
	}
}

// What no verifier can go below: one RSA-2048 verification and a hash of the message.
func BenchmarkVerifyFloor(b *testing.B) {
	key := rsaKey(b)
	x := signedChallenge(b)
	sum := sha256.Sum256(x)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		sum := sha256.Sum256(x)
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
			b.Fatal(err)
		}
	}
}
