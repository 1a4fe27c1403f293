package p12clients

import (
	"path/filepath"
	"strings"
	"testing"
)

// nss is a fresh database of certificates and keys as Thunderbird has one in its
// profile, with a container imported into it.
type nss struct {
	t    *testing.T
	db   string
	nick string // of the leaf
}

func newNSS(t *testing.T, c *container) *nss {
	t.Helper()
	n := &nss{t: t, db: "sql:" + t.TempDir()}
	run(t, "certutil", "-N", "-d", n.db, "--empty-password")
	lock := []string{"-w", c.passFile}
	if c.passphrase == "" {
		lock = []string{"-W", ""} // an empty file would be no passphrase at all
	}
	run(t, "pk12util", append([]string{"-i", c.p12, "-d", n.db}, lock...)...)
	// The second C: a CA for mail.
	run(t, "certutil", "-A", "-d", n.db, "-n", "root", "-t", ",C,", "-i", c.root)
	list := run(t, "certutil", "-L", "-d", n.db)
	for line := range strings.Lines(list) {
		// u: there is a private key for it.
		if nick, ok := strings.CutSuffix(strings.TrimSpace(line), "u,u,u"); ok {
			n.nick = strings.TrimSpace(nick)
		}
	}
	if !strings.Contains(n.nick, c.email) {
		t.Fatalf("no certificate of %s with a key:\n%s", c.email, list)
	}
	return n
}

// NSS reads each container, finds its certificate good for signing and encryption,
// and exchanges messages with OpenSSL.
func TestNSS(t *testing.T) {
	t.Parallel()
	need(t, "certutil", "pk12util", "cmsutil", "openssl")
	eachContainer(t, containers(t), func(t *testing.T, c *container) {
		n := newNSS(t, c)
		for _, usage := range []string{"S", "R"} { // signer, recipient
			run(t, "certutil", "-V", "-d", n.db, "-n", n.nick, "-u", usage)
		}
		signed := n.sign()
		n.verify(signed)
		if got := run(t, "openssl", verifyArgs(c, signed)...); got != message {
			t.Errorf("openssl verified %q", got)
		}
		u := unpack(t, c)
		n.verify(signWithOpenSSL(t, c, u))
		n.encryption(c, u)
	})
}

// sign has cmsutil sign the message.
func (n *nss) sign() (path string) {
	n.t.Helper()
	path = filepath.Join(n.t.TempDir(), "signed")
	in := write(n.t, filepath.Join(n.t.TempDir(), "message"), message)
	run(n.t, "cmsutil", "-S", "-d", n.db, "-N", n.nick, "-H", "SHA256", "-i", in, "-o", path)
	return path
}

// verify has cmsutil say whether a signature is good, and read what was signed.
func (n *nss) verify(path string) {
	n.t.Helper()
	head := run(n.t, "cmsutil", "-D", "-d", n.db, "-i", path, "-h", "0")
	if !strings.Contains(head, "nsigners=1") || !strings.Contains(head, "signer0.status=GoodSignature") {
		n.t.Errorf("cmsutil says of the signature:\n%s", head)
	}
	if got := run(n.t, "cmsutil", "-D", "-d", n.db, "-i", path); got != message {
		n.t.Errorf("cmsutil read %q", got)
	}
}

// encryption: with RSA both ways. NSS cannot yet encrypt to EC keys, which is worth
// knowing of before one orders them; should this test fail there, it has learned to.
func (n *nss) encryption(c *container, u unpacked) {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), "encrypted")
	in := write(n.t, filepath.Join(n.t.TempDir(), "message"), message)
	_, errs, err := try("", "cmsutil", "-E", "-d", n.db, "-r", c.email, "-i", in, "-o", path)
	if !isRSA(c) {
		if err == nil {
			n.t.Error("NSS has learned to encrypt to an EC key; let this test use it")
		}
		return
	}
	if err != nil {
		n.t.Fatalf("cmsutil -E: %v\n%s", err, errs)
	}
	for _, path := range []string{path, encryptWithOpenSSL(n.t, u.leaf)} {
		if got := run(n.t, "cmsutil", "-D", "-d", n.db, "-i", path); got != message {
			n.t.Errorf("cmsutil decrypted %q", got)
		}
	}
	if got := run(n.t, "openssl", "cms", "-decrypt", "-in", path, "-inform", "DER", "-inkey", u.key, "-recip", u.leaf); got != message {
		n.t.Errorf("openssl decrypted %q", got)
	}
}
