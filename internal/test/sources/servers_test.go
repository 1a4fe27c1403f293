package sources

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
)

// server starts a server in the foreground and returns what stops it. It is ready when
// its unix socket takes connections.
func server(t *testing.T, socket string, command ...string) (stop func()) {
	t.Helper()
	log, err := os.Create(filepath.Join(filepath.Dir(socket), filepath.Base(command[0])+".log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log // what it starts may keep it open
	runtime.LockOSThread()            // Pdeathsig is about the thread, which ends with the test
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(t, cmd.Start())
	running := true
	stop = func() {
		if running {
			running = false
			_ = cmd.Process.Signal(syscall.SIGINT) // PostgreSQL's "fast"
			_ = cmd.Wait()                         // its status says how it was ended
		}
	}
	t.Cleanup(func() {
		if stop(); t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("%s: %v\n%s", command[0], err, text)
		}
	})
	mta.WaitFor(t, command[0], func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return stop
}

// place makes a directory that the users of servers can reach, with a short name: a path
// of a socket has at most 107 bytes.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sources-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// away renames a file.
func away(t *testing.T, name string) func() {
	return func() {
		if err := os.Rename(name, name+".away"); err != nil {
			t.Error(err)
		}
	}
}

const database = `CREATE TABLE users (username text, domain text, active boolean);
INSERT INTO users VALUES ('alice', 'example.org', true), ('bob', 'example.org', true), ('carol', 'example.org', true),
	('erin', 'example.org', false), ('dave', 'example.net', true);`

func makeSQLite(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "users.sqlite")
	shell(t, `sqlite3 "$0" "$1" && chmod 644 "$0"`, name, database)
	return name
}

// passwdFile is a userdb of Dovecot.
func passwdFile(t *testing.T, dir string) string {
	users := write(t, filepath.Join(dir, "users"), "alice@example.org:::::::\nbob@example.org:::::::\ncarol@example.org:::::::\ndave@example.net:::::::\n")
	return "driver = passwd-file\n args = username_format=%u " + users
}

// sqlUsers is another.
func sqlUsers(t *testing.T, dir string) string {
	conf := write(t, filepath.Join(dir, "sql.conf"), "driver = sqlite\nconnect = "+makeSQLite(t, dir)+`
user_query = SELECT 65534 AS uid, 65534 AS gid, '/' AS home FROM users WHERE username = '%n' AND domain = '%d'
iterate_query = SELECT username, domain FROM users WHERE active
`)
	return "driver = sql\n args = " + conf
}

// dovecot runs only what doveadm talks to.
func dovecot(t *testing.T, userdb func(t *testing.T, dir string) string) world {
	dir := place(t)
	must(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
	conf := write(t, filepath.Join(dir, "dovecot.conf"), fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
default_internal_user = root
default_internal_group = root
default_login_user = nobody
protocols =
listen = 127.0.0.1
ssl = no
service stats {
  chroot =
}
passdb {
  driver = static
}
userdb {
 %[2]s
}
`, dir, userdb(t, dir)))
	stop := server(t, filepath.Join(dir, "run/auth-userdb"), "dovecot", "-F", "-c", conf)
	return world{replace: []string{"doveadm", "doveadm -c " + conf}, stop: stop}
}

func severalDomains(t *testing.T) world {
	w := dovecot(t, func(t *testing.T, dir string) string {
		users := write(t, filepath.Join(dir, "users"), "alice@example.org:::::::\npostmaster@example.org:::::::\nnoreply@example.net:::::::\ndave@example.net:::::::\n")
		return "driver = passwd-file\n args = username_format=%u " + users
	})
	w.want = [][]string{{"alice@example.org"}, {"dave@example.net"}}
	return w
}

// postfixTables are tables of a type, mailboxes and aliases.
func postfixTables(t *testing.T, kind string) world {
	dir := place(t)
	boxes := write(t, filepath.Join(dir, "vmailbox"), "alice@example.org alice/\nbob@example.org bob/\ncarol@example.org carol/\n@example.org rest/\ndave@example.net dave/\n")
	aliases := write(t, filepath.Join(dir, "virtual"), "al@example.org alice@example.org\nteam@example.org alice@example.org, bob@example.org\nout@example.org me@example.com\n@example.com alice@example.org\n")
	shell(t, `postmap "$0" && postmap "$1"`, kind+":"+boxes, kind+":"+aliases)
	suffix := map[string]string{"lmdb": ".lmdb", "hash": ".db"}[kind]
	w := world{replace: []string{"/etc/postfix", dir}, cut: away(t, aliases+suffix), stop: away(t, boxes+suffix)}
	if kind == "hash" {
		w.want = [][]string{append([]string{"al@example.org"}, everybody...)}
	} else {
		w.cut = nil
	}
	return w
}

const ldapPassword = "let me in"

// ldap has more people than it says to those whom it does not know.
func ldap(t *testing.T) world {
	dir := place(t)
	socket := filepath.Join(dir, "ldapi")
	uri := "ldapi://" + url.QueryEscape(socket)
	must(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	config := func(limit string) string {
		return write(t, filepath.Join(dir, "slapd.conf"), fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw "%[1]s"
directory %[2]s/db
limits dn.exact="cn=postseal,dc=example,dc=org" %[3]s
`, ldapPassword, dir, limit))
	}
	run := func(limit string) func() {
		return server(t, socket, "slapd", "-d", "none", "-h", uri, "-f", config(limit))
	}
	stop := run("size.soft=2 size.hard=2 size.prtotal=unlimited")
	password := write(t, filepath.Join(dir, "password"), ldapPassword)
	admin := "ldapadd -x -D cn=admin,dc=example,dc=org -y '" + password + "' -H " + uri
	shell(t, admin+` -f "$0"`, write(t, filepath.Join(dir, "people.ldif"), people()))
	return world{
		replace: []string{"/etc/postseal/ldap.password", password, "ldaps://ldap.example.org", uri, "pr=500", "pr=2"},
		cut:     func() { stop(); stop = run("size.soft=2 size.hard=2 size.prtotal=2") },
		stop:    func() { stop() },
		says:    "exit status (4: Size limit exceeded|255: .*Can't contact)",
	}
}

