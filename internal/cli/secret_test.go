package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSigner(t *testing.T) {
	const keys = "../challenge/testdata/keys/"
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("/usr/bin/openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v: %s", args, err, out)
		}
	}
	pkcs1 := filepath.Join(dir, "pkcs1.pem")
	openssl("rsa", "-traditional", "-in", keys+"rsa2048.pem", "-out", pkcs1)
	ec := filepath.Join(dir, "ec.pem")
	openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", ec)
	certificate := filepath.Join(dir, "cert.pem")
	openssl("req", "-x509", "-key", keys+"rsa2048.pem", "-subj", "/CN=x", "-out", certificate)
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, reason := range map[string]string{
		keys + "rsa2048.pem": "", keys + "ed25519.pem": "", pkcs1: "",
		ec: "use RSA or Ed25519", certificate: "no private key", empty: "holds no PEM block", dir + "/none.pem": "no such file",
	} {
		_, err := (&DKIMKey{Key: path}).Signer()
		if (reason == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", path, err, reason)
		}
	}
}

// The SMTP password comes from the file that a flag names, then the environment, then the
// configuration file.
func TestPassword(t *testing.T) {
	file, path := &File{SMTPPassword: "of the file"}, ""
	want := func(want string) {
		t.Helper()
		if got, err := file.Password(path); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	want("of the file")
	t.Setenv("POSTSEAL_SMTP_PASSWORD", "of the environment")
	want("of the environment")
	path = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(" of the flag \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(" of the flag ")
}
