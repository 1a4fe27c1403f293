package p12clients

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// packages tells which Debian package has a program. .ci/packages has them too.
var packages = map[string]string{
	"openssl": "openssl", "pk12util": "libnss3-tools", "certutil": "libnss3-tools", "cmsutil": "libnss3-tools",
	"keytool": "openjdk-17-jre-headless", "gpgsm": "gpgsm", "gpgconf": "gpgconf", "gpg-agent": "gpg-agent",
	"plistutil": "libplist-utils", "slapd": "slapd", "ldapmodify": "ldap-utils", "ldapsearch": "ldap-utils", "ldapadd": "ldap-utils",
}

// need ends the test if a program is not installed: a check that is left out in
// silence says nothing.
func need(t testing.TB, programs ...string) {
	t.Helper()
	mta.NotShort(t)
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed (Debian package %s); run: make deps", program, packages[program])
		}
	}
}

// container is a certs/NAME that the issuer wrote.
type container struct {
	format, keyType string
	email           string
	passphrase      string // "" for --no-passphrase
	passFile        string // holds it
	p12, cert       string
	root            string // of the CA, PEM
}

// name is the container's name as a test.
func (c *container) name() string {
	lock := "passphrase"
	if c.passphrase == "" {
		lock = "none"
	}
	return c.format + "/" + c.keyType + "/" + lock
}

const passphrase = "correct horse battery"

// containers returns one for each format, type of key and kind of lock, which all
// tests share: keys of RSA take a while.
func containers(t *testing.T) []*container {
	t.Helper()
	made, err := makeContainers()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// only selects containers.
func only(all []*container, want func(*container) bool) []*container {
	return slices.DeleteFunc(slices.Clone(all), func(c *container) bool { return !want(c) })
}

func isRSA(c *container) bool { return strings.HasPrefix(c.keyType, "rsa") }

var makeContainers = sync.OnceValues(func() ([]*container, error) {
	dir := filepath.Join(shared, "containers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	authority, err := testca.Start(background, testca.Config{Dir: dir, AlwaysReady: true})
	if err != nil {
		return nil, err
	}
	defer authority.Close()
	var all []*container
	for lock, pass := range map[string]string{"passphrase": passphrase, "none": ""} {
		passFile := filepath.Join(dir, lock)
		if err := os.WriteFile(passFile, []byte(pass+"\n"), 0o600); err != nil {
			return nil, err
		}
		for _, format := range cert.Formats {
			for _, keyType := range []string{"rsa2048", "p256"} {
				all = append(all, &container{
					format: format, keyType: keyType, email: strings.Join([]string{format, keyType, lock}, "-") + "@example.test",
					passphrase: pass, passFile: passFile, root: authority.RootFile,
				})
			}
		}
	}
	return all, obtain(authority, dir, all)
})

// usages are those of a certificate for both signing and encryption.
var usages = map[string][]string{
	"rsa2048": {"digitalSignature", "keyEncipherment"},
	"p256":    {"digitalSignature", "keyAgreement"},
}

// obtain has the issuer write the containers.
func obtain(authority *testca.CA, dir string, all []*container) error {
	var reqs []issuer.Request
	for _, c := range all {
		lock := cert.Passphrase{Kind: cert.PassGiven, Value: c.passphrase}
		if c.passphrase == "" {
			lock = cert.Passphrase{Kind: cert.PassNone}
		}
		reqs = append(reqs, issuer.Request{
			Settings: store.Settings{
				Emails: []string{c.email}, Server: authority.DirectoryURL, CABundle: authority.RootFile,
				KeyType: c.keyType, Usages: usages[c.keyType], P12: c.format, Passphrase: lock,
			},
			Timeout: time.Minute,
		})
	}
	i := issuer.New(issuer.Options{Dir: state.Open(filepath.Join(dir, "state")), Account: ca.AccountOptions{AgreeTerms: true}})
	var failed error
	i.Batch(background, reqs, 4, func(n int, res *issuer.Result, err error) {
		if err != nil {
			failed = err
			return
		}
		all[n].p12, all[n].cert = res.P12, res.Cert
	})
	return failed
}

// eachContainer runs a test for each of them.
func eachContainer(t *testing.T, all []*container, test func(t *testing.T, c *container)) {
	t.Helper()
	for _, c := range all {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

// run runs a program that has to succeed and returns its standard output.
func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	return runWith(t, "", program, args...)
}

// runWith gives it something on stdin.
func runWith(t testing.TB, stdin, program string, args ...string) string {
	t.Helper()
	out, errs, err := try(stdin, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, errs)
	}
	return out
}

// try runs a program that may fail.
func try(stdin, program string, args ...string) (out, errs string, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// parseCert reads the first certificate of a PEM file.
func parseCert(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, path)))
	if block == nil {
		t.Fatalf("%s holds no PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
