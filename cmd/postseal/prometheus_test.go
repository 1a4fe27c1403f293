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
)

func metricsOf(s *issuer.Status) string {
	var out bytes.Buffer
	writeMetrics(&out, s)
	return out.String()
}

// What "postseal status --prometheus" prints; others' words end no label and no line.
func TestMetrics(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	got := metricsOf(&issuer.Status{
		Certificates: []issuer.CertStatus{
			{Name: "b", Server: "https://ca.example/dir", State: "due", Issued: at, NotAfter: at.Add(time.Hour), RenewAt: at},
			{Name: "a\"\\\n\u202e", Server: "https://ca.example/dir", State: "valid", Issued: at.Add(-time.Hour), NotAfter: at, RenewAt: at},
			{Name: "gone", State: "revoked", NotAfter: at},
		},
		Failed: []issuer.FailedStatus{{Name: "f", Emails: []string{"f@x.test", "g@x.test"}, Server: "https://ca.example/dir", Since: at}},
		Orders: []issuer.OrderStatus{{}},
	})
	want := `# HELP postseal_issuer_certificate_expiry_timestamp_seconds End of a certificate that is not revoked.
# TYPE postseal_issuer_certificate_expiry_timestamp_seconds gauge
postseal_issuer_certificate_expiry_timestamp_seconds{name="a\"\\\\n\\u202e",ca="ca.example"} 1800000000
postseal_issuer_certificate_expiry_timestamp_seconds{name="b",ca="ca.example"} 1800003600
# HELP postseal_issuer_certificate_renewal_timestamp_seconds When it is due for renewal.
# TYPE postseal_issuer_certificate_renewal_timestamp_seconds gauge
postseal_issuer_certificate_renewal_timestamp_seconds{name="a\"\\\\n\\u202e",ca="ca.example"} 1800000000
postseal_issuer_certificate_renewal_timestamp_seconds{name="b",ca="ca.example"} 1800000000
# HELP postseal_issuer_certificates Number of certificates by state.
# TYPE postseal_issuer_certificates gauge
postseal_issuer_certificates{state="due"} 1
postseal_issuer_certificates{state="expired"} 0
postseal_issuer_certificates{state="revoked"} 1
postseal_issuer_certificates{state="valid"} 1
# HELP postseal_issuer_last_issued_timestamp_seconds When the latest of these certificates was issued.
# TYPE postseal_issuer_last_issued_timestamp_seconds gauge
postseal_issuer_last_issued_timestamp_seconds 1800000000
# HELP postseal_issuer_failed Sets of addresses whose last order failed.
# TYPE postseal_issuer_failed gauge
postseal_issuer_failed 1
# HELP postseal_issuer_failing_since_timestamp_seconds First failure after the last success.
# TYPE postseal_issuer_failing_since_timestamp_seconds gauge
postseal_issuer_failing_since_timestamp_seconds{emails="f@x.test g@x.test",ca="ca.example",name="f"} 1800000000
# HELP postseal_issuer_orders Orders in flight.
# TYPE postseal_issuer_orders gauge
postseal_issuer_orders 1
# HELP postseal_issuer_challenges_pending Challenges that are waited for.
# TYPE postseal_issuer_challenges_pending gauge
postseal_issuer_challenges_pending 0
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// The grammar: https://prometheus.io/docs/instrumenting/exposition_formats/
	line := regexp.MustCompile(`^(# (HELP|TYPE) postseal_issuer_\w+ .+|postseal_issuer_\w+(\{(\w+="([^"\\\n]|\\["\\n])*",?)+\})? \d+)$`)
	for text := range strings.Lines(got) {
		if !line.MatchString(strings.TrimSuffix(text, "\n")) {
			t.Errorf("not a line of the format: %q", text)
		}
	}
	if empty := metricsOf(&issuer.Status{}); strings.Contains(empty, "last_issued") || !strings.Contains(empty, "postseal_issuer_failed 0") {
		t.Error(empty)
	}
}

// Each metric of this half that contrib/monitoring names is written.
func TestMonitoring(t *testing.T) {
	written := metricsOf(&issuer.Status{Certificates: []issuer.CertStatus{{Issued: time.Now()}}, Failed: []issuer.FailedStatus{{}}})
	named := 0
	for _, file := range []string{"alerts.yml", "README.md"} {
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
	if named < 2 {
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
