package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-milter"

	"postseal/state"
)

// The program serves each metric that contrib/monitoring names, and each value of a label.
func TestMonitoring(t *testing.T) {
	dir, port := state.Open(t.TempDir()), freePort(t)
	_, err := dir.Create()
	check(t, err)
	pendingAlice(t, dir)
	s := startService(t, "--state", dir.Path(), "--metrics", port)
	wantAction(t, s.send(acme), milter.ActAccept) // a summary without observations is not shown
	r, err := http.Get("http://" + port + "/metrics")
	check(t, err)
	defer r.Body.Close()
	served, err := io.ReadAll(r.Body)
	check(t, err)
	s.stop()

	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile(filepath.Join("../../contrib/monitoring", file))
		check(t, err)
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", file)
		}
		if strings.Contains(string(text), "[$__interval]") {
			t.Errorf("%s: a range of one interval may hold a single sample, and then shows nothing; $__rate_interval holds more", file)
		}
		wantServed(t, file, string(text), string(served))
	}
}

var (
	metricName = regexp.MustCompile(`\b(postseal_milter|process|go)_\w+`)
	labelValue = regexp.MustCompile(`\b(verdict|result|kind)=~?\\?"([\w|]+)\\?"`)
)

func wantServed(t *testing.T, file, text, served string) {
	t.Helper()
	names := metricName.FindAllString(text, -1)
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(served) {
			t.Errorf("%s: there is no metric %s", file, name)
		}
	}
	if len(names) < 8 {
		t.Errorf("%s names only %v", file, names)
	}
	for _, m := range labelValue.FindAllStringSubmatch(text, -1) {
		for value := range strings.SplitSeq(m[2], "|") {
			if !strings.Contains(served, m[1]+`="`+value+`"`) {
				t.Errorf("%s: no metric has %s=%q", file, m[1], value)
			}
		}
	}
}
