package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postseal/issuer"
	"postseal/issuer/enroll"
)

func metricsOf(s *issuer.Status, kinds, domains []string) string {
	var out bytes.Buffer
	writeMetrics(&out, s, kinds, domains)
	return out.String()
}

// aStatus has at least one of all.
func aStatus(at time.Time) *issuer.Status {
	day := func(n int) time.Time { return at.AddDate(0, 0, n) }
	since := func(n int) enroll.Moment { return enroll.At(day(n)) }
	return &issuer.Status{
		Certificates: []issuer.CertStatus{
			{Name: "a", State: "due", Issued: day(-60), NotAfter: day(20)},
			{Name: "b", State: "due", Issued: day(-61), NotAfter: day(19)},
			{Name: "c", State: "valid", Issued: day(-1), NotAfter: day(80)},
			{Name: "a,sign", Kind: "sign", State: "expired", Issued: day(-90), NotAfter: day(-1)},
			{Name: "b,sign", Kind: "sign", State: "revoked", Issued: day(-2), NotAfter: day(1)},
			{Name: "leaver", State: "valid", NotAfter: day(2), Left: "since yesterday"},
		},
		Failed: []issuer.FailedStatus{
			{Name: "a", Emails: []string{"a@x.test"}, Since: day(-4)},
			{Name: "b", Emails: []string{"b@x.test"}, Since: day(-5)},
			{Name: "leaver", Since: day(-9)},
			{Name: "b,sign", Kind: "sign", Since: day(-9)},
			{Name: "newcomer", Since: day(-9)},
		},
		Orders: []issuer.OrderStatus{{}, {Kind: "encrypt"}},
		Enroll: []issuer.EnrollStatus{
			{Domain: "x.test", Accepted: since(-1), Addresses: 7, Gone: 2, Left: 1},
			{Domain: "former.test", Accepted: since(-99), Addresses: 3},
		},
		Without: []issuer.WithoutStatus{
			{Email: "n@x.test", Kind: "sign", Domain: "x.test", Since: since(-8)},
			{Email: "n@x.test", Kind: "encrypt", Domain: "x.test", Since: since(-8)},
			{Email: "m@x.test", Domain: "x.test", Since: since(-2)},
			{Email: "former@former.test", Domain: "former.test", Since: since(-99)},
		},
		Runs: []issuer.RunStatus{{Command: "renew", Ended: day(-1), Status: 75}},
	}
}

