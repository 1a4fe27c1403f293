package p12clients

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// The record is where RFC 8162 has it and holds the whole certificate.
func TestPrintSMIMEA(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	emails := []string{"hugh@example.com", "Hugh.O'Brien+x@sub.example.com"}
	out := s.mustCert("print-smimea", emails)
	cert := parseCert(t, s.file(emails[0], "cert.pem"))
	records := map[string]*dns.SMIMEA{}
	for line := range strings.Lines(out) {
		if !strings.Contains(line, " SMIMEA ") {
			continue
		}
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		records[rr.Header().Name] = rr.(*dns.SMIMEA)
	}
	for _, email := range emails {
		local, domain, _ := strings.Cut(email, "@")
		owner, err := dns.SMIMEAName(local, domain+".")
		if err != nil {
			t.Fatal(err)
		}
		rr := records[owner]
		if rr == nil {
			t.Errorf("no record at %s:\n%s", owner, out)
			continue
		}
		if rr.Usage != 3 || rr.Selector != 0 || rr.MatchingType != 0 {
			t.Errorf("%s", rr)
		}
		if err := rr.Verify(cert); err != nil {
			t.Errorf("%s: %v", owner, err)
		}
	}
	// The hash that RFC 7929 and RFC 8162 give as their example.
	if records["c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com."] == nil {
		t.Errorf("no record at the example's place:\n%s", out)
	}
	s.wantFailure("deploy hook", "print-smimea; false", emails, "--force")
}

// The file has the records of all certificates in force: not those that were replaced or
// revoked, and those of others stay.
func TestPrintSMIMEAFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	zone := filepath.Join(t.TempDir(), "smimea.zone")
	hook := "print-smimea '" + zone + "'"
	want := func(names ...string) {
		t.Helper()
		text := run(t, "cat", zone)
		if n := strings.Count(text, "\n"); n != len(names) {
			t.Errorf("%d records, want those of %q\n%s", n, names, text)
		}
		for _, name := range names {
			if !strings.Contains(text, fmt.Sprintf(" IN SMIMEA 3 0 0 %x\n", parseCert(t, s.file(name, "cert.pem")).Raw)) {
				t.Errorf("no record of %s\n%s", name, text)
			}
		}
	}
	hugh, ann := "hugh@example.com", "ann@example.com"
	s.mustCert(hook, []string{hugh})
	s.mustCert(hook, []string{ann})
	s.mustCert(hook, []string{hugh}, "--force")
	want(hugh, ann)
	s.mustRevoke(hook, ann)
	want(hugh)
	s.mustCert(hook, []string{ann, hugh})
	want(hugh, ann+"-2", ann+"-2")
	s.mustRevoke(hook, ann+"-2")
	s.mustRevoke(hook, hugh)
	want()

	// A certificate for signatures is not looked up, unless its kind is asked for.
	s.mustCert(hook, []string{hugh}, "--kind", "sign", "--usage", "digitalSignature")
	want()
	s.mustCert(hook, []string{hugh}, "--kind", "encrypt", "--usage", "keyAgreement")
	s.must("renew", "--force", "--kind", "encrypt", "--kind", "sign")
	want(hugh + ",encrypt")
	s.mustCert("PUBLISH_KINDS=sign "+hook, []string{hugh}, "--force", "--kind", "sign", "--usage", "digitalSignature")
	want(hugh+",encrypt", hugh+",sign")
	s.must("revoke", "-e", hugh, "--kind", "encrypt", "--revoke-hook", hook)
	want(hugh + ",sign")
}

// The directory of a zone may be the name server's: what it puts there is not written through.
func TestPrintSMIMEALinks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	zone, victim := filepath.Join(dir, "smimea.zone"), filepath.Join(t.TempDir(), "victim")
	run(t, "sh", "-c", `echo untouched >"$1" && for name in "" .new .gone; do ln -s "$1" "$0$name"; done`, zone, victim)
	s.mustCert("print-smimea '"+zone+"'", []string{"hugh@example.com"})
	if text := run(t, "cat", victim); text != "untouched\n" {
		t.Errorf("written through a link: %s", text)
	}
	if text := run(t, "cat", zone); !strings.Contains(text, " IN SMIMEA ") || strings.Contains(text, "untouched") {
		t.Errorf("not the records alone in the zone file: %s", text)
	}
}
