package issuer

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"postseal/internal/testca"
)

func TestObtain(t *testing.T) {
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival})
	start := time.Now()
	res := w.obtain(w.request(alice))
	t.Logf("%s\n%s", time.Since(start), w.transcript())

	if res.Name != alice {
		t.Errorf("name %q", res.Name)
	}
	files := w.entries("certs", alice)
	want := []string{"cert.p12", "cert.pem", "chain.pem", "fullchain.pem", "passphrase", "privkey.pem", "renewal.json"}
	if !slices.Equal(files, want) {
		t.Errorf("files %v", files)
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(res.Dir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", f, info.Mode(), err)
		}
	}
	for _, dir := range []string{"orders", "pending"} {
		if left := w.entries(dir); len(left) != 0 {
			t.Errorf("%s holds %v", dir, left)
		}
	}
	checkContainer(t, w, res)
}

// checkContainer opens the PKCS#12 file as an importer would.
func checkContainer(t *testing.T, w *world, res *Result) {
	t.Helper()
	pass := strings.TrimSpace(string(mustRead(t, res.PassphraseFile)))
	key, leaf, chain, err := pkcs12.DecodeChain(mustRead(t, res.P12), pass)
	if err != nil {
		t.Fatal(err)
	}
	if len(pass) < 20 || len(chain) == 0 || leaf == nil || key == nil {
		t.Errorf("passphrase of %d, chain of %d", len(pass), len(chain))
	}
	block, _ := pem.Decode(mustRead(t, w.bundle))
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range chain {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})
	if err != nil {
		t.Error(err)
	}
}
