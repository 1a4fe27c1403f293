package p12clients

import (
	"crypto/sha1"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// gnupg is a GNUPGHOME of its own, with the CA's root trusted in it.
type gnupg struct {
	t    *testing.T
	home string
}

func newGnuPG(t *testing.T, root string) *gnupg {
	t.Helper()
	// Not t.TempDir: see TestMain about the length of its name.
	home, err := os.MkdirTemp(shared, "g")
	if err != nil {
		t.Fatal(err)
	}
	g := &gnupg{t, home}
	// Without a count the agent measures for seconds how many rounds take 100 ms.
	write(t, filepath.Join(g.home, "gpg-agent.conf"), "allow-loopback-pinentry\ns2k-count 65536\n")
	write(t, filepath.Join(g.home, "gpgsm.conf"), "disable-dirmngr\ndisable-crl-checks\n")
	write(t, filepath.Join(g.home, "trustlist.txt"), fmt.Sprintf("%X S relax\n", sha1.Sum(parseCert(t, root).Raw)))
	t.Cleanup(func() {
		if err := exec.Command("gpgconf", "--homedir", g.home, "--kill", "all").Run(); err != nil {
			t.Errorf("the agent cannot be stopped: %v", err)
		}
	})
	g.must("", "--import", root)
	return g
}

// try runs gpgsm, which takes the passphrase from stdin where it needs one.
func (g *gnupg) try(pass string, args ...string) (string, error) {
	args = append([]string{"--homedir", g.home, "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"}, args...)
	out, errs, err := try(pass+"\n", "gpgsm", args...)
	if err != nil {
		err = fmt.Errorf("gpgsm %v: %w\n%s", args, err, errs)
	}
	return out, err
}

func (g *gnupg) must(pass string, args ...string) string {
	g.t.Helper()
	out, err := g.try(pass, args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// GnuPG reads legacy containers of RSA keys, for which --p12 legacy exists. It is
// left alone with EC keys, which crash it.
func TestGPGSM(t *testing.T) {
	t.Parallel()
	need(t, "gpgsm", "gpg-agent", "gpgconf", "openssl")
	all := only(containers(t), isRSA)
	g := newGnuPG(t, all[0].root)
	for _, c := range all {
		t.Run(c.name(), func(t *testing.T) {
			_, err := g.try(c.passphrase, "--import", c.p12)
			if c.format != "legacy" {
				if err == nil {
					t.Error("gpgsm has learned to read modern containers; say so where --p12 legacy is explained")
				}
				return
			}
			if err != nil {
				err = g.again(t, c, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if keys := g.must("", "--list-secret-keys", c.email); !strings.Contains(keys, c.email) {
				t.Errorf("secret keys:\n%s", keys)
			}
			(&gnupg{t, g.home}).use(c)
		})
	}
}

// again imports the same key in other containers. Of a hundred containers that differ in
// nothing but their salts, gpgsm 2.2 cannot decrypt one or two.
func (g *gnupg) again(t *testing.T, c *container, err error) error {
	t.Helper()
	former, readErr := store.ReadGeneration(filepath.Dir(c.p12))
	if readErr != nil {
		t.Fatal(readErr)
	}
	for n := 0; n < 3 && err != nil; n++ {
		data, encodeErr := cert.EncodeContainer(c.format, former.Key, former.Chain, c.passphrase)
		if encodeErr != nil {
			t.Fatal(encodeErr)
		}
		_, err = g.try(c.passphrase, "--import", write(t, filepath.Join(t.TempDir(), "again.p12"), string(data)))
	}
	return err
}

// use exchanges messages with OpenSSL.
func (g *gnupg) use(c *container) {
	g.t.Helper()
	dir := g.t.TempDir()
	in := write(g.t, filepath.Join(dir, "message"), message)
	signed, encrypted := filepath.Join(dir, "signed"), filepath.Join(dir, "encrypted")
	g.must(c.passphrase, "--local-user", c.email, "--output", signed, "--sign", in)
	g.must("", "--verify", signed)
	if got := run(g.t, "openssl", verifyArgs(c, signed)...); got != message {
		g.t.Errorf("openssl verified %q", got)
	}
	u := unpack(g.t, c)
	g.must("", "--verify", signWithOpenSSL(g.t, c, u))
	g.must("", "--recipient", c.email, "--output", encrypted, "--encrypt", in)
	for _, path := range []string{encrypted, encryptWithOpenSSL(g.t, u.leaf)} {
		if got := g.must(c.passphrase, "--decrypt", path); got != message {
			g.t.Errorf("gpgsm decrypted %q", got)
		}
	}
}
