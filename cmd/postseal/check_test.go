package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

// checkCase is one thing that is wrong, or that is noticed, on a server on which all
// else is right.
type checkCase struct {
	name string
	args func(w *world) []string
	want []string // lines, without their hints; "*" stands for anything
	code int
}

// run looks that each line is said, with a hint where something is to be done, and
// that nothing else fails.
func (c checkCase) run(t *testing.T, w *world) {
	var args []string
	if c.args != nil {
		args = c.args(w)
	}
	code, out := w.check(t, args...)
	wantCheck(t, code, out, c.code, c.want...)
}

func wantCheck(t *testing.T, code int, out string, wantCode int, want ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit %d, want %d", code, wantCode)
	}
	failures := 0
	for _, line := range want {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, ".*")
		if strings.HasPrefix(line, "failure") {
			failures++
			pattern += ".*\n         hint: ."
		}
		if !regexp.MustCompile("(?m)^" + pattern).MatchString(out) {
			t.Errorf("it does not say %q", line)
		}
	}
	if got := strings.Count(out, "\nfailure ") + strings.Count(out[:min(len(out), 8)], "failure "); got != failures {
		t.Errorf("%d failures, want %d", got, failures)
	}
	if t.Failed() {
		t.Logf("it says:\n%s", out)
	}
}

func args(list ...string) func(*world) []string { return func(*world) []string { return list } }

// inState makes a state directory in which something is changed.
func inState(change func(w *world, dir string)) func(*world) []string {
	return func(w *world) []string {
		dir := w.newState()
		change(w, dir)
		return []string{"--state", dir}
	}
}

// fillState puts a key, a pending record and an answer into a state directory.
func (w *world) fillState(dir string) {
	w.t.Helper()
	cert := filepath.Join(dir, "certs", checkAddress)
	w.must(os.Mkdir(cert, 0o700))
	w.must(os.WriteFile(filepath.Join(cert, "privkey.pem"), nil, 0o600))
	p := &state.Pending{ID: "id", Email: checkAddress, Server: "https://x.test/", Thumbprint: "t", Token: "t", From: "a@x.test", Expires: time.Now().Add(time.Hour)}
	w.must(state.Open(dir).Put(p))
	_, err := state.Open(dir).Claim(p, "<a@x.test>", "<b@x.test>", time.Now())
	w.must(err)
	w.sh("chown " + w.user.Name + " " + dir + "/answers/*.json")
}

func (w *world) sh(line string) {
	w.t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// swapped plays the mail half beside the admin's command: in answers/ whatever chown or
// chmod is about is a link when they act.
func swapped(w *world) string {
	w.t.Helper()
	dir := w.t.TempDir()
	secret := filepath.Join(dir, "secret")
	w.must(os.WriteFile(secret, nil, 0o600))
	w.t.Cleanup(func() {
		info, err := os.Stat(secret)
		w.must(err)
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 || info.Mode().Perm() != 0o600 {
			w.t.Errorf("the command followed a link of the mail half: the file is %d's, mode %v", uid, info.Mode())
		}
	})
	for _, name := range []string{"chown", "chmod"} {
		w.must(os.WriteFile(filepath.Join(dir, name), []byte(`#!/bin/sh
for file; do
	case $file in
	answers) ln -s `+secret+` answers/link-`+name+` ;;
	answers/*) ln -sf `+secret+` "$file" ;;
	esac
done
exec /bin/`+name+` "$@"
`), 0o755))
	}
	return "PATH=" + dir + ":$PATH; "
}

func chmod(name string, mode os.FileMode) func(*world) []string {
	return inState(func(w *world, dir string) { w.must(os.Chmod(filepath.Join(dir, name), mode)) })
}

// inFile makes a configuration file.
func inFile(mode os.FileMode, format string, more ...func(w *world) any) func(*world) []string {
	return func(w *world) []string {
		var values []any
		for _, m := range more {
			values = append(values, m(w))
		}
		text := fmt.Sprintf("smtp = %q\n", "smtp://"+w.post.SMTPAddr) + fmt.Sprintf(format, values...)
		return []string{"--config", w.write("postseal.toml", mode, text)}
	}
}

func dkimTable(name string, mode os.FileMode, key string) func(*world) []string {
	return inFile(0o644, "[[dkim]]\ndomain = \"example.test\"\nselector = \"mail\"\nkey = %q\n", func(w *world) any {
		return w.write(name, mode, key)
	})
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	t.Run("good", func(t *testing.T) { testGood(t, w) })
	t.Run("json", func(t *testing.T) { testCheckJSON(t, w) })
	for _, c := range checkCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, w) })
	}
	t.Run("another user", func(t *testing.T) { testOtherUser(t, w) })
	t.Run("message", func(t *testing.T) { testMessages(t, w) })
	t.Run("postfix", func(t *testing.T) { testBadPostfix(t, w) })
}

