package p12clients

import (
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"howett.net/plist"
)

// export runs postseal export and returns the files in a new directory.
func (s *site) export(email string, flags ...string) (files []string) {
	s.t.Helper()
	dir := s.t.TempDir()
	if status, stderr := s.run(append([]string{"export", "-e", email, "--to", dir}, flags...)...); status != 0 || stderr != "" {
		s.t.Fatalf("exit status %d\n%s", status, stderr)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("nothing was written: %v", err)
	}
	return files
}

// renewed makes a site on which alice has a certificate and an earlier one, and returns
// a message that was encrypted to each.
func renewed(t *testing.T) (s *site, alice *container, mail []string) {
	t.Helper()
	s = newSite(t)
	alice = &container{
		email: "alice@example.test", keyType: "rsa2048", format: "modern", root: s.ca.RootFile, passphrase: passphrase,
		passFile: write(t, filepath.Join(t.TempDir(), "passphrase"), passphrase+"\n"),
	}
	s.mustCert("true", []string{alice.email}, "--key-type", "rsa2048", "--passphrase-file", alice.passFile)
	cert := s.file(alice.email, "cert.pem")
	mail = append(mail, encryptWithOpenSSL(t, cert))
	if status, stderr := s.run("renew", "--force", "-e", alice.email); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	return s, alice, append(mail, encryptWithOpenSSL(t, cert))
}

// A new computer reads old mail: Thunderbird's library takes the container of each key,
// and decrypts what was encrypted to it.
func TestExportFormer(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "pk12util", "certutil", "cmsutil", "keytool")
	s, alice, mail := renewed(t)
	for _, format := range []string{"p12", "p12-legacy"} {
		files := s.export(alice.email, "--former", "--format", format)
		if len(files) != 2 {
			t.Fatalf("%s: %q", format, files)
		}
		// The name without a serial number is the current one's, and sorts last.
		for n, file := range files {
			c := *alice
			c.p12 = file
			db := newNSS(t, &c).db
			if got := run(t, "cmsutil", "-D", "-d", db, "-i", mail[n]); got != message {
				t.Errorf("%s: NSS decrypted %q", file, got)
			}
			run(t, "keytool", keytoolArgs(&c, "-srcstorepass:file", c.passFile, t.TempDir())...)
		}
	}
}

// OpenSSL names the ciphers of each format, and reads PEM.
func TestExportFormats(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	s, alice, mail := renewed(t)
	for format, cipher := range map[string]string{"p12": "AES-256-CBC", "p12-legacy": "pbeWithSHA1And3-KeyTripleDES-CBC"} {
		_, info, err := try("", "openssl", "pkcs12", "-info", "-noout", "-in", s.export(alice.email, "--format", format)[0], "-passin", "file:"+alice.passFile)
		if err != nil || strings.Count(info, cipher) != 2 {
			t.Errorf("%s: %v\n%s", format, err, info)
		}
	}
	text := s.export(alice.email, "--format", "pem")[0]
	if got := run(t, "openssl", "cms", "-decrypt", "-in", mail[1], "-inform", "DER", "-inkey", text, "-recip", text); got != message {
		t.Errorf("decrypted %q", got)
	}
	if n := strings.Count(read(t, text), "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d certificates, want the leaf and the intermediate", n)
	}
}

// GnuPG takes the legacy container.
func TestExportGPGSM(t *testing.T) {
	t.Parallel()
	need(t, "gpgsm", "gpg-agent", "gpgconf", "openssl")
	s, alice, mail := renewed(t)
	g := newGnuPG(t, alice.root)
	export := func() []string { return s.export(alice.email, "--former", "--format", "p12-legacy") }
	for n, file := range export() {
		_, err := g.try(alice.passphrase, "--import", file)
		for tries := 0; tries < 3 && err != nil; tries++ { // see gnupg.again
			_, err = g.try(alice.passphrase, "--import", export()[n])
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := g.must(alice.passphrase, "--decrypt", mail[n]); got != message {
			t.Errorf("%s: decrypted %q", file, got)
		}
	}
}

// profile is what the tests read of a .mobileconfig.
type profile struct {
	PayloadType, PayloadIdentifier, PayloadUUID string
	PayloadVersion                              int
	PayloadContent                              []struct {
		PayloadType, PayloadIdentifier, PayloadUUID, PayloadDisplayName, Password string
		PayloadVersion                                                            int
		PayloadContent                                                            []byte
	}
}

// readProfile has plistutil turn a profile into the binary form, which is read then.
func readProfile(t *testing.T, path string) (p profile) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "binary")
	run(t, "plistutil", "-i", path, "-o", binary, "-f", "bin")
	if _, err := plist.Unmarshal([]byte(read(t, binary)), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

var upperUUID = regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)

