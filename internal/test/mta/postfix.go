package mta

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Postfix says what a Postfix instance is to do. The zero value takes mail for
// example.test and has no mailbox.
//
// Mail for Domain goes to the Maildirs of Users, unless Transport or
// MailboxCommand say otherwise. Mail for all other domains goes to Relay.
type Postfix struct {
	Domain string   // default example.test
	Users  []string // who has a Maildir: local parts, or addresses in Domain

	// Transport takes the mail of Users instead of the Maildirs, as in
	// "postseal:", the name of a service in MasterCF.
	Transport string

	// MailboxCommand is Postfix's mailbox_command. The recipients are then
	// users of the system (see NewUser); the command runs as them.
	MailboxCommand string

	Milters string // smtpd_milters; sockets are relative to the queue directory
	Relay   string // HOST:PORT that gets the mail for other domains; none: it bounces

	// Namespace is the network namespace, as ip-netns(8) names it, that Postfix runs
	// in; "" for that of the test. It then listens on port 25 of all its addresses.
	Namespace string

	MainCF   []string // more lines for main.cf, "name = value"; they win
	MasterCF []string // more lines for master.cf; a line that starts with a space continues
}

const (
	defaultDomain = "example.test"
	startAttempts = 5
	mailUser      = "nobody" // owns the Maildirs
)

// StartPostfix starts an instance that is listening when StartPostfix returns
// and that ends with the test. If the test fails, its log is shown.
func StartPostfix(t testing.TB, config Postfix) *Instance {
	t.Helper()
	needRoot(t)
	Need(t, "postfix", "postqueue")
	if config.Domain == "" {
		config.Domain = defaultDomain
	}
	in, err := newInstance(t, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.cleanup)
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	return in
}

// abortScript ends an instance whose test has died. The daemons may write for a
// moment after the abort, so removing the directory may take another try, and
// the last one is preceded by the kill of what never ended.
const abortScript = `
PATH=$PATH:/usr/sbin
pid=$(sed 1q "$1/queue/pid/master.pid" | tr -d ' ')
postfix -c "$1/conf" abort
for left in 3 2 1; do
	rm -rf "$1" && [ -z "$pid" ] && exit 0
	kill -0 -- "-$pid" || { rm -rf "$1" && exit 0; }
	[ "$left" = 1 ] && kill -9 -- "-$pid"
	sleep 1
done
rm -rf "$1"`

// newInstance makes the directory of an instance, all but master.cf in it.
func newInstance(t testing.TB, config Postfix) (*Instance, error) {
	dir, err := tempDir("postseal-mta-")
	if err != nil {
		return nil, err
	}
	release, err := startGuard(abortScript, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	in := &Instance{
		Dir:      dir,
		ConfDir:  filepath.Join(dir, "conf"),
		QueueDir: filepath.Join(dir, "queue"),
		t:        t,
		config:   config,
		release:  release,
	}
	return in, in.populate()
}

func (in *Instance) populate() error {
	return errors.Join(
		os.Mkdir(in.ConfDir, 0o755),
		os.Mkdir(in.QueueDir, 0o755),
		mkdirFor("postfix", filepath.Join(in.Dir, "data")),
		mkdirFor(mailUser, in.mailDir()),
		copyTables(in.ConfDir),
		os.WriteFile(in.conf("users"), []byte(in.userTable()), 0o644),
		os.WriteFile(in.conf("main.cf"), []byte(in.mainCF()), 0o644),
	)
}

// start finds a free port and starts Postfix there. Between finding and using
// it another process may take the port: then another one is tried.
func (in *Instance) start() error {
	var failed error
	for range startAttempts {
		addr, err := in.listenAddr()
		if err != nil {
			return err
		}
		if err := os.WriteFile(in.conf("master.cf"), []byte(in.masterCF(addr)), 0o644); err != nil {
			return err
		}
		in.SMTPAddr = addr
		if err := in.settle(); err != nil {
			return err
		}
		out, err := in.postfix("start")
		if err == nil {
			in.running = true
			return nil
		}
		failed = fmt.Errorf("postfix start: %v\n%s%s", err, out, in.Log())
		if !strings.Contains(failed.Error(), "Address already in use") {
			break
		}
	}
	return failed
}

// settle makes the configuration look old: Postfix waits up to two seconds
// before it reads a file that has only just been written.
func (in *Instance) settle() error {
	past := time.Now().Add(-time.Minute)
	return errors.Join(
		os.Chtimes(in.conf("main.cf"), past, past),
		os.Chtimes(in.conf("master.cf"), past, past),
		os.Chtimes(in.conf("users"), past, past),
	)
}

// listenAddr returns where an instance is to listen.
func (in *Instance) listenAddr() (string, error) {
	if in.config.Namespace != "" {
		return "0.0.0.0:25", nil
	}
	return freeAddr()
}

// freeAddr returns an address on loopback where nobody listens at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// FreePort returns a port on 127.0.0.1 where nobody listens at the moment, for
// a service in MasterCF.
func FreePort(t testing.TB) string {
	t.Helper()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(addr, ":")
	return port
}
