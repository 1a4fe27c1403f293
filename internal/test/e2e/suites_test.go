package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/milter"
)

// suite is how a suite of mail programs configures the milters of Postfix, and how it
// puts the lines of an admin into that.
type suite struct {
	before []string                                // in its main.cf
	apply  func(t *testing.T, dir, contrib string) // to the main.cf in a directory
}

var suites = map[string]suite{
	"docker-mailserver": {
		[]string{"milter_default_action = accept", "dkim_milter = inet:localhost:8891", "dmarc_milter = inet:localhost:8893",
			"smtpd_milters = $dkim_milter $dmarc_milter"},
		func(t *testing.T, dir, contrib string) {
			for range 2 { // a container that is started again
				inShell(t, dir, contrib+"/user-patches.sh")
			}
		},
	},
	"mailcow": {
		[]string{"milter_default_action = accept", "smtpd_milters = inet:rspamd:9900"},
		func(t *testing.T, dir, contrib string) {
			inShell(t, dir, "cat "+contrib+"/extra.cf >>"+dir+"/main.cf")
		},
	},
	"Mailu": {
		[]string{"milter_default_action = tempfail", "smtpd_milters = inet:antispam:11332"},
		func(t *testing.T, dir, contrib string) {
			text, err := os.ReadFile(contrib + "/postfix.cf")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
				if !strings.HasPrefix(line, "#") {
					inShell(t, dir, `postconf -e "`+line+`"`)
				}
			}
		},
	},
	"Mail-in-a-Box": {
		[]string{"milter_default_action = accept", "smtpd_milters = inet:127.0.0.1:8891 inet:127.0.0.1:8893"},
		pageCommand,
	},
	"iRedMail": {nil, pageCommand},
}

// pageCommand applies the command of the page, which is for hosts.
func pageCommand(t *testing.T, dir, contrib string) {
	t.Helper()
	page, err := os.ReadFile(contrib + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^postconf -e .*$`).FindString(string(page))
	inShell(t, dir, command)
}

// inShell runs a command for the main.cf in a directory.
func inShell(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-ec", command)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+dir, "PATH="+os.Getenv("PATH")+":/usr/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

var (
	ourMilter   = regexp.MustCompile(`(inet:milter:8891|unix:postseal/milter\.sock)`)
	theirMilter = regexp.MustCompile(`(inet:[a-z0-9.]+:\d+|\$\w+_milter)`)
)

// milters is what smtpd_milters is at the end, with our milter and theirs where they are
// in this test.
func (s suite) milters(t *testing.T, ours, theirs string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte(strings.Join(append(s.before, "biff = no\n"), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	contrib, err := filepath.Abs("../../../contrib/suites")
	if err != nil {
		t.Fatal(err)
	}
	s.apply(t, dir, contrib)
	// It has warnings about the earlier line, too.
	out, err := exec.Command("/usr/sbin/postconf", "-c", dir, "-h", "smtpd_milters").Output()
	if err != nil {
		t.Fatal(err)
	}
	value := strings.TrimSpace(string(out))
	before := strings.Join(s.before, "\n")
	for _, one := range theirMilter.FindAllString(before[strings.LastIndex(before, "=")+1:], -1) {
		if !strings.Contains(value, one) {
			t.Errorf("%s has gone: %s", one, value)
		}
	}
	if n := len(ourMilter.FindAllString(value, -1)); n != 1 {
		t.Errorf("our milter is there %d times: %s", n, value)
	}
	parts := ourMilter.Split(value, 2)
	return theirMilter.ReplaceAllString(parts[0], theirs) + ours + parts[1]
}

// The lines for each suite keep its milters, and a challenge is answered with the result.
func TestSuites(t *testing.T) {
	for name, s := range suites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t, testca.Config{Strict: true})
			port := mta.FreePort(t)
			post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, Relay: w.ca.SMTPAddr,
				Milters: s.milters(t, "inet:127.0.0.1:"+port, "inet:"+acceptsAll(t)), MainCF: s.before[:min(1, len(s.before))]})
			w.ca.SetRelay(post.SMTPAddr)
			w.configure(post.SMTPAddr)
			cmd := as(w.user, filepath.Join(w.bin, "postseal-milter"), "--config", w.config, "--listen", "inet:"+port+"@127.0.0.1")
			w.runMilterAt(cmd, "tcp", "127.0.0.1:"+port)
			w.mustCert(alice)
			if err := post.Send("bob@example.test", alice, []byte(lunch)); err != nil {
				t.Errorf("ordinary mail: %v", err)
			}
		})
	}
}

// acceptsAll is a milter of a suite. It returns its address.
func acceptsAll(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		_ = milter.New(milter.Config{Pending: func() (bool, error) { return false, nil }}).Serve(ctx, l)
	}()
	return l.Addr().String()
}
