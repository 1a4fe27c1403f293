package p12clients

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"

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
	uri      string
	passFile string
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
	addr := freeAddr(t)
	d := &directory{t, "ldap://" + addr, write(t, filepath.Join(dir, "password"), ldapPassword)}
	d.start(conf, addr)
	write(t, filepath.Join(dir, "people.ldif"), people)
	run(t, "ldapadd", append(d.login(), "-f", filepath.Join(dir, "people.ldif"))...)
	return d
}

// freeAddr returns an address where nobody listens; slapd cannot choose one itself.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs slapd in the foreground, which -d makes it do, until the test ends.
func (d *directory) start(conf, addr string) {
	d.t.Helper()
	var log strings.Builder
	cmd := exec.Command("slapd", "-d", "none", "-h", d.uri, "-f", conf)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			d.t.Error(err)
		}
		if err := cmd.Wait(); err != nil || d.t.Failed() {
			d.t.Logf("slapd: %v\n%s", err, log.String())
		}
	})
	mta.WaitFor(d.t, "slapd", func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// login are the options with which the hook is called, too.
func (d *directory) login() []string {
	return []string{"-x", "-D", ldapAdmin, "-y", d.passFile, "-H", d.uri}
}

// attribute returns the values of an attribute of the entry for an address, as
// a mail program asks for it.
func (d *directory) attribute(email, name string) []string {
	d.t.Helper()
	out := run(d.t, "ldapsearch", "-x", "-H", d.uri, "-LLL", "-o", "ldif-wrap=no", "-b", ldapBase, "(mail="+email+")", name)
	var values []string
	for line := range strings.Lines(out) {
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

// wantPublished wants the certificates in both attributes of an entry, each with its
// intermediate, and nothing else.
func (d *directory) wantPublished(s *site, email string, names ...string) {
	d.t.Helper()
	leaves := map[string]bool{}
	for _, name := range names {
		leaves[string(parseCert(d.t, s.file(name, "cert.pem")).Raw)] = true
	}
	got := d.attribute(email, "userCertificate;binary")
	for _, value := range got {
		if !leaves[value] {
			d.t.Errorf("%s: a certificate that is not in force in userCertificate", email)
		}
	}
	bags := d.attribute(email, "userSMIMECertificate")
	if len(got) != len(names) || len(bags) != len(names) {
		d.t.Fatalf("%s: %d values of userCertificate and %d of userSMIMECertificate, want %d", email, len(got), len(bags), len(names))
	}
	for _, bag := range bags {
		p7, err := pkcs7.Parse([]byte(bag))
		if err != nil {
			d.t.Fatal(err)
		}
		if len(p7.Certificates) != 2 || !leaves[string(p7.Certificates[0].Raw)] || !p7.Certificates[1].IsCA {
			d.t.Errorf("%s: userSMIMECertificate has %d certificates, want leaf and intermediate", email, len(p7.Certificates))
		}
	}
}

// An entry has a value for each certificate in force: a later one takes the place of the
// one that it replaces, and a revoked one goes. Others stay, be they of another address
// of the entry or of somebody else's making.
func TestPublishLDAP(t *testing.T) {
	t.Parallel()
	s, d := newSite(t), startDirectory(t)
	s.env = append(s.env, "LDAPBASE="+ldapBase)
	hook := fmt.Sprintf("publish-ldap -x -D '%s' -y '%s' -H %s", ldapAdmin, d.passFile, d.uri)
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

	write(t, d.passFile, "wrong")
	s.wantFailure("cannot look for "+alice, hook, []string{alice}, "--force")
	d.wantPublished(s, guenther, guenther, "nobody@example.test")
}
