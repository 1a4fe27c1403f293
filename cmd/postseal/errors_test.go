package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

var update = flag.Bool("update", false, "write testdata/errors.golden anew")

// errorsFile lists the errors that users meet: command lines, and what the programs
// say. It is to be read as a whole now and then.
const errorsFile = "testdata/errors.golden"

// Every error is one line that says what happened, with which file or address, and one
// with the next step where one fits the cause; with the exit status of the contract, and
// no secret.
func TestErrors(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	site := newBrokenSite(t)
	golden, err := os.ReadFile(errorsFile)
	if err != nil {
		t.Fatal(err)
	}
	mistakes := parseMistakes(string(golden))
	if len(mistakes) < 100 {
		t.Errorf("only %d errors are listed", len(mistakes))
	}
	site.runAll(mistakes)
	var text strings.Builder
	for _, m := range mistakes {
		text.WriteString(m.String())
		m.check(t)
	}
	if *update {
		if err := os.WriteFile(errorsFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// mistake is one command line of the list.
type mistake struct {
	comment string // above it, whole lines
	line    string
	want    string // its exit status and what it says
	got     string
}

func (m *mistake) String() string { return m.comment + "$ " + m.line + "\n" + m.got }

func parseMistakes(text string) (all []*mistake) {
	comment := ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "$ "):
			all = append(all, &mistake{comment: comment, line: strings.TrimSpace(line[2:])})
			comment = ""
		case line[0] == '#' || line == "\n":
			comment += line
		default:
			all[len(all)-1].want += line
		}
	}
	return all
}

var errorLine = regexp.MustCompile(`(?m)^  (postseal|postseal-milter|postseal-pipe): error: \S.*$`)

var hintLine = regexp.MustCompile(`(?m)^  (postseal|postseal-milter|postseal-pipe): hint: \S.*$`)

func (m *mistake) check(t *testing.T) {
	if m.got != m.want && !*update {
		t.Errorf("$ %s\ngot\n%swant\n%s", m.line, m.got, m.want)
	}
	if n := len(errorLine.FindAllString(m.got, -1)); n != 1 {
		t.Errorf("$ %s\n%sthere are %d errors", m.line, m.got, n)
	}
	last := m.got[strings.LastIndex(strings.TrimSpace(m.got), "\n")+1:]
	if !hintLine.MatchString(last) && !errorLine.MatchString(last) {
		t.Errorf("$ %s\n%sits last line is neither the error nor a hint", m.line, m.got)
	}
	for _, no := range []string{"hunter2", "goroutine", "panic", "0x", "%!", ": :", "<nil>"} {
		if strings.Contains(m.got, no) {
			t.Errorf("$ %s\n%sit has %q", m.line, m.got, no)
		}
	}
}

// brokenSite has something of each kind that is wrong, and one CA that works.
type brokenSite struct {
	t    *testing.T
	bin  string
	vars map[string]string // that the command lines use
	ca   *testca.CA
}

func newBrokenSite(t *testing.T) *brokenSite {
	s := &brokenSite{t: t, bin: mta.Build(t, "postseal", "postseal-check", "postseal-milter", "postseal-pipe"), vars: map[string]string{}}
	var err error
	deliver := func(context.Context, string, string, []byte) error { return again{errors.New("451 nobody is at home")} }
	if s.ca, err = testca.Start(context.Background(), testca.Config{Dir: t.TempDir(), Deliver: deliver}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ca.Close() })
	s.vars["CA"], s.vars["ROOT"] = s.ca.DirectoryURL, s.ca.RootFile
	eab, err := testca.Start(context.Background(), testca.Config{Dir: t.TempDir(), RequireEAB: true, Deliver: deliver})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eab.Close() })
	s.vars["EAB"], s.vars["EABROOT"] = eab.DirectoryURL, eab.RootFile
	s.startProblems()
	s.takePort()
	return s
}