// All is well, down to a message that opendkim signs and Postfix delivers.
func testGood(t *testing.T, w *world) {
	code, out := w.check(t, "-e", checkAddress, "--mail-to", checkAddress, "--mailbox", w.mailDir(w.post))
	wantCheck(t, code, out, 0,
		"ok       configuration: */postseal.toml is read",
		"ok       configuration: no [ca] table applies to https://*: defaults",
		"ok       state: * is root:*, with the right owners, groups and modes",
		"ok       state: 0 orders in flight, 0 challenges waited for",
		"ok       state: * MiB free",
		"ok       postfix: unix:postseal/milter.sock is in smtpd_milters, with default_action accept",
		"ok       postfix: unix:opendkim/opendkim.sock in smtpd_milters may sign replies",
		"ok       milter: */milter.sock speaks version 6 and accepts ordinary mail at MAIL",
		"ok       smtp: smtp://127.0.0.1:*: connected, no TLS, SMTPUTF8",
		"ok       smtp: it takes mail from alice@example.test to postmaster@[127.0.0.1]",
		"ok       smtp: it takes mail to alice@example.test",
		"skipped  delivery: nothing here runs postseal-pipe; found: ",
		"ok       reply: a message in the form of a reply was sent from alice@example.test to alice@example.test",
		"ok       reply: its DKIM-Signature is by example.test and covers what it must",
		"ok       reply: DKIM: the TXT record mail._domainkey.example.test is there",
		"ok       reply: its body is one line of 43 characters between its markers, and nothing else",
		"ok       ca: https://* answers; its certificate is trusted",
		"ok       ca: its terms of service: https://*/terms; no profiles; renewal windows (ARI)",
		"ok       ca: there is no account yet: the first order makes it",
		"skipped  ca: whether it offers identifiers of type email shows only in an order",
		"ok       dns: example.test has MX mail.example.test",
		"ok       dns: example.test has no CAA record with issuemail: every CA may issue",
		"ok       clock: within 5m0s of the CA's")
	if strings.Contains(out, "warning") || strings.Contains(out, "hint") {
		t.Errorf("something is not well:\n%s", out)
	}
}

func testCheckJSON(t *testing.T, w *world) {
	code, out := w.check(t, "--json", "--milter", "unix:/nowhere/milter.sock")
	out, last, _ := strings.Cut(out, "\n}\n")
	var doc struct {
		Checks   []struct{ Check, Status, Text, Hint string }
		Skipped  int
		Warnings int
		Failures int
	}
	if err := json.Unmarshal([]byte(out+"\n}\n"), &doc); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if code != 1 || doc.Failures != 2 || doc.Warnings != 0 || doc.Skipped != 5 || len(doc.Checks) < 10 || !strings.HasPrefix(last, "postseal: error: 2 failures\npostseal: hint: ") {
		t.Errorf("exit %d, %+v, %q", code, doc, last)
	}
	for _, f := range doc.Checks {
		if f.Check == "" || f.Text == "" || f.Status == "failure" && f.Hint == "" {
			t.Errorf("incomplete: %+v", f)
		}
	}
}

