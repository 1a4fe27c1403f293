package p12clients

import (
	"path/filepath"
	"strings"
	"testing"
)

// keytoolArgs copies a container into a key store, for which keytool has to decrypt
// the key; listing alone would not.
func keytoolArgs(c *container, passFlag, pass, dir string) []string {
	return []string{
		// Without a second compiler the JVM starts in half the time.
		"-J-XX:TieredStopAtLevel=1", "-importkeystore", "-noprompt",
		"-srckeystore", c.p12, "-srcstoretype", "PKCS12", passFlag, pass,
		"-destkeystore", filepath.Join(dir, "store"), "-deststoretype", "PKCS12", "-deststorepass", "changeit",
	}
}

// Java reads each container: key, leaf and chain.
func TestKeytool(t *testing.T) {
	t.Parallel()
	need(t, "keytool", "openssl")
	eachContainer(t, containers(t), func(t *testing.T, c *container) {
		dir, passFlag, pass := t.TempDir(), "-srcstorepass:file", c.passFile
		if c.passphrase == "" {
			passFlag, pass = "-srcstorepass", ""
		}
		run(t, "keytool", keytoolArgs(c, passFlag, pass, dir)...)
		store := filepath.Join(dir, "store")
		list := run(t, "keytool", "-J-XX:TieredStopAtLevel=1", "-list", "-v", "-keystore", store, "-storepass", "changeit")
		for _, want := range []string{"Entry type: PrivateKeyEntry", "Certificate chain length: 2", "Owner: CN=" + c.email} {
			if !strings.Contains(list, want) {
				t.Errorf("the list has no %q:\n%s", want, list)
			}
		}
		// What Java has written signs: the key is whole.
		copied := *c
		copied.p12, copied.passFile = store, write(t, filepath.Join(dir, "passphrase"), "changeit\n")
		if got := run(t, "openssl", verifyArgs(c, signWithOpenSSL(t, c, unpack(t, &copied)))...); got != message {
			t.Errorf("verified %q", got)
		}
	})
}
