package monitoring

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
)

// prometheus is one that scrapes a site as contrib/monitoring says, and has its rules.
type prometheus struct {
	*testing.T
	url string
}

// start runs a server until the test ends.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	var log strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); t.Failed() {
			t.Logf("%s: %v\n%s", program, err, log.String())
		}
	})
}

func startPrometheus(t *testing.T, milter, node string) *prometheus {
	t.Helper()
	dir, addr := t.TempDir(), "127.0.0.1:"+mta.FreePort(t)
	write(t, filepath.Join(dir, "alerts.yml"), contrib(t, "alerts.yml"))
	write(t, filepath.Join(dir, "prometheus.yml"), "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\n"+
		strings.Replace(contrib(t, "scrape.yml"), "127.0.0.1:9891", milter, 1)+
		"  - job_name: node\n    static_configs: [{targets: [\""+node+"\"]}]\n")
	start(t, "prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--log.level", "warn",
		"--web.listen-address", addr)
	return &prometheus{t, "http://" + addr + "/api/v1/"}
}

// get asks the HTTP API and reports whether it has an answer yet.
func (p *prometheus) get(path string, data any) bool {
	p.Helper()
	r, err := http.Get(p.url + path)
	if err != nil {
		return false // it is about to start
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Status != "success" {
		p.Fatalf("%s: %v %s\n%s", path, err, answer.Error, text)
	}
	return true
}

// finds waits until an expression has a result, which it has when all has been scraped twice.
func (p *prometheus) finds(expr string) {
	p.Helper()
	mta.WaitFor(p, expr, func() bool {
		var found struct{ Result []any }
		return p.get("query?query="+url.QueryEscape(expr), &found) && len(found.Result) > 0
	})
}

// rules waits until all have been evaluated, and returns their expressions.
func (p *prometheus) rules() (exprs []string) {
	p.Helper()
	mta.WaitFor(p, "the rules", func() bool {
		exprs = nil
		var groups struct {
			Groups []struct {
				Rules []struct{ Name, Query, Health, LastError string }
			}
		}
		if !p.get("rules", &groups) {
			return false
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					p.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					exprs = append(exprs, r.Query)
				}
			}
		}
		return len(exprs) == strings.Count(contrib(p.T, "alerts.yml"), "- alert: ")
	})
	return exprs
}

// selector is what an expression asks for, without what is done with it.
var selector = regexp.MustCompile(`\b(postseal|process|go|node)_\w+(\{[^}]*\})?|\bup\{[^}]*\}`)

// Each selector of a rule and each expression of the dashboard finds something on a site
// where everything has happened once: no name is wrong, and no label.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	mta.Need(t, "prometheus", "prometheus-node-exporter")
	s := newSite(t)
	milter := s.milter()
	s.happenings()
	p := startPrometheus(t, milter, s.node())
	for _, expr := range p.rules() {
		asked := selector.FindAllString(expr, -1)
		if len(asked) == 0 {
			t.Errorf("%q asks for nothing that is known here", expr)
		}
		for _, one := range asked {
			p.finds(one)
		}
	}
	p.finds(`node_textfile_scrape_error == 0`)
	exprs := dashboard(t)
	if len(exprs) < 25 {
		t.Errorf("the dashboard has only %q", exprs)
	}
	for _, expr := range exprs {
		p.finds(strings.ReplaceAll(expr, "$__rate_interval", "1m"))
	}
}

// dashboard returns the expressions of the dashboard, as Grafana finds them.
func dashboard(t *testing.T) (exprs []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(contrib(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return exprs
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