var checkCases = []checkCase{
	// Configuration.
	{"no file", args("--config", "nowhere.toml"), []string{`postseal: error: configuration file "nowhere.toml"`}, 78},
	{"password for all in the file", inFile(0o644, "smtp-password = \"x\"\n"), []string{"postseal: error: * holds a password"}, 78},
	{"password file for all", func(w *world) []string { return []string{"--smtp-password-file", w.write("password", 0o644, "x\n")} },
		[]string{"failure  configuration: everybody may use the SMTP password: */password is ps*:ps* 0644"}, 1},
	{"password file missing", args("--smtp-password-file", "/nowhere"),
		[]string{`failure  configuration: SMTP password "/nowhere": no such file or directory`}, 1},
	{"file that others may change", inFile(0o666, ""),
		[]string{"failure  configuration: others than its owner may change the configuration: "}, 1},
	{"file of root alone", func(w *world) []string {
		path := w.write("postseal.toml", 0o600, fmt.Sprintf("smtp = %q\n", "smtp://"+w.post.SMTPAddr))
		w.must(os.Chown(path, 0, 0))
		return []string{"--config", path}
	}, []string{"failure  configuration: the mail half (user ps*) cannot read the configuration *: * is root:root 0600"}, 1},
	{"passphrase for the mail half", inFile(0o640, "passphrase = \"x\"\n"),
		[]string{"warning  configuration: */postseal.toml holds the passphrase of containers, and the mail half (user ps*) reads it"}, 0},
	{"table of a CA", inFile(0o644, "[ca.\"*\"]\nsettle = \"1s\"\n"), []string{`ok       configuration: [ca."*"] applies to https://`}, 0},
	{"DKIM key", dkimTable("mail.pem", 0o640, keyPEM(checkKey())),
		[]string{"ok       configuration: DKIM key of example.test: */mail.pem, selector mail, is usable",
			"ok       postfix: postseal signs replies itself",
			"ok       dns: DKIM: the TXT record mail._domainkey.example.test is there"}, 0},
	{"DKIM key of another domain", func(w *world) []string {
		return append(dkimTable("mail.pem", 0o640, keyPEM(checkKey()))(w), "-e", "alice@nokey.test")
	}, []string{"ok       postfix: unix:opendkim/opendkim.sock in smtpd_milters may sign", "failure  dns: nokey.test has neither"}, 1},
	{"DKIM key for all", dkimTable("mail.pem", 0o644, keyPEM(checkKey())),
		[]string{"failure  configuration: everybody may use the DKIM key of example.test"}, 1},
	{"DKIM key missing", inFile(0o644, "[[dkim]]\ndomain = \"example.test\"\nselector = \"mail\"\nkey = \"/nowhere\"\n"),
		[]string{`failure  configuration: DKIM key of example.test "/nowhere": no such file`}, 1},
	{"DKIM key that is not a key", dkimTable("mail.pem", 0o640, "nothing\n"),
		[]string{"failure  configuration: DKIM key of example.test: * holds no PEM block"}, 1},
	{"another DKIM key in DNS", func(w *world) []string {
		w.dns.set("other._domainkey.example.test", "TXT", `"v=DKIM1; k=ed25519; p=`+strings.Repeat("A", 43)+`="`)
		w.dns.set("torn._domainkey.example.test", "TXT", `"v=DKIM1; k=rsa; p=AAAA"`)
		for name, tags := range map[string]string{
			"escaped": `v=DKIM1\\; k=rsa`, "small": "v=dkim1; k=rsa", "hash": "v=DKIM1; h=rsa-sha256", "reports": "v=DKIM1; s=tlsrpt",
		} {
			w.dns.set(name+"._domainkey.example.test", "TXT", strings.Replace(keyRecord(checkKey()), "v=DKIM1; k=rsa", tags, 1))
		}
		w.dns.set("gone._domainkey.example.test", "TXT", `"v=DKIM1; k=rsa; p="`)
		w.dns.set("try._domainkey.example.test", "TXT", strings.Replace(keyRecord(checkKey()), "k=rsa", "t=y", 1))
		path := w.write("mail.pem", 0o640, keyPEM(checkKey()))
		text := fmt.Sprintf("smtp = %q\n", "smtp://"+w.post.SMTPAddr)
		for _, selector := range []string{"other", "gone", "try", "none", "torn", "escaped", "small", "hash", "reports"} {
			text += fmt.Sprintf("[[dkim]]\ndomain = \"example.test\"\nselector = %q\nkey = %q\n", selector, path)
		}
		return []string{"--config", w.write("postseal.toml", 0o644, text)}
	}, []string{
		"failure  dns: DKIM: the TXT record other._domainkey.example.test is of another key",
		"failure  dns: DKIM: the key gone._domainkey.example.test is revoked",
		"warning  dns: DKIM: the key try._domainkey.example.test is in testing",
		"failure  dns: DKIM: there is no TXT record none._domainkey.example.test",
		"failure  dns: DKIM: the TXT record torn._domainkey.example.test is not that of a key: its p= is not an RSA key",
		`failure  dns: DKIM: the TXT record escaped._domainkey.example.test is not that of a key: its v= is "DKIM1\\", not DKIM1`,
		`failure  dns: DKIM: the TXT record small._domainkey.example.test is not that of a key: its v= is "dkim1", not DKIM1`,
		`failure  dns: DKIM: the TXT record hash._domainkey.example.test is not that of a key: its h= is "rsa-sha256"`,
		`failure  dns: DKIM: the TXT record reports._domainkey.example.test is not that of a key: its s= is "tlsrpt"`}, 1},

	// State directory.
	{"no state", args("--state", "/nowhere/state"), []string{"warning  state: /nowhere/state does not exist yet"}, 0},
	{"state is a file", args("--state", "/etc/passwd"), []string{"failure  state: /etc/passwd is not a directory"}, 1},
	{"accounts too open", chmod("accounts", 0o755), []string{"failure  state: */accounts is too open: mode 0755, not 0700"}, 1},
	{"pending for all", chmod("pending", os.ModeSetgid|0o755), []string{"failure  state: */pending is too open: mode 2755, not 2750"}, 1},
	{"answers not sticky", chmod("answers", os.ModeSetgid|0o770), []string{"warning  state: */answers has mode 2770, not 3770"}, 0},
	{"answers not writable", chmod("answers", os.ModeSetgid|os.ModeSticky|0o750),
		[]string{"failure  state: the mail half (user ps*) cannot use */answers: */answers is root:ps* 3750"}, 1},
	{"state for all", chmod(".", 0o755), []string{"failure  state: the state directory is too open: * 0755"}, 1},
	{"pending of another group", inState(func(w *world, dir string) {
		w.must(os.Chown(filepath.Join(dir, "pending"), -1, 0))
		w.must(os.Chmod(filepath.Join(dir, "pending"), os.ModeSetgid|0o750))
	}), []string{"failure  state: the mail half (user ps*) cannot use */pending: */pending is root:root 2750"}, 1},
	{"state of another group", inState(func(w *world, dir string) { w.must(os.Chown(dir, -1, 0)) }), []string{
		"failure  state: the mail half (user ps*) cannot use */pending: * is root:root 0750"}, 1},
	{"orders of another user", inState(func(w *world, dir string) { w.must(os.Chown(filepath.Join(dir, "orders"), w.user.UID, -1)) }),
		[]string{"failure  state: */orders belongs to ps*, and the state directory to root"}, 1},
	{"no pending", inState(func(w *world, dir string) { w.must(os.Remove(filepath.Join(dir, "pending"))) }),
		[]string{"warning  state: */pending does not exist"}, 0},
	{"key for all", inState(func(w *world, dir string) {
		path := filepath.Join(dir, "certs", checkAddress)
		w.must(os.Mkdir(path, 0o700))
		w.must(os.WriteFile(filepath.Join(path, "privkey.pem"), nil, 0o644))
	}), []string{"failure  state: others may use a secret: */privkey.pem is root:root 0644"}, 1},
	{"an address that a shell would run", inState(func(w *world, dir string) {
		path := filepath.Join(dir, "certs", "a`id`'b@x.test")
		w.must(os.Mkdir(path, 0o700))
		w.must(os.WriteFile(filepath.Join(path, "privkey.pem"), nil, 0o600))
		w.must(os.Chmod(filepath.Join(path, "privkey.pem"), 0o644))
	}), []string{"failure  state: others may use a secret: ", "         hint: run: chmod 600 '/*/a`id`'\\''b@x.test/privkey.pem'"}, 1},
	{"leftovers", inState(func(w *world, dir string) {
		old := &state.Pending{ID: "old", Email: checkAddress, Server: "https://x.test/", Thumbprint: "t", Expires: time.Now().Add(-time.Hour)}
		w.must(state.Open(dir).Put(old))
		now := &state.Pending{ID: "new", Email: "bob@example.test", Server: "https://x.test/", Thumbprint: "t", Expires: time.Now().Add(time.Hour)}
		w.must(state.Open(dir).Put(now))
		w.must(os.WriteFile(filepath.Join(dir, "pending", "torn.json"), []byte("{"), 0o640))
		w.must(os.WriteFile(filepath.Join(dir, "orders", checkAddress+".json"), []byte("{}"), 0o600))
	}), []string{
		"warning  state: damaged file: */pending/torn.json (",
		"warning  state: 1 expired records in pending",
		"ok       state: 1 orders in flight, 1 challenges waited for"}, 0},
	{"newer postseal", inState(func(w *world, dir string) {
		w.must(os.WriteFile(filepath.Join(dir, "pending", "a@x.test.json"), []byte(`{"version": 2}`), 0o640))
		w.must(os.WriteFile(filepath.Join(dir, "answers", "id.json"), []byte(`{"version": 2}`), 0o660))
	}), []string{"failure  state: written by a newer postseal, and of no use to this one: */answers/id.json, */pending/a@x.test.json"}, 1},
	{"a careless chown -R", inState(func(w *world, dir string) {
		w.fillState(dir)
		w.sh("chown -R root:root " + dir + " && chgrp " + w.user.Name + " " + dir + " " + dir + "/pending " + dir + "/answers")
	}), []string{
		"failure  state: the mail half (user ps*) cannot read 1 of 1 files in */pending, for example: *.json is root:root 0640",
		"failure  state: the mail half (user ps*) cannot read * of * files in */answers, for example: * is root:root 06"}, 1},
	{"all is the mail half's", inState(func(w *world, dir string) {
		w.fillState(dir)
		w.sh("chown -R " + w.user.Name + ": " + dir)
	}), []string{"failure  state: 1 of 1 files in */certs belong to somebody else than the issuing half, for example: */privkey.pem is ps*:ps* 0600"}, 1},
	{"a key of somebody else", inState(func(w *world, dir string) {
		w.fillState(dir)
		w.sh("chown nobody " + dir + "/certs/" + checkAddress + "/privkey.pem")
	}), []string{"failure  state: 1 of 1 files in */certs belong to somebody else than the issuing half"}, 1},
	{"a copy without the group's rights", inState(func(w *world, dir string) {
		w.fillState(dir)
		w.sh("chmod 600 " + dir + "/pending/*.json")
	}), []string{"failure  state: the mail half (user ps*) cannot read 1 of 1 files in */pending"}, 1},
	{"repaired", inState(func(w *world, dir string) {
		w.fillState(dir)
		for _, harm := range []string{"chown -R root:root %s && chmod 600 %[1]s/pending/*.json", "chown -R " + w.user.Name + ": %s"} {
			w.sh(fmt.Sprintf(harm, dir))
			w.sh("chgrp " + w.user.Name + " " + dir + " " + dir + "/pending " + dir + "/answers")
			_, out := w.check(w.t, "--state", dir)
			command := regexp.MustCompile("hint: run: (chown -R .*)").FindStringSubmatch(out)
			if command == nil {
				w.t.Fatalf("no command:\n%s", out)
			}
			w.sh(swapped(w) + command[1])
		}
	}), []string{"ok       state: * is root:ps* 0750, with the right owners, groups and modes"}, 0},
	{"no such user", args("--mail-user", "no-such-user"), []string{`failure  state: there is no user "no-such-user"`}, 1},

	// Milter.
	{"no socket", func(w *world) []string {
		return []string{"--milter", "unix:" + filepath.Join(w.post.QueueDir, "none.sock")}
	},
		[]string{"failure  milter: there is no socket */none.sock", "failure  postfix: smtpd_milters does not have "}, 1},
	{"nobody listens", func(w *world) []string { return []string{"--milter", "inet:" + mta.FreePort(w.t) + "@127.0.0.1"} },
		[]string{"failure  milter: nobody listens at 127.0.0.1:", "failure  postfix: smtpd_milters does not have "}, 1},
	{"not a milter", func(w *world) []string { return []string{"--milter", "inet:" + w.post.SMTPAddr} },
		[]string{"failure  milter: * does not speak the milter protocol", "failure  postfix: smtpd_milters does not have "}, 1},
	{"another milter", func(w *world) []string {
		return []string{"--milter", "unix:" + filepath.Join(w.post.QueueDir, "opendkim/opendkim.sock")}
	}, []string{"warning  milter: the milter at */opendkim.sock wants to change messages"}, 0},
	{"listen in the file", inFile(0o644, "listen = %q\n", func(w *world) any { return "unix:" + w.post.QueueDir + "/postseal/milter.sock" }),
		[]string{"ok       milter: */milter.sock speaks version 6", "ok       postfix: unix:postseal/milter.sock is in smtpd_milters"}, 0},
	{"no address of a milter", args("--milter", "nonsense"), []string{`failure  milter: --milter: "nonsense" is neither`}, 1},
	{"no Postfix there", args("--postfix-config", "/nowhere"), []string{"failure  postfix: postconf: *fatal: open /nowhere/main.cf"}, 1},

	// SMTP.
	{"SMTP down", func(w *world) []string { return []string{"--smtp", "smtp://127.0.0.1:" + mta.FreePort(w.t)} },
		[]string{"failure  smtp: smtp://127.0.0.1:*: connection refused"}, 1},
	{"no STARTTLS", func(w *world) []string { return []string{"--smtp", "smtp+starttls://" + w.post.SMTPAddr} },
		[]string{"failure  smtp: smtp+starttls://127.0.0.1:*: it does not offer STARTTLS"}, 1},
	{"no password", func(w *world) []string { return []string{"--smtp", "smtp://me@" + w.post.SMTPAddr} },
		[]string{"failure  smtp: *: there is no password for me"}, 1},
	{"no URL", args("--smtp", "localhost"), []string{`failure  smtp: --smtp: "localhost" is not lmtp+unix:PATH`}, 1},
	{"sender refused", func(w *world) []string { return []string{"--smtp", "smtp://" + w.ca.SMTPAddr, "-e", checkAddress} },
		[]string{"failure  smtp: it does not take mail from alice@example.test to postmaster@[127.0.0.1]: 550 5.1.1",
			"failure  smtp: it rejects mail to alice@example.test, so no challenge can come: 550 5.1.1"}, 1},
	{"no such mailbox", args("-e", "nobody@"+checkDomain),
		[]string{"failure  smtp: it rejects mail to nobody@example.test, so no challenge can come: 550 5.1.1 "}, 1},
	{"no address", args(), []string{"skipped  smtp: no address is known (-e ADDR)"}, 0},
	{"no sender", args("--mail-to", checkAddress), []string{"failure  reply: --mail-to needs a sender"}, 1},
	{"not sent", func(w *world) []string {
		return []string{"--smtp", "smtp://" + w.ca.SMTPAddr, "-e", checkAddress, "--mail-to", checkAddress}
	}, []string{"failure  smtp: it does not take mail", "failure  smtp: it rejects mail to", "failure  reply: the message from alice@example.test to alice@example.test was not sent: RCPT: 550 5.1.1"}, 1},
	{"look yourself", args("-e", checkAddress, "--mail-to", checkAddress),
		[]string{"warning  reply: see for yourself: it must bear a DKIM-Signature with d=example.test"}, 0},

	// CA and clock.
	{"account", inState(func(w *world, dir string) {
		path := filepath.Join(dir, "accounts", strings.ReplaceAll(strings.TrimPrefix(w.ca.DirectoryURL, "https://"), "/", "+"))
		w.must(os.Mkdir(path, 0o700))
		w.must(os.WriteFile(filepath.Join(path, "account.json"), fmt.Appendf(nil, "{\"version\": 1, \"server\": %q, \"url\": \"https://x.test/1\"}", w.ca.DirectoryURL), 0o600))
	}), []string{"ok       ca: there is an account: https://x.test/1"}, 0},
	{"external account", func(w *world) []string {
		ca, err := testca.Start(context.Background(), testca.Config{Dir: w.t.TempDir(), RequireEAB: true, NoTerms: true, NoARI: true,
			Profiles: map[string]string{"smime": "", "short": ""}})
		w.must(err)
		w.t.Cleanup(func() { ca.Close() })
		return []string{"--server", ca.DirectoryURL, "--ca-bundle", ca.RootFile}
	}, []string{"ok       ca: names no terms of service; profiles short, smime; no renewal windows",
		"warning  ca: there is no account yet, and the CA wants an external account binding"}, 0},
	{"CA down", func(w *world) []string {
		return []string{"--server", "https://127.0.0.1:" + mta.FreePort(w.t) + "/directory"}
	},
		[]string{"failure  ca: https://127.0.0.1:*/directory: connection refused", "skipped  clock: not compared"}, 1},
	{"not trusted", func(w *world) []string {
		return []string{"--server", otherCA(w, time.Now()), "--ca-bundle", w.ca.RootFile}
	},
		[]string{"failure  ca: the certificate of https://* is not trusted: x509: certificate signed by unknown authority", "skipped  clock: not compared"}, 1},
	{"no roots", args("--ca-bundle", "/etc/passwd"),
		[]string{`failure  ca: --ca-bundle: "/etc/passwd" holds no certificate`, "skipped  clock: not compared"}, 1},
	{"not a CA", func(w *world) []string { return []string{"--server", w.ca.DirectoryURL + "/nothing"} },
		[]string{`failure  ca: https://*: it says "404 Not Found"`, "ok       clock: within"}, 1},
	{"clock behind", fromCA(10 * time.Minute), []string{"failure  clock: this machine's clock is * behind the CA's"}, 1},
	{"clock ahead", fromCA(-10 * time.Minute), []string{"failure  clock: this machine's clock is * ahead of the CA's"}, 1},
	{"clock a little off", fromCA(-4 * time.Minute), []string{"ok       clock: within 5m0s"}, 0},

	// DNS.
	{"CAA permits", caa("permits.test", `0 issuemail "ca.test; account=7"`),
		[]string{`ok       dns: CAA of permits.test permits the CA: issuemail "ca.test" with "account=7"`}, 0},
	{"CAA permits at the parent", caa("parent.test", `0 issuemail "CA.TEST"`, "mail.parent.test"),
		[]string{`ok       dns: CAA of parent.test permits the CA`}, 0},
	{"CAA forbids", caa("forbids.test", `0 issuemail "other.test"`),
		[]string{"failure  dns: CAA of forbids.test permits other.test and not the CA (ca.test)"}, 1},
	{"CAA forbids all", caa("none.test", `0 issuemail ";"`), []string{"failure  dns: CAA of none.test forbids every CA"}, 1},
	{"CAA for others", caa("web.test", `0 issue "other.test"`), []string{"ok       dns: web.test has no CAA record with issuemail"}, 0},
	{"CAA critical", caa("critical.test", `128 future "x"`), []string{`failure  dns: CAA of critical.test has the critical property "future"`}, 1},
	{"CAA of many", func(w *world) []string {
		for n := range 100 {
			w.dns.set("many.test", "CAA", fmt.Sprintf(`0 issuemail "ca%d.example"`, n))
		}
		return caa("many.test", `0 issuemail "ca.test"`)(w)
	}, []string{"ok       dns: CAA of many.test permits the CA"}, 0},
	{"CAA and a CA without a name", func(w *world) []string {
		return append(caa("unknown.test", `0 issuemail "other.test"`)(w), "--server", w.ca.DirectoryURL)
	},
		[]string{"warning  dns: CAA of unknown.test permits other.test; the CA does not say by which name it goes"}, 0},
	{"DNS fails", func(w *world) []string {
		w.dns.fail("broken.test", dns.RcodeServerFailure)
		return []string{"-e", "a@broken.test"}
	}, []string{"failure  dns: CAA of broken.test: server misbehaving (SERVFAIL)", "failure  dns: MX of broken.test: "}, 1},
	{"no mail", func(w *world) []string {
		w.dns.set("null.test", "MX", "0 .")
		w.dns.set("host.test", "A", "127.0.0.1")
		return []string{"-e", "a@null.test", "-e", "a@host.test", "-e", "a@missing.test"}
	}, []string{
		"failure  dns: null.test says with a null MX that it takes no mail",
		"warning  dns: host.test has no MX: mail goes to 127.0.0.1",
		"failure  dns: missing.test has neither MX nor address"}, 1},

	// Usage.
	{"no address", args("-e", "alice"), []string{`postseal: error: "alice" is not a mail address`}, 64},
	{"no resolver", args("--resolver", "x"), []string{`postseal: error: --resolver: "x" is not HOST:PORT`}, 64},
	{"no file to look at", args("--message", "/nowhere"), []string{`failure  reply: --message "/nowhere": no such file or directory`}, 1},
	{"mailbox alone", args("--mailbox", "/nowhere"), []string{"failure  reply: --mailbox is for a message that --mail-to sends"}, 1},
}