// What "postseal status --prometheus" prints. Only what is still to be renewed can end or
// fail, only tables that are configured can be refused, and nobody's address is told.
func TestMetrics(t *testing.T) {
	got := metricsOf(aStatus(time.Unix(1_800_000_000, 0).UTC()), []string{"a\"\\\n\u202e"}, []string{"x.test", "new.test"})
	want := `
postseal_issuer_certificates{kind="",state="due"} 2
postseal_issuer_certificates{kind="",state="expired"} 0
postseal_issuer_certificates{kind="",state="left"} 1
postseal_issuer_certificates{kind="",state="revoked"} 0
postseal_issuer_certificates{kind="",state="valid"} 1
postseal_issuer_certificates{kind="a\"\\\\n\\u202e",state="due"} 0
postseal_issuer_certificates{kind="a\"\\\\n\\u202e",state="expired"} 0
postseal_issuer_certificates{kind="a\"\\\\n\\u202e",state="left"} 0
postseal_issuer_certificates{kind="a\"\\\\n\\u202e",state="revoked"} 0
postseal_issuer_certificates{kind="a\"\\\\n\\u202e",state="valid"} 0
postseal_issuer_certificates{kind="encrypt",state="due"} 0
postseal_issuer_certificates{kind="encrypt",state="expired"} 0
postseal_issuer_certificates{kind="encrypt",state="left"} 0
postseal_issuer_certificates{kind="encrypt",state="revoked"} 0
postseal_issuer_certificates{kind="encrypt",state="valid"} 0
postseal_issuer_certificates{kind="sign",state="due"} 0
postseal_issuer_certificates{kind="sign",state="expired"} 1
postseal_issuer_certificates{kind="sign",state="left"} 0
postseal_issuer_certificates{kind="sign",state="revoked"} 1
postseal_issuer_certificates{kind="sign",state="valid"} 0
postseal_issuer_first_expiry_timestamp_seconds{kind="",state="due"} 1801641600
postseal_issuer_first_expiry_timestamp_seconds{kind="",state="valid"} 1806912000
postseal_issuer_first_expiry_timestamp_seconds{kind="sign",state="expired"} 1799913600
postseal_issuer_last_issued_timestamp_seconds{kind=""} 1799913600
postseal_issuer_last_issued_timestamp_seconds{kind="sign"} 1799827200
postseal_issuer_orders{kind=""} 1
postseal_issuer_orders{kind="a\"\\\\n\\u202e"} 0
postseal_issuer_orders{kind="encrypt"} 1
postseal_issuer_orders{kind="sign"} 0
postseal_issuer_failed{kind=""} 4
postseal_issuer_failed{kind="a\"\\\\n\\u202e"} 0
postseal_issuer_failed{kind="encrypt"} 0
postseal_issuer_failed{kind="sign"} 1
postseal_issuer_failing_since_timestamp_seconds{kind=""} 1799568000
postseal_issuer_challenges_pending 0
postseal_issuer_enroll_accepted_timestamp_seconds{domain="new.test"} 0
postseal_issuer_enroll_accepted_timestamp_seconds{domain="x.test"} 1799913600
postseal_issuer_enroll_addresses{domain="new.test"} 0
postseal_issuer_enroll_addresses{domain="x.test"} 7
postseal_issuer_enroll_without{domain="new.test"} 0
postseal_issuer_enroll_without{domain="x.test"} 2
postseal_issuer_enroll_without_since_timestamp_seconds{domain="x.test"} 1799308800
postseal_issuer_enroll_gone{domain="new.test"} 0
postseal_issuer_enroll_gone{domain="x.test"} 2
postseal_issuer_enroll_left{domain="new.test"} 0
postseal_issuer_enroll_left{domain="x.test"} 1
postseal_issuer_run_end_timestamp_seconds{command="enroll"} 0
postseal_issuer_run_end_timestamp_seconds{command="renew"} 1799913600
postseal_issuer_run_exit_status{command="renew"} 75
`
	if samples := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(got, ""); samples != want[1:] {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The grammar: https://prometheus.io/docs/instrumenting/exposition_formats/
	line := regexp.MustCompile(`^(# (HELP|TYPE) postseal_issuer_\w+ .+|postseal_issuer_\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)+\})? \d+)$`)
	for text := range strings.Lines(got) {
		if !line.MatchString(strings.TrimSuffix(text, "\n")) {
			t.Errorf("not a line of the format: %q", text)
		}
	}
	if strings.Contains(got, "@") {
		t.Errorf("there is an address in it:\n%s", got)
	}
	empty := metricsOf(&issuer.Status{}, nil, nil)
	if strings.Contains(empty, "issued") || strings.Contains(empty, "run_end") || !strings.Contains(empty, `postseal_issuer_failed{kind=""} 0`) {
		t.Error(empty)
	}
}

// Each metric of this half that contrib/monitoring names is written.
func TestMonitoring(t *testing.T) {
	written := metricsOf(aStatus(time.Now()), nil, []string{"x.test"})
	named := 0
	for _, file := range []string{"alerts.yml", "dashboard.json", "README.md"} {
		text, err := os.ReadFile("../../contrib/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bpostseal_issuer_\w+`).FindAllString(string(text), -1) {
			named++
			if !strings.Contains(written, "# TYPE "+name+" gauge\n") {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d are named", named)
	}
}

// The collector's directory is another user's, who may put links there: the unit's commands,
// which root runs, write through none of them.
func TestStatusUnitFollowsNoLink(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("../../contrib/monitoring/postseal-status.service")
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	for _, dir := range []string{"bin", "run", "collector", "victims"} {
		if err := os.Mkdir(filepath.Join(top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "bin", "postseal"), []byte("#!/bin/sh\necho metrics\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"postseal.tmp": "../victims/file", "postseal.prom": "../victims"} {
		if err := os.Symlink(to, filepath.Join(top, "collector", link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^ExecStart=/bin/sh -c '(.*)'$`).FindAllStringSubmatch(string(unit), -1) {
		cmd := exec.Command("sh", "-c", m[1])
		cmd.Dir = filepath.Join(top, "collector")
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(top, "bin")+":"+os.Getenv("PATH"), "RUNTIME_DIRECTORY="+filepath.Join(top, "run"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", m[1], err, out)
		}
	}
	if left, err := os.ReadDir(filepath.Join(top, "victims")); err != nil || len(left) != 0 {
		t.Errorf("made behind a link: %v, %v", left, err)
	}
	path := filepath.Join(top, "collector", "postseal.prom")
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%s: %v, %v", path, info, err)
	}
}
