package glance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/challenge"
	"postseal/internal/cli"
	"postseal/internal/setup"
	"postseal/internal/submit"
)

// The subjects of most mail are ordinary at a glance; what is doubtful only costs.
var subjects = map[string]verdict{
	" lunch tomorrow?":           ordinary,
	"":                           ordinary,
	"\r\n lunch":                 ordinary,
	" About ACME: and others":    ordinary,
	" A day":                     ordinary,
	" Re: ACME: x":               ordinary,
	" =?utf-8?q?lunch?=":         ordinary,
	" =?UTF-8?B?bHVuY2g=?=":      ordinary,
	" =?iso-8859-1?Q?f=FCr?=":    ordinary,
	" == sale ==":                doubtful,
	" = sale":                    ordinary,
	" ACME: x":                   doubtful,
	"ACME:x":                     doubtful,
	"\r\n\tACME: x":              doubtful,
	"\n \n ACME: x":              doubtful,
	" =?utf-8?q?ACME:?= x":       doubtful,
	" =?utf-8?q?=41CME:?= x":     doubtful,
	" =?utf-8?q?_ACME:?= x":      doubtful,
	" =?utf-8?q??= ACME: x":      doubtful,
	" =?utf-8*en?q?ACME:?= x":    doubtful,
	" =?utf-8?b?QUNNRTo=?= x":    doubtful,
	" =?utf-8?b?IEFDTUU6?= x":    doubtful,
	" A=?utf-8?q?CME:?= x":       doubtful,
	" =?x?= ACME: x":             doubtful,
	" \vACME: x":                 doubtful,
	" \u00a0ACME: x":             doubtful,
	" \u00fcber":                 doubtful,
	" =?utf-8?q?=FCber?= ACME: ": doubtful,
}

func TestSubjects(t *testing.T) {
	for subject, want := range subjects {
		for _, format := range []string{
			"From: a@b\nSubject:%\n\n", "sUBJECT:%\r\nTo: x\r\n\r\n", "From b Mon\nX: y\nSubject:%\nSubject: x\n\nbody\n",
		} {
			msg := strings.Replace(format, "%", subject, 1)
			if got := judge([]byte(msg)); got != want {
				t.Errorf("%q: %d, want %d", msg, got, want)
			}
		}
	}
}

func TestUnfinished(t *testing.T) {
	msg := "From: a@b\r\nSubject: lunch\r\n at noon\r\nTo: x\r\n\r\n"
	for cut := range len(msg) {
		if got := judge([]byte(msg[:cut])); got != unfinished {
			t.Errorf("%q: %d", msg[:cut], got)
		}
	}
	if judge([]byte("Subject : x\n\n")) != doubtful || judge([]byte("Subject\n\n")) != doubtful {
		t.Error("a Subject of odd form is no ordinary one")
	}
}

// FuzzJudge wants nothing that the rest of the program takes for a challenge.
func FuzzJudge(f *testing.F) {
	for subject := range subjects {
		f.Add([]byte("From: a@b\nSubject:" + subject + "\nTo: x\n\nbody"))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if judge(msg) == ordinary && challenge.Candidate(msg) {
			t.Errorf("%q is a challenge", msg)
		}
	})
}

func TestArguments(t *testing.T) {
	for line, want := range map[string]bool{
		"postseal-pipe":                                true,
		"/usr/bin/postseal-pipe --state /x":            true,
		"postseal-pipe --state=/x --recipient a@b":     false,
		"postseal-pipe --smtp smtp://localhost:25":     true,
		"postseal-pipe --smtp=smtp://mx-1.example.org": true,
		"postseal-pipe --resolver 127.0.0.1:53":        true,
		"postseal-pipe --state":                        false,
		"postseal-pipe --state --print":                false,
		"postseal-pipe --print":                        false,
		"postseal-pipe --nonsense x":                   false,
		"postseal-pipe x y":                            false,
		"postseal-pipe --smtp gopher://x":              false,
		"postseal-pipe --smtp smtp://:25":              false,
		"postseal-pipe --smtp smtp://x:y":              false,
		"postseal-pipe --smtp smtp://u:p@x":            false,
		"postseal-pipe --resolver localhost":           false,
		"postseal-pipe --resolver 127.0.0.300:53":      false,
		"postseal-pipe --resolver 1.2.3:53":            false,
		"postseal-pipe --resolver x:0":                 false,
		"postseal-pipe --helo mx-1.example.org":        true,
		"postseal-pipe --helo mx1":                     false,
		"postseal-pipe --helo 1.2.3.4":                 false,
		"postseal-pipe --helo a-.b":                    false,
		"postseal-pipe --resolver x:":                  false,
		"postseal-pipe --config /x":                    false,
		"glance.test":                                  false,
		"":                                             false,
	} {
		if got := plain([]byte(strings.ReplaceAll(line, " ", "\x00") + "\x00")); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// configs are configuration files, and whether they are plain.
var configs = map[string]bool{
	"":              true,
	"# nothing\n\n": true,
	"state = \"/var/lib/postseal\"\nsmtp = \"smtp://localhost:25\"\n":       true,
	"\tresolver=\"127.0.0.1:53\"  \n":                                       true,
	"server = \"https://ca.test/directory\"\n[smime]\nroots = \"/r.pem\"\n": true,
	"state = \"/x\"":                        false, // no line end: perhaps not whole
	"state = \"/x\" # here\n":               false,
	"state = \"/x\"\nstate = \"/y\"\n":      false,
	"state = \"redis://u:p@h\"\n":           false,
	"state = \"/x\\n\"\n":                   false,
	"state = \"//u:p@h\"\n":                 false,
	"state = \"/x://u:p@h\"\n":              false,
	"state = '/x'\n":                        false,
	"statr = \"/x\"\n":                      false,
	"smtp = \"smtp://u:p@h\"\n":             false,
	"smtp-password = \"x\"\n":               false,
	"roots = \"/r.pem\"\n":                  false,
	"[smime]\nstate = \"/x\"\n":             false,
	"[smime]\n[smime]\n":                    false,
	"[[dkim]]\ndomain = \"example.test\"\n": false,
	"# \x00\n":                              false,
	"state = \"/x\"\r\n":                    false,
}

func TestConfig(t *testing.T) {
	for file, want := range configs {
		if got := plainConfig([]byte(file)); got != want {
			t.Errorf("%q: %v", file, got)
		}
	}
}

// What "postseal init" writes is plain, unless replies are signed here.
func TestConfigOfInit(t *testing.T) {
	c := setup.Config{Server: "https://ca.test/dir", Contact: []string{"a@example.test"}, SMTP: "smtp://localhost:2525", Listen: "unix:/s"}
	if !plainConfig([]byte(c.Text())) {
		t.Error(c.Text())
	}
}

// FuzzConfig wants the rest of the program to take what is plain here.
func FuzzConfig(f *testing.F) {
	for file := range configs {
		f.Add([]byte(file))
	}
	path := filepath.Join(f.TempDir(), "postseal.toml")
	f.Fuzz(func(t *testing.T, file []byte) {
		if !plainConfig(file) {
			return
		}
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := cli.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for server := range strings.Lines(string(file)) {
			i, value := setting(trim([]byte(strings.TrimSuffix(server, "\n"))))
			if i < 0 || settings[i] != "smtp" {
				continue
			}
			if _, err := submit.ParseServer(value); err != nil {
				t.Error(err)
			}
		}
		if got.SMTPPassword != "" || len(got.DKIM) > 0 || len(got.CA) > 0 {
			t.Errorf("%q has more than is known: %+v", file, got)
		}
	})
}