// otherCA serves a directory with the name ca.test for CAA, at another time of day.
func otherCA(w *world, now time.Time) (url string) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		fmt.Fprint(rw, `{"newOrder": "https://ca.test/order", "meta": {"caaIdentities": ["ca.test"]}}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	w.must(os.WriteFile(filepath.Join(w.user.Home, "other.pem"), cert, 0o644))
	return s.URL
}

func fromCA(ahead time.Duration) func(w *world) []string {
	return func(w *world) []string {
		return []string{"--server", otherCA(w, time.Now().Add(ahead)), "--ca-bundle", filepath.Join(w.user.Home, "other.pem")}
	}
}

// caa publishes a record and asks about an address in the domain, or in another one.
func caa(domain, record string, at ...string) func(w *world) []string {
	return func(w *world) []string {
		w.dns.set(domain, "CAA", record)
		if len(at) == 0 {
			at = []string{domain}
		}
		w.dns.set(at[0], "MX", "10 mx.test.")
		url := otherCA(w, time.Now())
		bundle := string(w.ca.RootPEM)
		other, err := os.ReadFile(filepath.Join(w.user.Home, "other.pem"))
		w.must(err)
		return []string{"-e", "alice@" + at[0], "--server", url, "--ca-bundle", w.write("bundle.pem", 0o644, bundle+string(other))}
	}
}

// What a user finds who may not enter the socket's directory, nor the state.
func testOtherUser(t *testing.T, w *world) {
	nobody, err := user.Lookup("nobody")
	w.must(err)
	uid, err := strconv.Atoi(nobody.Uid)
	w.must(err)
	roots := w.write("roots.pem", 0o644, string(w.ca.RootPEM))
	code, out := w.checkAs(t, uid, uid, "--ca-bundle", roots)
	wantCheck(t, code, out, 1,
		"failure  milter: user nobody may not connect to */milter.sock: */queue/postseal is ps*:postfix 2750",
		"warning  state: */accounts cannot be looked at by nobody: permission denied",
		"warning  state: pending records cannot be looked at by nobody: permission denied")
}

// testMessages looks at what arrived, and at what may arrive elsewhere.
func testMessages(t *testing.T, w *world) {
	mail := w.post.WaitMail("alice", 1)
	good := string(mail[0])
	signed := regexp.MustCompile(`(?s)DKIM-Signature: .*?\n(\S)`)
	digest := regexp.MustCompile(`(?m)^[A-Za-z0-9_-]{43}$`)
	for _, c := range []struct {
		name    string
		message string
		want    string
		code    int
	}{
		{"as it arrived", good, "ok       reply: its DKIM-Signature is by example.test and covers what it must", 0},
		{"CRLF", strings.ReplaceAll(good, "\n", "\r\n"), "ok       reply: its body is one line of 43 characters", 0},
		{"mbox", "From alice@example.test Thu Jan  1 00:00:00 2026\n" + good, "ok       reply: its body is one line of 43 characters", 0},
		{"not signed", signed.ReplaceAllString(good, "$1"), "failure  reply: it bears no DKIM-Signature: the CA will refuse", 1},
		{"signed by another", strings.Replace(good, "d=example.test", "d=relay.test", 1),
			"failure  reply: it is signed by relay.test, not by example.test", 1},
		{"h= too short", signed.ReplaceAllString(good, "DKIM-Signature: v=1; a=rsa-sha256; d=example.test; s=mail;\n\th=From:To:Subject:Date; bh=x; b=y\n$1"),
			"failure  reply: the h= of its DKIM-Signature by example.test lacks Sender, Reply-To, Cc, In-Reply-To, References, Message-ID, Content-Type, Content-Transfer-Encoding", 1},
		{"no key", strings.Replace(good, "s=mail", "s=lost", 1), "failure  reply: DKIM: there is no TXT record lost._domainkey.example.test", 1},
		{"disclaimer", good + "\nThis mail is confidential.\n", `failure  reply: text was appended below the block: "This mail is confidential."`, 1},
		{"text above", strings.Replace(good, "-----BEGIN", "[EXTERNAL]\n-----BEGIN", 1), `failure  reply: text was put above the block: "[EXTERNAL]"`, 1},
		{"digest folded", digest.ReplaceAllStringFunc(good, func(d string) string { return d[:20] + "\n" + d[20:] }),
			"failure  reply: the digest was folded: CAs want one line of 43 characters", 1},
		{"digest padded", digest.ReplaceAllStringFunc(good, func(d string) string { return d + "=" }), "failure  reply: the digest is *=\", not 43", 1},
		{"encoded", strings.Replace(good, "Encoding: 7bit", "Encoding: quoted-printable", 1), "failure  reply: its body was encoded as quoted-printable", 1},
		{"subject folded", strings.Replace(good, "Re: ACME: ", "Re: ACME:\n ", 1), "failure  reply: its Subject was folded", 1},
		{"other subject", strings.Replace(good, "Re: ACME: ", "[list] Re: ACME: ", 1), `failure  reply: its Subject is "[list] Re: ACME: `, 1},
		{"display name", strings.Replace(good, "From: alice@example.test", "From: Alice <alice@example.test>", 1),
			`failure  reply: its From is "Alice <alice@example.test>", not the address alone`, 1},
		{"mailing list", "List-Id: <l.example.test>\n" + good, "failure  reply: List-Id was added", 1},
		{"no message", "nothing", "failure  reply: --message *: it is not a mail message", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := w.check(t, "--message", w.write("message", 0o644, c.message))
			wantCheck(t, code, out, c.code, c.want)
		})
	}
}