// startProblems starts a CA that answers with the problem document that its directory
// is named after: /WHERE/TYPE/STATUS.
func (s *brokenSite) startProblems() {
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := strings.SplitN(strings.Trim(r.URL.Path, "/"), "/", 4)
		for len(f) < 4 {
			f = append(f, "")
		}
		base := server.URL + "/" + strings.Join(f[:3], "/")
		w.Header().Set("Replay-Nonce", "bm9uY2U")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case f[0] == "html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html><body>Welcome</body></html>")
		case f[0] == "missing":
			http.NotFound(w, r)
		case f[3] == "":
			fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","revokeCert":"%[1]s/revoke","keyChange":"%[1]s/key"}`, base)
		case f[3] == f[0]:
			w.Header().Set("Content-Type", "application/problem+json")
			if f[1] == "rateLimited" {
				w.Header().Set("Retry-After", "7200")
			}
			status := 0
			fmt.Sscan(f[2], &status)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","detail":"The detail","status":%d}`, f[1], status)
		case f[3] == "account":
			w.Header().Set("Location", base+"/acct/1")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"status":"valid"}`)
		}
	}))
	s.t.Cleanup(server.Close)
	bundle := filepath.Join(s.t.TempDir(), "problems.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, block, 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.vars["PROBLEM"], s.vars["PROBLEMROOT"] = server.URL, bundle
}

// takePort takes a port that somebody else would like to have.
func (s *brokenSite) takePort() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	_, s.vars["TAKEN"], _ = net.SplitHostPort(l.Addr().String())
}

// files are in the directory in which each command line runs.
func (s *brokenSite) files(dir string) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		s.t.Fatal(err)
	}
	short := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for name, content := range map[string]string{
		"nothing": "", "text": "This is a text.\n", "short.pem": string(short), "secret": "hunter2\n",
		"encrypted.pem": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"odd.toml":      "state = \n", "key.toml": "statr = \"/x\"\n", "value.toml": "timeout = \"soon\"\n", "table.toml": "[smime]\nroot = \"x\"\n",
		"ca.toml": "[ca.\"*\"]\ndkim = \"lax\"\n", "dkim.toml": "[[dkim]]\ndomain = \"example.test\"\n",
		"dkimkey.toml":  "[[dkim]]\ndomain = \"example.test\"\nselector = \"s1\"\nkey = \"nowhere.pem\"\n",
		"dkimtext.toml": "[[dkim]]\ndomain = \"example.test\"\nselector = \"s1\"\nkey = \"text\"\n",
		"public.toml":   "smtp-password = \"hunter2\"\n", "url.toml": "smtp = \"smtps://me:hunter2@mail.example.test\"\n", "list": "alice@example.test\nnobody\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// runAll runs the command lines, some at a time: they wait more than they work.
func (s *brokenSite) runAll(all []*mistake) {
	work := make(chan *mistake)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for m := range work {
				m.got = s.run(m.line)
			}
		})
	}
	for _, m := range all {
		work <- m
	}
	close(work)
	wg.Wait()
}

// run runs a command line in a directory of its own and returns its exit status and
// what it said, the same each time.
func (s *brokenSite) run(line string) string {
	dir, err := os.MkdirTemp("", "errors")
	if err != nil {
		s.t.Error(err)
		return ""
	}
	defer os.RemoveAll(dir)
	s.files(dir)
	cmd := exec.Command("timeout", "60", "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "POSTSEAL_STATE=" + dir + "/state", "POSTSEAL_KEY_TYPE=p256",
		"GORACE=atexit_sleep_ms=0", "LC_ALL=C"}
	for name, value := range s.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, _ := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), dir, "DIR")
	for _, n := range normalised {
		text = n.pattern.ReplaceAllString(text, n.by)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", cmd.ProcessState.ExitCode())
	for line := range strings.Lines(text) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// normalised is what differs from run to run.
var normalised = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`(127\.0\.0\.1|localhost|\[::1\]):\d{4,5}`), "$1:PORT"},
	{regexp.MustCompile(`/directory/[a-z0-9]+`), "/directory/ID"},
	{regexp.MustCompile(`/acme/(order|authz|account)/[\w-]+`), "/acme/$1/ID"},
	{regexp.MustCompile(`acme-challenge\+\w+@`), "acme-challenge+ID@"},
	{regexp.MustCompile(`(?m)^postseal: hint: there is no group "postseal".*\n`), ""}, // on machines that have none
	{regexp.MustCompile(`(?m)^time=.*level=INFO.*\n`), ""},
	{regexp.MustCompile(`2\d{3}-\d\d-\d\d(T[\d:.]+Z?)?`), "DATE"},
}
