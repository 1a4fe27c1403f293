package mailconf

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/challenge"
	"postseal/internal/cli"
	"postseal/state"
)

const keys = "../challenge/testdata/keys/"

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// valid are flags that Check accepts.
func valid(change ...func(*Flags)) *Flags {
	f := &Flags{SMTP: "smtp://localhost:25", MaxAnswers: []int{10, 20}, Helo: "mx1.example.org"}
	for _, c := range change {
		c(f)
	}
	return f
}

// responder returns what a challenge gets, or the exit status and the error.
func responder(t *testing.T, f *Flags, file cli.File) (*challenge.Responder, int, string) {
	t.Helper()
	r, err := f.Responder(&file, state.Open(t.TempDir()), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, cli.ExitCode(err), err.Error()
	}
	return r, 0, ""
}

func TestMaxAnswers(t *testing.T) {
	for _, c := range []struct {
		flag []int
		want challenge.Rate
	}{
		{[]int{3}, challenge.Rate{PerCA: 3, Total: 15}},
		{[]int{3, 4}, challenge.Rate{PerCA: 3, Total: 4}},
		{nil, challenge.Rate{}}, {[]int{0}, challenge.Rate{}}, {[]int{-1, 4}, challenge.Rate{}}, {[]int{3, 0}, challenge.Rate{}}, {[]int{3, 4, 5}, challenge.Rate{}},
	} {
		f := valid(func(f *Flags) { f.MaxAnswers = c.flag })
		r, status, _ := responder(t, f, cli.File{})
		if c.want == (challenge.Rate{}) {
			if _, err := f.Check(); status != cli.ExitUsage || cli.ExitCode(err) != cli.ExitUsage {
				t.Errorf("%v: exit %d, %v", c.flag, status, err)
			}
		} else if status != 0 || r.MaxAnswers != c.want {
			t.Errorf("%v: exit %d, %+v", c.flag, status, r)
		}
	}
}

// Check finds a mistake in the flags without a file or a network.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Flags)
		status int
	}{
		"valid":          {func(*Flags) {}, 0},
		"no name":        {func(f *Flags) { f.Helo = "" }, 0},
		"SMTP":           {func(f *Flags) { f.SMTP = "localhost" }, cli.ExitUsage},
		"resolver":       {func(f *Flags) { f.Resolver = "localhost" }, cli.ExitUsage},
		"name":           {func(f *Flags) { f.Helo = "mx1" }, cli.ExitUsage},
		"URL of Redis":   {func(f *Flags) { f.State = "redis://" }, cli.ExitConfig},
		"another URL":    {func(f *Flags) { f.State = "postgres://mx" }, cli.ExitConfig},
		"Redis, no file": {func(f *Flags) { f.State = "redis://mx?password-file=/none" }, 0},
	} {
		if _, err := valid(c.change).Check(); (err == nil) != (c.status == 0) || err != nil && cli.ExitCode(err) != c.status {
			t.Errorf("%s: %v, want exit %d", name, err, c.status)
		}
	}
}

// A responder has all that the configuration says.
func TestResponder(t *testing.T) {
	roots := write(t, "roots.pem", "no certificate")
	log := slog.New(slog.DiscardHandler)
	r, err := valid().Responder(&cli.File{
		DKIM:  []cli.DKIMKey{{Domain: "example.test", Selector: "s1", Key: keys + "rsa2048.pem"}, {Domain: "b.test", Selector: "s2", Key: keys + "ed25519.pem"}},
		SMIME: cli.SMIME{Roots: roots},
	}, state.Open(t.TempDir()), log)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Keys) != 2 || r.Keys[0].Domain != "example.test" || r.Keys[0].Selector != "s1" || r.Keys[1].Selector != "s2" || r.Keys[1].Signer == nil {
		t.Errorf("keys %+v", r.Keys)
	}
	if r.Log != log || r.State == nil || r.Send == nil || r.LookupTXT == nil {
		t.Errorf("got %+v", r)
	}
	if _, err := r.Roots(); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("roots without a certificate: %v", err)
	}
	if err := os.Remove(roots); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Roots(); err == nil {
		t.Error("roots without a file")
	}
	if r, _, _ := responder(t, valid(), cli.File{}); r.Roots != nil {
		t.Error("the system's roots are not asked for")
	}
	if name := valid().name()(); name != "mx1.example.org" {
		t.Errorf("the name is %q", name)
	}
}

// What cannot work is an error of the configuration that says where to look.
func TestConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Flags)
		file   cli.File
		says   string
	}{
		"no DKIM key":      {func(*Flags) {}, cli.File{DKIM: []cli.DKIMKey{{Domain: "example.test", Key: "/none.pem"}}}, "DKIM key of example.test"},
		"no SMTP roots":    {func(f *Flags) { f.SMTP, f.SMTPCA = "smtps://mail.test", "/none.pem" }, cli.File{}, "/none.pem"},
		"no password":      {func(f *Flags) { f.SMTP = "smtps://me@mail.test" }, cli.File{}, "no password"},
		"clear text":       {func(f *Flags) { f.SMTP = "smtp://me@mail.test" }, cli.File{SMTPPassword: "x"}, "clear text"},
		"no password file": {func(f *Flags) { f.SMTPPasswordFile = "/none" }, cli.File{}, "--smtp-password-file"},
	} {
		if _, status, text := responder(t, valid(c.change), c.file); status != cli.ExitConfig || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit %d, %q, want exit %d, %q", name, status, text, cli.ExitConfig, c.says)
		}
	}
}

// The program keeps what it goes on reading and writing, and no more.
func TestNeeds(t *testing.T) {
	dir := state.Open(filepath.Join(t.TempDir(), "state"))
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	f := valid(func(f *Flags) { f.SMTPCA = "/smtp.pem" })
	n := f.Needs(&cli.File{SMIME: cli.SMIME{Roots: "/smime.pem"}}, dir)
	if !slices.Equal(n.Read, []string{dir.Path("pending"), "/smtp.pem", "/smime.pem"}) || !slices.Equal(n.Write, []string{dir.Path("answers")}) || n.Remove != nil {
		t.Errorf("%+v", n)
	}
	if n := valid().Needs(&cli.File{}, nil); n.Read != nil || n.Write != nil {
		t.Errorf("with Redis: %+v", n)
	}
}

// A password on the command line is warned of, and a damaged record is named.
func TestStore(t *testing.T) {
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	for _, c := range []struct{ flag, name, log string }{
		{"", cli.DefaultMailState(), ""},
		{"/x", "/x", ""},
		{"redis://mx.test?password-file=" + write(t, "p", "x"), "redis://mx.test", ""},
		{"redis://:secret@mx.test", "redis://mx.test", cli.PasswordWarning},
	} {
		var log bytes.Buffer
		os.Args = []string{"postseal-milter", "--state", c.flag}
		s, err := valid(func(f *Flags) { f.State = c.flag }).Store(slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || s.String() != c.name || !strings.Contains(log.String(), c.log) || strings.Contains(log.String(), "secret") || (log.String() == "") != (c.log == "") {
			t.Errorf("%q: %v, %v, log %q", c.flag, s, err, log.String())
		}
	}
	if _, err := valid(func(f *Flags) { f.State = "redis://mx?password-file=/none" }).Store(slog.New(slog.DiscardHandler)); cli.ExitCode(err) != cli.ExitConfig {
		t.Errorf("no file: %v", err)
	}
}