// testBadPostfix has a Postfix in which nothing signs, and which stops all mail when
// postseal-milter does.
func testBadPostfix(t *testing.T, w *world) {
	post := mta.StartPostfix(t, mta.Postfix{
		Users: []string{"alice"}, Relay: w.ca.SMTPAddr, Milters: "unix:postseal/milter.sock",
		MainCF:   []string{"milter_protocol = 4", "non_smtpd_milters = inet:127.0.0.1:8891"},
		MasterCF: []string{mta.FreePort(t) + " inet n - y - - smtpd -o smtpd_milters=inet:127.0.0.1:8891"},
	})
	socket := w.startMilter(post)
	code, out := w.check(t, "--postfix-config", post.ConfDir, "--smtp", "smtp://"+post.SMTPAddr,
		"-e", checkAddress, "--mail-to", checkAddress, "--mailbox", w.mailDir(post))
	wantCheck(t, code, out, 1,
		`failure  postfix: default_action is "tempfail" for unix:postseal/milter.sock`,
		`warning  postfix: milter_protocol is "4"`,
		"warning  postfix: service * in master.cf has smtpd_milters=inet:127.0.0.1:8891, without postseal",
		"failure  postfix: the DKIM signer is in non_smtpd_milters only",
		"failure  reply: it bears no DKIM-Signature: the CA will refuse the reply")

	w.must(os.Chmod(socket, 0o600))
	code, out = w.check(t, "--milter", "unix:"+socket, "--postfix-config", post.ConfDir, "--smtp", "smtp://"+post.SMTPAddr)
	wantCheck(t, code, out, 1,
		`failure  postfix: default_action is "tempfail"`, "failure  postfix: the DKIM signer is in non_smtpd_milters only",
		"failure  milter: Postfix (user postfix) may not connect to */milter.sock: */milter.sock is ps*:postfix 0600")
}

