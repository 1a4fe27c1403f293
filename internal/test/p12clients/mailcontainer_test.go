package p12clients

import (
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withSendmail puts a sendmail into the PATH of hooks that writes what it is given,
// and its arguments, into a directory. It fails if the file "broken" is there.
func (s *site) withSendmail() (dir string) {
	s.t.Helper()
	dir = s.t.TempDir()
	path := write(s.t, filepath.Join(dir, "sendmail"), "#!/bin/sh\ncd '"+dir+"'\necho \"$*\" >args\ncat >mail\n! [ -e broken ]\n")
	if err := os.Chmod(path, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.path = dir + ":" + s.path
	return dir
}

// The owner gets the container, and in no form its passphrase.
func TestMailContainer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := s.withSendmail()
	owner, alias := "alice@example.test", "a.liddell@example.test"
	for _, format := range []string{"modern", "legacy"} {
		s.mustCert("mail-container postmaster@example.test", []string{owner, alias}, "--force", "--p12", format)
		if args := read(t, filepath.Join(dir, "args")); args != "-i -t -f postmaster@example.test\n" {
			t.Errorf("sendmail was called with %q", args)
		}
		text := read(t, filepath.Join(dir, "mail"))
		m := parseContainerMail(t, text)
		if m.header.Get("To") != owner || m.header.Get("From") != "postmaster@example.test" || m.header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("header: %v", m.header)
		}
		if !strings.Contains(m.text, alias) {
			t.Errorf("the text does not say what it is for:\n%s", m.text)
		}
		if m.container != read(t, s.file(owner, "cert.p12")) {
			t.Error("what is attached is not the container")
		}
		passphrase := strings.TrimSpace(read(t, s.file(owner, "passphrase")))
		for _, secret := range []string{passphrase, base64.StdEncoding.EncodeToString([]byte(passphrase))} {
			if strings.Contains(text, secret) {
				t.Errorf("the passphrase is in the mail:\n%s", text)
			}
		}
	}
}

// Two containers for one owner can be told apart.
func TestMailContainerKind(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := s.withSendmail()
	owner := "alice@example.test"
	for _, c := range []struct{ kind, subject, file string }{
		{"", "Your S/MIME certificate", "certificate.p12"},
		{"encrypt", "Your S/MIME certificate (encrypt)", "certificate.encrypt.p12"},
	} {
		var flags []string
		if c.kind != "" {
			flags = []string{"--kind", c.kind, "--usage", "keyAgreement"}
		}
		s.mustCert("mail-container", []string{owner}, flags...)
		text := read(t, filepath.Join(dir, "mail"))
		if m := parseContainerMail(t, text); m.header.Get("Subject") != c.subject || !strings.Contains(m.text, c.subject[len("Your "):]) {
			t.Errorf("%q: %s", c.kind, text)
		}
		if !strings.Contains(text, "attachment; filename="+c.file+"\n") || !strings.Contains(text, "; name="+c.file+"\n") {
			t.Errorf("%q: the container has another name\n%s", c.kind, text)
		}
	}
}

// A container that everybody can open is not mailed; one that could not be mailed is
// no success.
func TestMailContainerRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := s.withSendmail()
	for _, format := range []string{"modern", "legacy"} {
		s.wantFailure("has no passphrase", "mail-container", []string{"open@example.test"}, "--force", "--no-passphrase", "--p12", format)
	}
	s.wantFailure("has no passphrase", "POSTSEAL_P12=/nowhere mail-container", []string{"locked@example.test"})
	if _, err := os.Stat(filepath.Join(dir, "mail")); err == nil {
		t.Error("it was mailed")
	}
	write(t, filepath.Join(dir, "broken"), "")
	s.wantFailure("sendmail took no mail to alice@example.test", "mail-container", []string{"alice@example.test"})
	if m := parseContainerMail(t, read(t, filepath.Join(dir, "mail"))); m.header.Get("From") != "" {
		t.Errorf("From is %q, which sendmail knows better", m.header.Get("From"))
	}
}

// containerMail is the mail as a mail program takes it apart.
type containerMail struct {
	header          mail.Header
	text, container string
}

func parseContainerMail(t *testing.T, text string) containerMail {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("Content-Type: %q, %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	body := func(want string) io.Reader {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type")); err != nil || kind != want {
			t.Fatalf("a part of type %q, want %s", kind, want)
		}
		return part
	}
	words, err := io.ReadAll(body("text/plain"))
	if err != nil {
		t.Fatal(err)
	}
	container, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, body("application/pkcs12")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the container: %v", err)
	}
	return containerMail{m.Header, string(words), string(container)}
}
