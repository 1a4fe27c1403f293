package setup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/machine"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

var kit = machine.Kits{Fill: func(dir string) error {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/",
		"postseal/cmd/postseal", "postseal/cmd/postseal-check", "postseal/cmd/postseal-pipe", "postseal/cmd/postseal-milter")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}}

// onHost runs f on this machine under a layer of its own.
func onHost(t *testing.T, f func(*admin)) {
	if machine.Inside() {
		f(newAdmin(t))
		return
	}
	t.Parallel()
	mta.Need(t, "postfix", "procmail", "sudo")
	dir, err := kit.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machine.Run(t, machine.Spec{Image: machine.Host, Kit: dir}); err != nil {
		t.Fatal(err)
	}
}

// admin is root of a machine with Postfix, on which only the programs of postseal exist.
type admin struct {
	*testing.T
	bin string
}

const (
	domain = "example.test"
	alice  = "alice@" + domain
)

func newAdmin(t *testing.T) *admin {
	a := &admin{t, "/usr/local/bin"}
	for _, name := range []string{"postseal", "postseal-check", "postseal-pipe", "postseal-milter"} {
		data, err := os.ReadFile(filepath.Join(machine.Kit, name))
		a.must(err)
		a.must(os.WriteFile(filepath.Join(a.bin, name), data, 0o755))
	}
	a.try("userdel", "postseal")
	a.must(os.RemoveAll("/etc/postseal"))
	a.must(os.RemoveAll("/var/lib/postseal"))
	return a
}