// A chrooted smtpd sees another file under an absolute path.
func TestCheckChroot(t *testing.T) {
	w := &world{t: t, user: mta.NewUser(t), bin: mta.Build(t, "postseal", "postseal-check", "postseal-milter")}
	conf := filepath.Join(w.user.Home, "conf")
	w.must(os.Mkdir(conf, 0o755))
	w.must(os.WriteFile(filepath.Join(conf, "main.cf"), []byte("compatibility_level = 3.6\nqueue_directory = "+w.user.Home+"\n"+
		"smtpd_milters = { unix:"+w.user.Home+"/postseal.sock, default_action=accept }\n"), 0o644))
	w.must(os.WriteFile(filepath.Join(conf, "master.cf"), []byte("smtp inet n - y - - smtpd\n"), 0o644))
	nobody := "127.0.0.1:" + mta.FreePort(t)
	code, out := w.run(t, 0, 0, "--state", "/nowhere", "--postfix-config", conf, "--mail-user", w.user.Name,
		"--server", "https://"+nobody, "--smtp", "smtp://"+nobody)
	wantCheck(t, code, out, 1,
		"failure  postfix: service smtp is chrooted to */home and finds no */postseal.sock there",
		"warning  postfix: no DKIM signer is in smtpd_milters",
		"failure  milter: there is no socket */postseal.sock",
		"failure  smtp: ", "failure  ca: ")
	if !strings.Contains(out, "hint: write unix:postseal.sock") {
		t.Errorf("no hint:\n%s", out)
	}
}
