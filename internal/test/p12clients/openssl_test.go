package p12clients

import (
	"path/filepath"
	"strings"
	"testing"
)

// message is what is signed and encrypted: in canonical form (RFC 8551, Section
// 3.1.1), so that every program gives it back byte for byte.
const message = "Content-Type: text/plain\r\n\r\nhello\r\n"

// unpacked is what openssl found in a container, as PEM files.
type unpacked struct{ key, leaf, chain string }

func unpack(t *testing.T, c *container) unpacked {
	t.Helper()
	dir := t.TempDir()
	part := func(name string, flags ...string) string {
		path := filepath.Join(dir, name)
		args := []string{"pkcs12", "-in", c.p12, "-passin", "file:" + c.passFile, "-out", path, "-nodes"}
		run(t, "openssl", append(args, flags...)...)
		return path
	}
	return unpacked{part("key.pem", "-nocerts"), part("leaf.pem", "-clcerts", "-nokeys"), part("chain.pem", "-cacerts", "-nokeys")}
}

// OpenSSL reads each container without its legacy provider, and uses what is in it.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	eachContainer(t, containers(t), func(t *testing.T, c *container) {
		u := unpack(t, c)
		if !parseCert(t, u.leaf).Equal(parseCert(t, c.cert)) {
			t.Error("the leaf is not that of cert.pem")
		}
		if n := strings.Count(read(t, u.chain), "BEGIN CERTIFICATE"); n != 1 {
			t.Errorf("%d certificates beside the leaf, want the intermediate", n)
		}
		signed := signWithOpenSSL(t, c, u)
		if got := run(t, "openssl", verifyArgs(c, signed)...); got != message {
			t.Errorf("verified %q", got)
		}
		encrypted := encryptWithOpenSSL(t, u.leaf)
		got := run(t, "openssl", "cms", "-decrypt", "-in", encrypted, "-inform", "DER", "-inkey", u.key, "-recip", u.leaf)
		if got != message {
			t.Errorf("decrypted %q", got)
		}
	})
}

// signWithOpenSSL signs with key, leaf and chain as they came out of the container.
func signWithOpenSSL(t *testing.T, c *container, u unpacked) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "signed")
	runWith(t, message, "openssl", "cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-outform", "DER", "-out", path,
		"-signer", u.leaf, "-inkey", u.key, "-certfile", u.chain)
	return path
}

func verifyArgs(c *container, signed string) []string {
	return []string{"cms", "-verify", "-binary", "-in", signed, "-inform", "DER", "-CAfile", c.root, "-purpose", "smimesign"}
}

func encryptWithOpenSSL(t *testing.T, leaf string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "encrypted")
	runWith(t, message, "openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-out", path, leaf)
	return path
}

// The passphrase is asked for: without it there is nothing to read.
func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "keytool")
	eachContainer(t, only(containers(t), func(c *container) bool { return c.passphrase != "" }), func(t *testing.T, c *container) {
		for _, wrong := range []string{"", "Correct horse battery"} {
			if out, _, err := try("", "openssl", "pkcs12", "-in", c.p12, "-passin", "pass:"+wrong, "-nodes"); err == nil {
				t.Errorf("openssl reads it with %q:\n%s", wrong, out)
			}
		}
		if out, _, err := try("", "keytool", keytoolArgs(c, "-srcstorepass", "Correct horse battery", t.TempDir())...); err == nil {
			t.Errorf("keytool reads it with another passphrase:\n%s", out)
		}
	})
}