// A profile has each key, whose passphrase is asked for, and the CA between. The
// next one replaces it: the identifiers of the profile, the current key and the CA stay,
// and a key keeps its own when it has become an earlier one.
func TestExportProfile(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "plistutil")
	s, alice, mail := renewed(t)
	file := s.export(alice.email, "--former", "--format", "mobileconfig")[0]
	p := readProfile(t, file)
	if filepath.Base(file) != alice.email+".mobileconfig" || p.PayloadType != "Configuration" || p.PayloadIdentifier != "postseal.alice@example.test" || p.PayloadVersion != 1 {
		t.Errorf("%s: %+v", file, p)
	}
	kinds, ids := "", map[string]string{p.PayloadUUID: p.PayloadIdentifier}
	for _, part := range p.PayloadContent {
		kinds += strings.TrimPrefix(part.PayloadType, "com.apple.security.") + " "
		ids[part.PayloadUUID] = part.PayloadIdentifier
		if part.PayloadVersion != 1 || part.Password != "" || part.PayloadDisplayName == "" || !upperUUID.MatchString(part.PayloadUUID) {
			t.Errorf("%+v", part)
		}
	}
	if kinds != "pkcs12 pkcs12 pkcs1 " || len(ids) != 4 {
		t.Fatalf("%s%v", kinds, ids)
	}
	if ca, err := x509.ParseCertificate(p.PayloadContent[2].PayloadContent); err != nil || ca.CheckSignatureFrom(parseCert(t, alice.root)) != nil || ca.Equal(parseCert(t, alice.root)) {
		t.Errorf("not the CA between: %v", err)
	}
	for n := range 2 { // the newest first
		c := *alice
		c.p12 = write(t, filepath.Join(t.TempDir(), "p12"), string(p.PayloadContent[n].PayloadContent))
		u := unpack(t, &c)
		if got := run(t, "openssl", "cms", "-decrypt", "-in", mail[1-n], "-inform", "DER", "-inkey", u.key, "-recip", u.leaf); got != message {
			t.Errorf("decrypted %q", got)
		}
	}
	if status, stderr := s.run("renew", "--force", "-e", alice.email); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	next := readProfile(t, s.export(alice.email, "--former", "--format", "mobileconfig")[0])
	kept := 0
	for _, part := range next.PayloadContent {
		if ids[part.PayloadUUID] == part.PayloadIdentifier {
			kept++
		}
	}
	if ids[next.PayloadUUID] != next.PayloadIdentifier || kept != 3 || len(next.PayloadContent) != 4 {
		t.Errorf("%d identifiers are kept: %+v", kept, next)
	}
}

// A root that a CA puts into its chain is not in a profile: whoever installs that would
// trust it.
func TestExportProfileRoot(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "plistutil")
	s, alice, _ := renewed(t)
	chain := s.file(alice.email, "fullchain.pem")
	write(t, chain, read(t, chain)+read(t, alice.root))
	p := readProfile(t, s.export(alice.email, "--format", "mobileconfig")[0])
	root := parseCert(t, alice.root)
	for _, part := range p.PayloadContent {
		if strings.HasSuffix(part.PayloadType, "root") || string(part.PayloadContent) == string(root.Raw) {
			t.Errorf("%s is the root", part.PayloadIdentifier)
		}
	}
	c := *alice
	c.p12 = write(t, filepath.Join(t.TempDir(), "p12"), string(p.PayloadContent[0].PayloadContent))
	if block, _ := pem.Decode([]byte(read(t, unpack(t, &c).chain))); block == nil || string(block.Bytes) == string(root.Raw) || len(p.PayloadContent) != 2 {
		t.Errorf("%d parts, and the container's chain has the root", len(p.PayloadContent))
	}
}
