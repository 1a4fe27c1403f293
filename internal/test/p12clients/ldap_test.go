package p12clients

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
)

const (
	ldapBase     = "dc=example,dc=test"
	ldapAdmin    = "cn=admin," + ldapBase
	ldapPassword = "let me in"
)

// directory is a slapd of its own, with a few people in it.
type directory struct {
	t        *testing.T
	socket   string
	passFile string
	conf     string
	cmd      *exec.Cmd
	log      strings.Builder
}

const people = `dn: dc=example,dc=test
objectClass: domain
dc: example

dn: cn=Alice Liddell,dc=example,dc=test
objectClass: inetOrgPerson
cn: Alice Liddell
sn: Liddell
mail: alice@example.test
mail: a.liddell@example.test

dn: cn=Günther,dc=example,dc=test
objectClass: inetOrgPerson
cn: Günther
sn: Günther
mail: guenther@example.test
userSMIMECertificate: what Outlook has put there

dn: cn=One,dc=example,dc=test
objectClass: inetOrgPerson
cn: One
sn: One
mail: shared@example.test

dn: cn=Two,dc=example,dc=test
objectClass: inetOrgPerson
cn: Two
sn: Two
mail: shared@example.test
`

func startDirectory(t *testing.T) *directory {
	t.Helper()
	need(t, "slapd", "ldapadd", "ldapsearch", "ldapmodify")
	dir := t.TempDir()
	db := filepath.Join(dir, "db")
	if err := os.Mkdir(db, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := write(t, filepath.Join(dir, "slapd.conf"), fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix %q
rootdn %q
rootpw %q
directory %q
`, ldapBase, ldapAdmin, ldapPassword, db))
	d := &directory{t: t, socket: filepath.Join(dir, "s"), passFile: write(t, filepath.Join(dir, "password"), ldapPassword), conf: conf}
	d.start()
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("slapd:\n%s", d.log.String())
		}
	})
	write(t, filepath.Join(dir, "people.ldif"), people)
	run(t, "ldapadd", append(d.login(), "-f", filepath.Join(dir, "people.ldif"))...)
	return d
}

// uri is that of a socket, whose place nobody else takes while slapd is away.
func (d *directory) uri() string { return "ldapi://" + url.PathEscape(d.socket) }

// start runs slapd in the foreground, which -d makes it do.
func (d *directory) start() {
	d.t.Helper()
	d.cmd = exec.Command("slapd", "-d", "none", "-h", d.uri(), "-f", d.conf)
	d.cmd.Stderr = &d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	mta.WaitFor(d.t, "slapd", func() bool {
		conn, err := net.Dial("unix", d.socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (d *directory) stop() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Error(err)
	}
	if err := d.cmd.Wait(); err != nil {
		d.t.Error(err)
	}
}

// login are the options with which the hook is called, too.
func (d *directory) login() []string {
	return []string{"-x", "-D", ldapAdmin, "-y", d.passFile, "-H", d.uri()}
}

// hook is the command for both hooks.
func (d *directory) hook() string {
	return fmt.Sprintf("publish-ldap -x -D '%s' -y '%s' -H %s", ldapAdmin, d.passFile, d.uri())
}

// attribute returns the values of an attribute of the entry for an address, as
// a mail program asks for it.
func (d *directory) attribute(email, name string) []string {
	d.t.Helper()
	out := run(d.t, "ldapsearch", "-x", "-H", d.uri(), "-LLL", "-o", "ldif-wrap=no", "-b", ldapBase, "(mail="+email+")", name)
	var values []string
	for line := range strings.Lines(out) {
		if text, ok := strings.CutPrefix(line, name+": "); ok {
			values = append(values, strings.TrimSpace(text))
		}
		if text, ok := strings.CutPrefix(line, name+":: "); ok {
			value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if err != nil {
				d.t.Fatal(err)
			}
			values = append(values, string(value))
		}
	}
	return values
}

// wantPublished wants the certificates in an entry, and nothing else.
func (d *directory) wantPublished(s *site, email string, names ...string) {
	d.t.Helper()
	var want []string
	for _, name := range names {
		want = append(want, string(parseCert(d.t, s.file(name, "cert.pem")).Raw))
	}
	got := d.attribute(email, "userCertificate;binary")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.t.Errorf("%s: %d certificates, want those of %q: %q", email, len(got), names, got)
	}
}

// An entry has a value for each certificate in force: a later one takes the place of the
// one that it replaces, and a revoked one goes. Others stay, be they of another address
// of the entry or of somebody else's making.
func TestPublishLDAP(t *testing.T) {
	t.Parallel()
	s, d := newSite(t), startDirectory(t)
	s.env = append(s.env, "LDAPBASE="+ldapBase)
	hook := d.hook()
	alice, alias, guenther := "alice@example.test", "a.liddell@example.test", "guenther@example.test"

	s.mustCert(hook, []string{alice})
	d.wantPublished(s, alice, alice)
	s.mustCert(hook, []string{alias})
	d.wantPublished(s, alice, alice, alias)
	for range 2 {
		s.mustCert(hook, []string{alice}, "--force")
		d.wantPublished(s, alice, alice, alias)
	}
	s.mustCert(hook, []string{alice, alias, guenther})
	both := alice + "-2"
	d.wantPublished(s, alice, alice, alias, both)
	d.wantPublished(s, guenther, both)

	s.mustRevoke(hook, alias)
	d.wantPublished(s, alice, alice, both)
	s.mustRevoke(hook, alias) // already
	d.wantPublished(s, alice, alice, both)
	s.mustRevoke(hook, both)
	d.wantPublished(s, alias, alice)
	d.wantPublished(s, guenther)
	s.mustCert(hook, []string{alias})
	d.wantPublished(s, alice, alice, alias)

	// Many at a time: no one's change is lost.
	if status, stderr := s.cert(hook, []string{alice, alias, guenther}, "--each", "--force"); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	d.wantPublished(s, alice, alice, alias)
	d.wantPublished(s, guenther, guenther)

	// Those that are found are published all the same.
	s.wantFailure("no entry has mail=nobody@example.test", hook, []string{"nobody@example.test", guenther})
	d.wantPublished(s, guenther, guenther, "nobody@example.test")
	s.wantFailure("several entries have mail=shared@example.test", hook, []string{"shared@example.test"})
	if got := d.attribute("shared@example.test", "userCertificate;binary"); len(got) > 0 {
		t.Error("published for one of two, whoever it is")
	}
	s.mustRevoke(hook, "shared@example.test") // nothing is there to be taken away
	if got := d.attribute(guenther, "userSMIMECertificate"); len(got) != 1 || got[0] != "what Outlook has put there" {
		t.Errorf("userSMIMECertificate: %q", got)
	}

	write(t, d.passFile, "wrong")
	s.wantFailure("cannot look for "+alice, hook, []string{alice}, "--force")
	d.wantPublished(s, guenther, guenther, "nobody@example.test")
}

// Who writes to somebody looks for a certificate to encrypt with: that for signatures is
// published only if its kind is asked for. Each kind goes its own way.
func TestPublishLDAPKinds(t *testing.T) {
	t.Parallel()
	s, d := newSite(t), startDirectory(t)
	s.env = append(s.env, "LDAPBASE="+ldapBase)
	alice := []string{"alice@example.test"}
	sign, encrypt := alice[0]+",sign", alice[0]+",encrypt"
	s.mustCert(d.hook(), alice, "--kind", "sign", "--usage", "digitalSignature")
	d.wantPublished(s, alice[0])
	s.mustCert(d.hook(), alice, "--kind", "encrypt", "--usage", "keyAgreement")
	d.wantPublished(s, alice[0], encrypt)
	for range 2 {
		s.must("renew", "--force")
		d.wantPublished(s, alice[0], encrypt)
	}

	both := "PUBLISH_KINDS='sign encrypt' " + d.hook()
	s.mustCert(both, alice, "--force", "--kind", "sign", "--usage", "digitalSignature")
	d.wantPublished(s, alice[0], sign, encrypt)
	s.must("renew", "--force", "--kind", "encrypt")
	d.wantPublished(s, alice[0], sign, encrypt)
	s.must("renew", "--force", "--kind", "sign")
	d.wantPublished(s, alice[0], sign, encrypt)

	// No longer asked for: the former one goes all the same, and none comes.
	s.mustCert("PUBLISH_KINDS=- "+d.hook(), alice, "--force", "--kind", "sign", "--usage", "digitalSignature")
	d.wantPublished(s, alice[0], encrypt)
	s.mustCert("PUBLISH_KINDS=- "+d.hook(), alice)
	d.wantPublished(s, alice[0], encrypt, alice[0])
	s.must("revoke", "-e", alice[0], "--kind", "encrypt", "--revoke-hook", d.hook())
	d.wantPublished(s, alice[0], alice[0])
}

// While the directory is away the certificate is kept, the exit status is 1, and the next
// renewal publishes what is in force by then. A hook that runs again changes nothing.
func TestPublishLDAPAway(t *testing.T) {
	t.Parallel()
	s, d := newSite(t), startDirectory(t)
	s.env = append(s.env, "LDAPBASE="+ldapBase)
	alice := "alice@example.test"
	ready := filepath.Join(t.TempDir(), "ready")
	s.mustCert(d.hook(), []string{alice})
	d.stop()
	s.wantFailure("cannot look for "+alice, d.hook()+" && test -e "+ready, []string{alice}, "--force")
	if status, stderr := s.run("renew", "--non-interactive"); status != 1 || !strings.Contains(stderr, "cannot look for "+alice) {
		t.Errorf("exit status %d\n%s", status, stderr)
	}
	d.start()
	if status, stderr := s.run("renew", "--non-interactive"); status != 1 { // published, and the rest of the hook fails
		t.Errorf("exit status %d\n%s", status, stderr)
	}
	d.wantPublished(s, alice, alice)
	before := d.attribute(alice, "entryCSN")
	write(t, ready, "")
	s.must("renew")
	if after := d.attribute(alice, "entryCSN"); len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("the entry was changed again: %q, %q", before, after)
	}
	if status, stderr := s.run("renew", "--non-interactive"); status != 2 {
		t.Errorf("exit status %d\n%s", status, stderr)
	}
	d.wantPublished(s, alice, alice)
}
