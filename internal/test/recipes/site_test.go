//go:build doors

package recipes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/machine"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

const (
	domain   = "example.test"
	selector = "mail"
	caHost   = "192.0.2.1" // where the world sends mail for the CA
	caSMTP   = "127.0.0.9:25"
	smtpAddr = "127.0.0.1:25"

	config = "/etc/postseal/postseal.toml"
	pipe   = "/usr/bin/postseal-pipe"
	state  = "/var/lib/postseal"
)

// people are the users of the mail server; each check has one of its own, because
// an address that has a certificate is not due for another.
var people = []string{"alice", "bob", "carol", "dave", "erin"}

// site is the machine as seen from inside, with the world around it.
type site struct {
	t      *testing.T
	ca     *testca.CA
	forge  *atomic.Bool // challenges of the CA get a bad signature
	log    *mta.Output
	milter *milterProcess
	bodies *atomic.Int32 // numbers the ordinary mails
	smtp   string        // where the mail server listens

	// mailbox returns a user's mail. The default reads Maildirs and mbox files.
	mailbox func(user string) [][]byte
}

func newSite(t *testing.T) *site {
	s := &site{t: t, forge: new(atomic.Bool), log: new(mta.Output), milter: new(milterProcess), bodies: new(atomic.Int32), smtp: smtpAddr}
	s.mailbox = s.systemMailbox
	t.Cleanup(s.logIfFailed)
	s.writeFile("/etc/hosts", "127.0.0.1 mail.example.test mail localhost\n", 0o644)
	s.writeFile("/etc/mailname", domain+"\n", 0o644)
	s.writeFile("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n", 0o644)
	for _, program := range programs {
		s.must(copyFile(filepath.Join(machine.Kit, program), "/usr/bin/"+program, 0o755))
	}
	s.listenSyslog()
	s.startCA()
	for _, name := range people {
		s.sh("useradd --create-home --user-group --shell /bin/sh " + name)
	}
	s.install("systemd/sysusers.d/postseal.conf", "/usr/lib/sysusers.d/postseal.conf")
	s.install("systemd/tmpfiles.d/postseal.conf", "/usr/lib/tmpfiles.d/postseal.conf")
	s.sh("systemd-sysusers && systemd-tmpfiles --create /usr/lib/tmpfiles.d/postseal.conf")
	s.makeKey()
	s.writeFile(config, "", 0o644)
	return s
}

// startCA starts the CA, its DNS and its mail host as the world sees it.
func (s *site) startCA() {
	ca, err := testca.Start(context.Background(), testca.Config{
		Dir: s.t.TempDir(), Strict: true, SMTPListen: caSMTP, Relay: smtpAddr,
		EditSigned: func(msg []byte) []byte {
			if s.forge.Load() {
				msg = append(msg, "This line came after the signature.\r\n"...)
			}
			return msg
		},
	})
	s.must(err)
	s.ca = ca
	s.t.Cleanup(func() { ca.Close() })
	s.must(machine.ServeDNS(ca.DNSAddr, func(name string) (machine.Name, bool) { return nameOf(name, ca.MailDomain) }))
	s.must(machine.Forward(net.JoinHostPort(caHost, "25"), caSMTP))
}

// install copies a file of contrib/ to where its recipe says.
func (s *site) install(from, to string) {
	s.t.Helper()
	mode := os.FileMode(0o644)
	if info, err := os.Stat(contrib(from)); err == nil {
		mode = info.Mode().Perm()
	}
	s.must(os.MkdirAll(filepath.Dir(to), 0o755))
	s.must(copyFile(contrib(from), to, mode))
}

func contrib(name string) string { return filepath.Join(machine.Kit, "contrib", name) }

// add puts the lines of a file of contrib/ at the end of a configuration file.
func (s *site) add(from, to string) {
	s.t.Helper()
	s.appendFile(to, s.readFile(contrib(from)))
}

func (s *site) appendFile(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	_, err = f.WriteString("\n" + text)
	s.must(err)
	s.must(f.Close())
}

func (s *site) readFile(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(name)
	s.must(err)
	return string(data)
}

// edit replaces text in a file; a text that is not there is a mistake of the test.
func (s *site) edit(name, old, new string) {
	s.t.Helper()
	text := s.readFile(name)
	if !strings.Contains(text, old) {
		s.t.Fatalf("%s has no %q:\n%s", name, old, text)
	}
	s.must(os.WriteFile(name, []byte(strings.ReplaceAll(text, old, new)), 0o644))
}