// people are those of the directory: three of the staff, one of them with an address at
// another domain, a guest, and who asks.
func people() string {
	var b strings.Builder
	b.WriteString("dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\ndn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n" +
		"dn: cn=postseal,dc=example,dc=org\nobjectClass: person\ncn: postseal\nsn: postseal\nuserPassword: " + ldapPassword + "\n")
	for _, name := range []string{"alice", "bob", "carol", "guest"} {
		kind := "staff"
		if name == "guest" {
			kind = "guest"
		}
		fmt.Fprintf(&b, "\ndn: uid=%[1]s,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: %[1]s\ncn: %[1]s\nsn: %[1]s\nemployeeType: %[2]s\nmail: %[1]s@example.org\n", name, kind)
	}
	return b.String() + "mail: dave@example.net\n"
}

// systemUsers is a list of users of its own in the place of the system's.
func systemUsers(t *testing.T) world {
	dir := place(t)
	var b strings.Builder
	b.WriteString("root:x:0:0::/root:/bin/sh\nmail:x:8:8::/var/mail:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
	for n, name := range []string{"alice", "bob", "carol"} {
		fmt.Fprintf(&b, "%s:x:%d:1000::/:/bin/sh\n", name, 1000+n)
	}
	users := write(t, filepath.Join(dir, "passwd"), b.String())
	names := write(t, filepath.Join(dir, "nsswitch.conf"), "passwd: files\n")
	return world{
		within: []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"`, users, names},
		stop:   func() { write(t, names, "passwd: nosuch\n") },
		says:   "it is empty",
	}
}

// postgres is a cluster of its own.
func postgres(t *testing.T) world {
	dir := place(t)
	data := filepath.Join(dir, "data")
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		t.Fatalf("PostgreSQL is not installed (%v); run: make deps", err)
	}
	bin, as := bins[len(bins)-1], []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}
	shell(t, `chown postgres "$0" && runuser -u postgres -- "$1/initdb" -N -A trust -D "$2"`, dir, bin, data)
	stop := server(t, filepath.Join(dir, ".s.PGSQL.5432"), append(as, bin+"/postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-F")...)
	mta.WaitFor(t, "PostgreSQL", func() bool {
		return exec.Command(bin+"/pg_isready", "-q", "-h", dir).Run() == nil
	})
	shell(t, `psql -q -X -h "$0" -U postgres -c 'CREATE ROLE postseal LOGIN' -c 'CREATE DATABASE mail OWNER postseal' && psql -q -X -h "$0" -U postseal mail -c "$1"`, dir, database)
	return world{replace: []string{"db.example.org", dir}, stop: stop, says: "exit status 2: .*"}
}

func sqlite(t *testing.T) world {
	users := makeSQLite(t, place(t))
	return world{replace: []string{"/var/lib/mail/users.sqlite", users}, stop: away(t, users), says: "exit status 1: .*unable to open"}
}

func file(t *testing.T) world {
	owners := write(t, filepath.Join(place(t), "owners"), "# from the portal\nalice@example.org\n\nbob@example.org\ncarol@example.org\ndave@example.net\n")
	return world{replace: []string{"/etc/postseal/owners", owners}, stop: away(t, owners), says: "no such file"}
}
