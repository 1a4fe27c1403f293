package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// contrib returns a file of contrib/monitoring.
func contrib(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(mta.Root(t), "contrib", "monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each alert fires when it should, and then no other one does.
func TestRules(t *testing.T) {
	t.Parallel()
	mta.Need(t, "promtool")
	cases := "testdata/rules.yml"
	if out, err := exec.Command("promtool", "test", "rules", cases).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(contrib(t, "alerts.yml"), -1) {
		if !strings.Contains(string(text), `alertname="`+m[1]+`"`) {
			t.Errorf("no case makes %s fire", m[1])
		}
	}
}
