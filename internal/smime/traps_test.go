package smime

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
)

// TestLibraryTraps compares what smallstep/pkcs7 accepts with what we accept: it shows each
// input to the library first, so that we cannot refuse a case for being broken in another
// way.
func TestLibraryTraps(t *testing.T) {
	ca := newCA(t, nil, "demo root")
	id := newLeaf(t, ca, ecKey(t))
	server := newLeaf(t, ca, ecKey(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	expired := newLeaf(t, ca, ecKey(t), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	content := marked(outerHead)
	for _, c := range []struct {
		name, want string
		cms        []byte
	}{
		{"SHA-1", "uses SHA-1", byOpenSSL(t, content, id, "-outform", "DER", "-nodetach", "-md", "sha1")},
		{"serverAuth only", "no emailProtection", bySmallstep(t, content, false, server)},
		{"no signed attributes", "no signed attributes", byOpenSSL(t, content, id, "-outform", "DER", "-nodetach", "-noattr")},
		{"two signers", "more than one signer", bySmallstep(t, content, false, id, newLeaf(t, ca, ecKey(t)))},
		{"trailing bytes", "bytes after", append(bySmallstep(t, content, false, id), "more"...)},
		{"the signer's own time", "has expired", newCMS(content, expired, func(c *cmsSpec) {
			c.signers[0].attributes = append(c.signers[0].attributes, signingTime(now.Add(-30*time.Minute)))
		}).build(t)},
		{"another content-type attribute", "not data", newCMS(content, id, func(c *cmsSpec) {
			c.signers[0].attributes[0] = attribute(oidContentType, []byte{6, 1, 42})
		}).build(t)},
	} {
		if p7, err := pkcs7.Parse(c.cms); err != nil || p7.VerifyWithChain(ca.root()) != nil {
			t.Errorf("%s: the library refuses it, too", c.name)
		}
		_, err := Verify([]byte(opaque(c.cms)), Options{Roots: ca.root(), Now: now})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// The library's BER reader reads the children of a value beyond its end, then reads them once
// more: each four bytes of this double its time (96 bytes: five seconds). A chain of
// indefinite lengths takes quadratic time: 256 KiB need seven seconds and 9 GB.
var berBombs = map[string][]byte{
	"overlapping children": append(bytes.Repeat([]byte{0x30, 0x80, 0x30, 0x02}, 60), make([]byte, 200)...),
	"deep":                 append(bytes.Repeat([]byte{0x30, 0x80}, 350<<9), make([]byte, 350<<10)...),
	"deep, definite":       nested(300 << 10),
	"pieces":               slicesOf([]byte{0x24, 0x80}, []byte{4, 0}, 350<<10),
}

func slicesOf(head, piece []byte, n int) []byte {
	return append(append(head, bytes.Repeat(piece, n)...), 0, 0)
}

// nested writes SEQUENCEs in each other, from the inside out.
func nested(size int) []byte {
	var reversed []byte
	for n := 0; len(reversed) < size; n = len(reversed) {
		if n < 128 {
			reversed = append(reversed, byte(n), 0x30)
		} else {
			reversed = append(reversed, byte(n), byte(n>>8), byte(n>>16), 0x83, 0x30)
		}
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return reversed
}

// hashing is how long 128 MiB take to hash now: a measure of the machine and its load.
func hashing() time.Duration {
	start, data := time.Now(), make([]byte, 1<<20)
	for range 128 {
		sha256.Sum256(data)
	}
	return time.Since(start)
}

// TestHostile bounds the cost of a message by a small part of the mebibytes hashed in the
// same time, although the race detector slows only the message.
func TestHostile(t *testing.T) {
	roots := newCA(t, nil, "demo root").root()
	for name, raw := range hostile(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		if _, err := Verify([]byte(raw), Options{Roots: roots, Now: now}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if limit := 4 * hashing(); took > limit {
			t.Errorf("%s: took %v, and hashing 512 MiB %v", name, took, limit)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
			t.Errorf("%s: allocated %d bytes", name, n)
		}
	}
}