func (a *admin) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// try runs a program and returns its exit status and output.
func (a *admin) try(program string, args ...string) (status int, stdout, stderr string) {
	a.Helper()
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, "/"
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		a.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// run runs a program that must succeed and returns its output.
func (a *admin) run(program string, args ...string) string {
	a.Helper()
	status, out, errs := a.try(program, args...)
	if status != 0 {
		a.Fatalf("%s %q: exit %d\n%s%s", program, args, status, out, errs)
	}
	return out
}

// report is the JSON of "postseal init".
type report struct {
	Found []string
	Via   string
	Steps []struct{ What, Status, Detail string }
	Lines []Lines

	Commands, Notes []string
}

// setUp runs "postseal init" without questions.
func (a *admin) setUp(args ...string) (r report) {
	a.Helper()
	out := a.run("postseal", append([]string{"init", "-n", "--json"}, args...)...)
	a.must(json.Unmarshal([]byte(out), &r))
	return r
}

func (r report) statuses() map[string]bool {
	all := map[string]bool{}
	for _, s := range r.Steps {
		all[s.Status] = true
	}
	return all
}

// follow does the admin's part of init's plan. It starts what a running system would only
// reload.
func (a *admin) follow(r report) {
	a.Helper()
	for _, l := range r.Lines {
		old, err := os.ReadFile(l.File)
		if !errors.Is(err, fs.ErrNotExist) {
			a.must(err)
		}
		text := string(old) + "\n" + l.Text
		switch l.Place {
		case NewFile:
			text = l.Text
		case AtStart:
			text = l.Text + "\n" + string(old)
		case Instead:
			for _, set := range parseSettings(l.Text).lines {
				a.run("postconf", "-X", set.name)
			}
			old, err = os.ReadFile(l.File)
			a.must(err)
			text = string(old) + "\n" + l.Text
		}
		a.must(os.MkdirAll(filepath.Dir(l.File), 0o755))
		a.must(os.WriteFile(l.File, []byte(text), 0o644))
	}
}

// changed returns the paths changed on this machine since the file marker, except for the
// log, into which Postfix writes in its own time.
func (a *admin) changed(marker string) (paths []string) {
	a.Helper()
	out := a.run("find", machine.Changes, "-cnewer", marker)
	for path := range strings.Lines(out) {
		if path = strings.TrimPrefix(strings.TrimSpace(path), machine.Changes); path != "" && path != "/var/log/maillog" {
			paths = append(paths, path)
		}
	}
	return paths
}

// world starts a CA, and the world's DNS at port 53.
func (a *admin) world() *testca.CA {
	ca, err := testca.Start(context.Background(), testca.Config{Dir: a.TempDir(), Strict: true, Relay: "127.0.0.1:25"})
	a.must(err)
	a.Cleanup(func() { ca.Close() })
	a.must(os.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n"), 0o644))
	a.must(machine.ServeDNS(ca.DNSAddr, func(string) (machine.Name, bool) {
		return machine.Name{Mail: "mail." + domain, Address: "127.0.0.1"}, true
	}))
	return ca
}

// signingKey makes a DKIM key and publishes its public half in the DNS.
func (a *admin) signingKey(ca *testca.CA, path string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	a.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	a.must(err)
	ca.SetTXT("s1._domainkey."+domain, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(public))
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	a.must(os.WriteFile(path, block, 0o600))
}

// postfix configures Debian's Postfix for a small host, and starts it.
func (a *admin) postfix(relay string, settings ...string) {
	a.run("useradd", "--create-home", "alice")
	host, port, err := net.SplitHostPort(relay)
	a.must(err)
	a.run("postconf", append([]string{"-e", "inet_interfaces=127.0.0.1", "inet_protocols=ipv4", "mydestination=" + domain, "myhostname=mail." + domain,
		"relayhost=[" + host + "]:" + port, "disable_dns_lookups=yes", "smtp_host_lookup=native", "smtp_tls_security_level=none",
		"smtpd_tls_security_level=none", "maillog_file=/var/log/maillog", "mailbox_command=", "home_mailbox=Maildir/",
		"alias_maps=", "alias_database=", "syslog_name=postfix"}, settings...)...)
	a.run("postfix", "start")
}

// startMilter starts postseal-milter as a service manager would: as the user that init made,
// with the configuration that init wrote.
func (a *admin) startMilter() {
	u, err := user.Lookup("postseal")
	a.must(err)
	var uid, gid uint32
	fmt.Sscan(u.Uid, &uid)
	fmt.Sscan(u.Gid, &gid)
	cmd := exec.Command(filepath.Join(a.bin, "postseal-milter"))
	log := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	a.must(cmd.Start())
	a.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if a.Failed() {
			mail, _ := os.ReadFile("/var/log/maillog")
			a.Logf("postseal-milter said:\n%s\nPostfix said:\n%s", log, mail)
		}
	})
	mta.WaitFor(a, "the milter's socket", func() bool {
		conn, err := net.Dial("unix", "/var/spool/postfix/postseal-milter/milter.sock")
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// A machine with Postfix: init says what to do and does its part, and once the admin has done
// the rest, the check passes and the first order is answered. Nothing else on the machine
// changes, and a second run changes nothing.
func TestInitPostfix(t *testing.T) {
	onHost(t, func(a *admin) {
		ca := a.world()
		a.postfix(ca.SMTPAddr)
		a.must(os.MkdirAll("/etc/dkim", 0o755))
		a.signingKey(ca, "/etc/dkim/k.pem")
		syscall.Umask(0o077) // as a careful root sets it
		flags := []string{
			"--server", ca.DirectoryURL, "--ca-bundle", ca.RootFile, "--contact", alice, "--agree-tos",
			"--dkim-key", domain + ":s1:/etc/dkim/k.pem",
		}

		a.must(os.WriteFile("/marker", nil, 0o644))
		dry := a.setUp(append(flags, "--dry-run")...)
		if got := a.changed("/marker"); len(got) > 0 {
			t.Errorf("--dry-run changed %q", got)
		}
		if dry.Via != "postfix" || len(dry.Lines) != 1 || dry.statuses()["made"] || !dry.statuses()["would make"] {
			t.Errorf("--dry-run says %+v", dry)
		}

		a.must(os.WriteFile("/marker", nil, 0o644))
		done := a.setUp(flags...)
		for _, path := range a.changed("/marker") {
			if !ownPath(path) {
				t.Errorf("changed: %s", path)
			}
		}
		if !done.statuses()["made"] || fmt.Sprint(done.Lines) != fmt.Sprint(dry.Lines) {
			t.Errorf("says %+v, and with --dry-run %+v", done, dry)
		}
		a.wantModes()

		a.follow(done)
		for _, command := range done.Commands {
			if !strings.HasPrefix(command, "systemctl") {
				a.run("sh", "-c", command)
			}
		}
		a.startMilter()
		if status, out, errs := a.try("postseal", "check", "-e", alice); status != 0 {
			t.Errorf("postseal check: exit %d\n%s%s", status, out, errs)
		}
		a.run("postseal", "cert", "-n", "-e", alice, "--key-type", "p256", "--timeout", "1m")

		a.must(os.WriteFile("/marker", nil, 0o644))
		again := a.setUp(flags...)
		if len(again.Lines) > 0 || again.statuses()["made"] {
			t.Errorf("the second time it says %+v", again)
		}
		a.wantEdited(flags)
	})
}

// ownPath reports whether init may change a path: its own, the directories above them, and
// the tables of users. Programs with logs write there meanwhile.
func ownPath(path string) bool {
	for _, own := range []string{"/etc/postseal", "/var/lib/postseal", "/var/spool/postfix/postseal", "/etc/systemd/system/postseal-", "/usr/lib/postseal/report"} {
		if strings.HasPrefix(path, own) || strings.HasPrefix(own, path+"/") {
			return true
		}
	}
	table := strings.TrimSuffix(path, "-")
	return slices.Contains([]string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock"}, table) ||
		strings.HasPrefix(path, "/var/log")
}

// wantModes checks the modes of init's files, whatever the umask was.
func (a *admin) wantModes() {
	a.Helper()
	for path, want := range map[string]string{
		"/etc/postseal":                              "755 root:root",
		"/etc/postseal/postseal.toml":                "644 root:root",
		"/var/lib/postseal":                          "750 root:postseal",
		"/var/lib/postseal/pending":                  "2750 root:postseal",
		"/var/lib/postseal/answers":                  "3770 root:postseal",
		"/var/lib/postseal/certs":                    "700 root:root",
		"/var/spool/postfix/postseal-milter":         "2750 postseal:postfix",
		"/etc/systemd/system/postseal-milter.socket": "644 root:root",
	} {
		if got := strings.TrimSpace(a.run("stat", "-c", "%a %U:%G", path)); got != want {
			a.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// wantEdited edits the configuration: init keeps it, and writes the rest of the answers
// beside it.
func (a *admin) wantEdited(flags []string) {
	a.Helper()
	const path = "/etc/postseal/postseal.toml"
	old, err := os.ReadFile(path)
	a.must(err)
	edited := "# mine\n" + string(old)
	a.must(os.WriteFile(path, []byte(edited), 0o644))
	a.setUp(flags...)
	if _, err := os.Stat(path + ".new"); err == nil {
		a.Error("a comment was taken for a difference")
	}
	r := a.setUp("--contact", "other@"+domain)
	if now, _ := os.ReadFile(path); string(now) != edited {
		a.Errorf("the edited configuration was changed:\n%s", now)
	}
	if now, _ := os.ReadFile(path + ".new"); !strings.Contains(string(now), "contact = \"other@"+domain) {
		a.Errorf("the new one is not beside it: %s", now)
	}
	if text := fmt.Sprint(r.Steps); !strings.Contains(text, "differs in contact") {
		a.Errorf("it does not say so: %s", text)
	}
}

// A Postfix that has milters already keeps them, and ours is added after them.
func TestInitPostfixWithMilters(t *testing.T) {
	onHost(t, func(a *admin) {
		f, err := os.OpenFile(mainCF, os.O_APPEND|os.O_WRONLY, 0)
		a.must(err)
		_, err = f.WriteString("signer = inet:127.0.0.1:8899\nsmtpd_milters = $signer,\n  unix:other/sock\nnon_smtpd_milters = $smtpd_milters\n")
		a.must(errors.Join(err, f.Close()))
		r := a.setUp("--dry-run")
		if len(r.Lines) != 1 || r.Lines[0].Place != Instead {
			t.Fatalf("%+v", r.Lines)
		}
		a.follow(r)
		got := a.run("postconf", "-h", "-x", "smtpd_milters")
		for _, want := range []string{"inet:127.0.0.1:8899,", "unix:other/sock,", "{ unix:postseal-milter/milter.sock, default_action=accept,"} {
			if !strings.Contains(got, want) {
				t.Errorf("smtpd_milters is %s, which lacks %s", got, want)
			}
		}
		if r := a.setUp("--dry-run"); len(r.Lines) > 0 {
			t.Errorf("the second time it shows %+v", r.Lines)
		}
	})
}

// Somebody orders before init, without the group of the mail half: init repairs the state
// directory, and so does the command that check names.
func TestCertBeforeInit(t *testing.T) {
	onHost(t, func(a *admin) {
		ca := a.world()
		a.postfix(ca.SMTPAddr)
		order := func() {
			a.must(os.RemoveAll("/var/lib/postseal"))
			a.try("userdel", "postseal")
			status, out, errs := a.try("postseal", "cert", "-n", "-e", alice, "--agree-tos", "--server", ca.DirectoryURL, "--ca-bundle", ca.RootFile, "--key-type", "p256", "--timeout", "1s")
			if status != 75 || strings.Count(errs, `hint: there is no group "postseal"`) != 1 || !strings.Contains(errs, "postseal init") {
				t.Fatalf("postseal cert: exit %d\n%s%s", status, out, errs)
			}
		}
		readable := func(who string) {
			t.Helper()
			for _, line := range []string{"cat pending/*.json", "touch answers/x && rm answers/x"} {
				if status, _, errs := a.try("setpriv", "--reuid=postseal", "--regid=postseal", "--clear-groups", "sh", "-c", "cd /var/lib/postseal && "+line); status != 0 {
					t.Errorf("%s: the mail half cannot: %s: %s", who, line, errs)
				}
			}
		}
		order()
		flags := []string{"--server", ca.DirectoryURL, "--ca-bundle", ca.RootFile, "--contact", alice, "--agree-tos"}
		a.setUp(flags...)
		readable("init")
		if again := a.setUp(flags...); again.statuses()["made"] {
			t.Errorf("the second time it says %+v", again)
		}

		order()
		a.run("useradd", "--system", "--user-group", "--no-create-home", "postseal")
		_, out, _ := a.try("postseal", "check")
		_, command, ok := strings.Cut(out, "run: cd /var")
		if command, _, _ = strings.Cut(command, "\n"); !ok || strings.Count(out, "run: cd") != 1 {
			t.Fatalf("postseal check says\n%s", out)
		}
		a.run("sh", "-c", "cd /var"+command)
		readable("check")
		if _, out, _ := a.try("postseal", "check"); strings.Contains(out, "cannot use") {
			t.Errorf("postseal check says\n%s", out)
		}
	})
}

// A user with procmail sets up mail for that user alone, and init touches nothing else.
func TestInitUser(t *testing.T) {
	onHost(t, func(a *admin) {
		a.run("useradd", "--create-home", "--shell", "/bin/sh", "alice")
		a.must(os.WriteFile("/marker", nil, 0o644))
		as := func(args ...string) (int, string, string) {
			return a.try("setpriv", append([]string{"--reuid=alice", "--regid=alice", "--init-groups", "env", "-i", "HOME=/home/alice", "PATH=/usr/bin:/bin:" + a.bin}, args...)...)
		}
		status, out, errs := as("postseal", "init", "-n", "--contact", alice, "--server", "https://ca.example/dir")
		if status != 0 {
			t.Fatalf("exit %d\n%s%s", status, out, errs)
		}
		for _, want := range []string{"/home/alice/.config/postseal/postseal.toml", "/home/alice/.local/state/postseal", "at the beginning of /home/alice/.procmailrc", a.bin + "/postseal-pipe"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
		for _, path := range a.changed("/marker") {
			if !strings.HasPrefix(path+"/", "/home/") {
				t.Errorf("changed: %s", path)
			}
		}
		// The program reads it there.
		if status, out, errs := as("postseal", "cert", "-n", "-e", alice); status == 0 || !strings.Contains(errs, "https://ca.example/dir") {
			t.Errorf("exit %d\n%s%s", status, out, errs)
		}
		// postseal-pipe also looks there, even for ordinary mail, and accepts what init
		// wrote.
		const own = "/home/alice/.config/postseal/postseal.toml"
		lunch := "printf 'Subject: lunch\\n\\nAt noon?\\n' | postseal-pipe"
		if status, _, errs := as("sh", "-c", lunch); status != 0 || errs != "" {
			t.Errorf("postseal-pipe: exit %d %s", status, errs)
		}
		text, err := os.ReadFile(own)
		a.must(err)
		a.must(os.WriteFile(own, append([]byte("nonsense = 1\n"), text...), 0o644))
		if status, _, errs := as("sh", "-c", lunch); status != 78 {
			t.Errorf("postseal-pipe with a mistake in the configuration: exit %d %s", status, errs)
		}
		a.must(os.WriteFile(own, text, 0o644))
		// But only if it is the user's own.
		a.run("chown", "root", own)
		if _, _, errs := as("postseal", "cert", "-n", "-e", alice, "--server", "https://other.example/"); strings.Contains(errs, "ca.example") {
			t.Error(errs)
		}
		if status, _, errs := as("postseal", "init", "-n", "--via", "procmail"); status != 1 || !strings.Contains(errs, "lead to nothing that is this user's own") {
			t.Errorf("exit %d: %s", status, errs)
		}
		a.run("chown", "alice", own)
		if status, _, errs := as("postseal", "init", "-n", "--via", "postfix"); status != 64 || !strings.Contains(errs, "hint: run it as root") {
			t.Errorf("exit %d: %s", status, errs)
		}
	})
}

// A user who hands in mail through sudo chooses neither the state for the look-up nor the
// configuration, even if sudo keeps the variables that lead there: a record of the user's own
// would cause a reply for any address.
func TestSudoKeepsNoHome(t *testing.T) {
	onHost(t, func(a *admin) {
		a.run("useradd", "--create-home", "mallory")
		a.must(os.WriteFile("/etc/hosts", []byte("127.0.0.1 mail.example.test mail localhost\n"), 0o644)) // sudo asks
		a.follow(a.setUp("--via", "procmail", "--agree-tos", "--server", "https://ca.example/dir"))
		const file = "/etc/sudoers.d/postseal"
		shipped, err := os.ReadFile(file)
		a.must(err)
		const kept = "Defaults env_keep += \"HOME XDG_STATE_HOME XDG_CONFIG_HOME POSTSEAL_STATE POSTSEAL_CONFIG POSTSEAL_SMTP\"\n"
		a.must(os.WriteFile("/etc/sudoers.d/zz-kept", []byte(kept), 0o440))
		a.must(os.WriteFile("/etc/postseal/postseal.toml", []byte("smtp = \"smtp://127.0.0.1:1\"\n"), 0o644)) // no state: the worst case
		a.trap("/home/mallory")

		pipe := a.bin + "/postseal-pipe"
		as := func(env string, args ...string) string {
			line := append([]string{"--reuid=mallory", "--regid=mallory", "--init-groups", "env", "-i", "PATH=/usr/bin:/bin"}, strings.Fields(env)...)
			status, out, errs := a.try("sh", append([]string{"-c", `setpriv "$@" <` + trapMail, "sh"}, append(line, args...)...)...)
			return fmt.Sprintf("exit %d %s%s", status, out, errs)
		}
		if got := as("HOME=/home/mallory", pipe); !strings.Contains(got, "exit 75") || !strings.Contains(got, "victim@"+domain) {
			t.Fatalf("mallory's own record is not a trap: %s", got)
		}
		rules := string(shipped)
		for name, c := range map[string]struct {
			rules string
			envs  []string
		}{
			"as shipped": {rules, []string{"HOME=/home/mallory", "XDG_STATE_HOME=/home/mallory/.local/state", "XDG_STATE_HOME=/home/mallory/to-answers",
				"XDG_CONFIG_HOME=/home/mallory/.config", "POSTSEAL_STATE=/home/mallory/.local/state/postseal", "POSTSEAL_CONFIG=/home/mallory/.config/postseal/postseal.toml"}},
			"without its Defaults": {withoutDefaults(rules), []string{"HOME=/home/mallory", "XDG_STATE_HOME=/home/mallory/.local/state",
				"XDG_CONFIG_HOME=/home/mallory/.config", "HOME=/home/mallory XDG_STATE_HOME=relative"}},
		} {
			a.must(os.WriteFile(file, []byte(c.rules), 0o440))
			a.must(os.Chmod(file, 0o440))
			a.run("visudo", "-c")
			for _, env := range c.envs {
				if got := as(env, "sudo", "-n", "-u", "postseal", pipe); got != "exit 0 " {
					t.Errorf("%s, %s: %s", name, env, got)
				}
			}
		}
		a.wantWarned()
	})
}

const trapMail = "/home/mallory/mail"

// trap makes a state that would cause a reply for somebody else's address, with a
// configuration that leads there, all readable by everybody.
func (a *admin) trap(home string) {
	a.Helper()
	dir := state.Open(home + "/.local/state/postseal")
	_, err := dir.Create()
	a.must(err)
	now := time.Now()
	a.must(dir.Put(&state.Pending{
		Version: 1, ID: "0123456789abcdef0123456789abcdef", Email: "victim@" + domain, Server: "https://ca.example/dir", From: "acme@ca.example",
		Token: "DGyRejmCefe7v4NfDGDKfA", Thumbprint: strings.Repeat("A", 43), Join: "string", Created: now.Add(-time.Minute), Expires: now.Add(time.Hour),
		Policy: state.Policy{Unsigned: "allow", AutoSubmitted: "ignore"},
	}))
	a.must(os.MkdirAll(home+"/.config/postseal", 0o755))
	a.must(os.WriteFile(home+"/.config/postseal/postseal.toml", []byte("state = \""+dir.Path()+"\"\nsmtp = \"smtp://127.0.0.1:1\"\n"), 0o644))
	a.must(os.WriteFile(trapMail, []byte("From: acme@ca.example\nTo: victim@"+domain+"\nMessage-ID: <1@ca.example>\nDate: "+now.Format(time.RFC1123Z)+
		"\nAuto-Submitted: auto-generated; type=acme\nSubject: ACME: LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME\n\nReply, please.\n"), 0o644))
	a.must(os.MkdirAll(home+"/to-answers", 0o755))
	a.must(os.Symlink("/var/lib/postseal/answers", home+"/to-answers/postseal"))
	a.run("sh", "-c", "chown -R mallory: "+home+" && chmod -R a+rwX "+home)
}

// withoutDefaults returns rules of sudoers without those about a command's environment.
func withoutDefaults(rules string) (rest string) {
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "Defaults") {
			rest += line
		}
	}
	return rest
}

// wantWarned expects "postseal check" to warn that mail can bypass a border host.
func (a *admin) wantWarned() {
	a.Helper()
	const text = "/etc/sudoers.d/postseal lets every local user hand in messages"
	if _, out, _ := a.try("postseal", "check", "--server", "https://ca.example/dir"); strings.Contains(out, text) {
		a.Errorf("warned of a file that does no harm alone:\n%s", out)
	}
	a.must(os.WriteFile("/etc/postseal/postseal.toml", []byte("[ca.\"*\"]\ntrusted-authserv-id = \"mx.example.org\"\n"), 0o644))
	if _, out, errs := a.try("postseal", "check", "--server", "https://ca.example/dir"); !strings.Contains(out, text) {
		a.Errorf("not warned:\n%s%s", out, errs)
	}
}