func (s *site) writeFile(name, text string, mode os.FileMode) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(name), 0o755))
	s.must(os.WriteFile(name, []byte(text), mode))
	s.must(os.Chmod(name, mode))
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// sh runs a line of shell, which must work, and returns what it printed. A daemon
// that it starts keeps no pipe of ours.
func (s *site) sh(line string) string {
	s.t.Helper()
	out, err := runShell(line)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func runShell(line string) (string, error) {
	f, err := os.CreateTemp("", "sh")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := exec.Command("timeout", "60", "/bin/bash", "-c", line)
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, "/"
	err = cmd.Run()
	out, _ := os.ReadFile(f.Name())
	return string(out), err
}

// start runs a program until the end of the machine.
func (s *site) start(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = s.log, s.log, "/"
	s.must(cmd.Start())
	return cmd
}

// waitPort waits until somebody listens.
func (s *site) waitPort(addr string) {
	s.t.Helper()
	s.waitFor("a listener at "+addr, func() bool { return listening("tcp", addr) })
}

func listening(network, addr string) bool {
	conn, err := net.DialTimeout(network, addr, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func (s *site) waitFor(what string, done func() bool) {
	s.t.Helper()
	mta.WaitFor(s.t, what, done)
}

// makeKey makes the domain's DKIM key, for whoever signs.
func (s *site) makeKey() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	s.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	s.must(err)
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	s.writeFile(keyFile, string(private), 0o600)
	s.ca.SetTXT(selector+"._domainkey."+domain, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(public))
}

const keyFile = "/etc/dkim/example.test.pem"

// keyFor lets a user of the system read the DKIM key.
func (s *site) keyFor(user string) { s.sh("chown " + user + " " + keyFile) }

// signOurselves makes postseal sign its replies.
func (s *site) signOurselves() {
	s.sh("chgrp postseal " + keyFile + " && chmod 640 " + keyFile)
	s.appendFile(config, fmt.Sprintf("[[dkim]]\ndomain = %q\nselector = %q\nkey = %q\n", domain, selector, keyFile))
}

// cert runs "postseal cert" as an admin would, or as a user, and returns its exit
// status and what it said.
func (s *site) cert(user string, args ...string) (status int, output string) {
	s.t.Helper()
	args = append([]string{
		"cert", "--server", s.ca.DirectoryURL, "--ca-bundle", "/tmp/root.pem",
		"--non-interactive", "--agree-tos", "--key-type", "p256",
	}, args...)
	s.writeFile("/tmp/root.pem", string(s.ca.RootPEM), 0o644)
	cmd := exec.Command("/usr/bin/postseal", args...)
	if user != "" {
		cmd = exec.Command("runuser", append([]string{"-u", user, "--", "env", "HOME=/home/" + user, "/usr/bin/postseal"}, args...)...)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// mustCert orders a certificate, and has openssl read the container and verify the
// chain. as is the user who orders; "" is root.
func (s *site) mustCert(as, name string) {
	s.t.Helper()
	addr := name + "@" + domain
	if status, out := s.cert(as, "-e", addr, "--timeout", "1m"); status != 0 {
		s.t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	dir := filepath.Join(s.stateOf(as), "certs", addr)
	s.sh("cd " + dir + " && openssl pkcs12 -in cert.p12 -passin file:passphrase -nodes | grep -q 'BEGIN PRIVATE KEY'")
	s.sh("cd " + dir + " && openssl verify -purpose smimesign -CAfile /tmp/root.pem -untrusted chain.pem cert.pem")
	if got := strings.TrimSpace(s.sh("openssl x509 -noout -email -in " + dir + "/cert.pem")); got != addr {
		s.t.Errorf("the certificate is for %q, want %q", got, addr)
	}
}

func (s *site) stateOf(user string) string {
	if user == "" {
		return state
	}
	return "/home/" + user + "/.local/state/postseal"
}

// replies counts what the CA's mail host received, by verdict.
func (s *site) replies() map[testca.Verdict]int {
	n := map[testca.Verdict]int{}
	for _, r := range s.ca.Replies() {
		n[r.Verdict]++
	}
	return n
}

// systemMailbox reads the places where users of a Debian system have their mail.
func (s *site) systemMailbox(user string) [][]byte {
	s.t.Helper()
	mail := mta.ReadMaildir(s.t, "/home/"+user+"/Maildir")
	return append(mail, mta.ReadMbox(s.t, "/var/mail/"+user)...)
}

// listenSyslog takes what daemons log.
func (s *site) listenSyslog() {
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	s.must(err)
	s.must(os.Chmod("/dev/log", 0o666))
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasPrefix(buf[:n], []byte("<86>")) {
				continue // useradd, sudo and the like
			}
			fmt.Fprintf(s.log, "%s\n", bytes.TrimRight(buf[:n], "\n\x00"))
		}
	}()
}

func (s *site) logIfFailed() {
	if !s.t.Failed() {
		return
	}
	for _, r := range s.ca.Replies() {
		s.t.Logf("reply %s: %s\n%s", r.Verdict, r.Reason, r.Data)
	}
	files, _ := filepath.Glob("/var/log/exim4/*")
	for _, name := range files {
		s.t.Logf("%s:\n%s", name, s.readFile(name))
	}
	s.t.Logf("log:\n%s", s.log)
}

// milterProcess is postseal-milter while it runs.
type milterProcess struct{ cmd *exec.Cmd }

// startMilter starts postseal-milter as the user postseal, with a socket of its own.
func (s *site) startMilter(network, addr string, args ...string) {
	s.t.Helper()
	cmd := exec.Command("setpriv", append([]string{"--reuid=postseal", "--regid=postseal", "--init-groups", "/usr/bin/postseal-milter"}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = s.log, s.log, "/"
	s.must(cmd.Start())
	s.milter.cmd = cmd
	s.waitFor("postseal-milter", func() bool { return listening(network, addr) })
}

func (s *site) stopMilter() {
	s.t.Helper()
	s.must(s.milter.cmd.Process.Signal(syscall.SIGTERM))
	s.must(s.milter.cmd.Wait())
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
