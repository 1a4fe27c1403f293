package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/printable"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

// hostileText drives terminals, begins lines, turns text around, and ends JSON strings.
const hostileText = "x\x1b[2J\u009b31m\r\npostseal: error: y\u202ez\u2066\x07\x7f\u2028\"\t"

// Whatever a CA says in a place that is shown, nothing but printable text comes out of the
// program: not on a terminal, not as JSON, and not later, from what was written down.
func TestHostileWords(t *testing.T) {
	mta.NotShort(t)
	var sites sync.WaitGroup // all at once: most of what they do is wait
	defer sites.Wait()
	for name, place := range map[string]struct{ resource, path string }{
		"terms":           {"directory", "meta.termsOfService"},
		"profiles":        {"directory", "meta.profiles"},
		"account status":  {"new-account", "status"},
		"contact":         {"new-account", "contact"},
		"order status":    {"order", "status"},
		"identifier":      {"authz", "identifier"},
		"from":            {"authz", "from"},
		"authz status":    {"authz", "status"},
		"explanation":     {"renewal-info", "explanationURL"},
		"refused":         {"new-order", "problem"},
		"challenge error": {"authz", "error"},
		"revocation":      {"revoke-cert", "problem"},
		"honest":          {},
	} {
		site := func(t *testing.T) {
			h := newHostileSite(t, place.resource, place.path)
			outcomes := map[int]bool{}
			commands := []string{
				"cert -v -n -e alice@example.test --agree-tos --no-passphrase --timeout 2s",
				"cert -n -e alice@example.test --timeout 1s", // without --agree-tos
				"cert --json -n -e bob@example.test --agree-tos --no-passphrase --timeout 2s",
				"status", "status --json", "account show", "account show --json", "renew -v --force --timeout 1s",
				"revoke --cert-path state/certs/alice@example.test/cert.pem",
			}
			if place.resource == "directory" {
				commands = append(commands, "check", "check --json")
			}
			for _, args := range commands {
				outcomes[h.run(args)] = true
			}
			if name == "honest" && !outcomes[0] {
				t.Error("nothing succeeded")
			}
		}
		sites.Go(func() { t.Run(name, site) })
	}
}

// hostileSite is a CA that says hostileText in one place, and where its client works.
type hostileSite struct {
	t   *testing.T
	dir string
	bin string
	env []string
}

func newHostileSite(t *testing.T, resource, path string) *hostileSite {
	h := &hostileSite{t: t, dir: t.TempDir(), bin: mta.Build(t, "postseal", "postseal-check")}
	var ca *testca.CA
	ready := make(chan struct{})
	pending := state.Open(filepath.Join(h.dir, "state"))
	ca, err := testca.Start(context.Background(), testca.Config{
		Dir: t.TempDir(), Validate: testca.ValidateOnArrival, Sign: testca.SignNone,
		Tamper: func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				r := httptest.NewRecorder()
				honest.ServeHTTP(r, req)
				if resource != "" && strings.Contains(req.URL.Path, "/"+resource) {
					lieIn(r, path)
				}
				maps.Copy(w.Header(), r.Header())
				w.Header().Del("Content-Length")
				w.WriteHeader(r.Code)
				_, _ = w.Write(r.Body.Bytes())
			})
		},
		Deliver: func(ctx context.Context, _, to string, msg []byte) error {
			<-ready
			return answer(ctx, ca.SMTPAddr, pending, to, msg)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	close(ready)
	h.env = append(os.Environ(), "POSTSEAL_STATE="+h.dir+"/state", "POSTSEAL_SERVER="+ca.DirectoryURL, "POSTSEAL_CA_BUNDLE="+ca.RootFile,
		"POSTSEAL_KEY_TYPE=p256", "POSTSEAL_SETTLE=0s", "POSTSEAL_SMTP=smtp://127.0.0.1:1", "POSTSEAL_RESOLVER=127.0.0.1:1",
		"HOME="+h.dir, "GORACE=atexit_sleep_ms=0")
	return h
}

// lieIn puts hostileText into an answer.
func lieIn(r *httptest.ResponseRecorder, path string) {
	problem := map[string]any{
		"type": "urn:" + hostileText, "detail": hostileText, "title": hostileText, "status": 403, "instance": hostileText,
		"subproblems": []any{map[string]any{"type": hostileText, "detail": hostileText, "identifier": map[string]any{"type": "email", "value": hostileText}}},
	}
	if path == "problem" {
		r.Code = http.StatusForbidden
		r.Header().Set("Content-Type", "application/problem+json")
		r.Body = bytes.NewBuffer(mustMarshal(problem))
		return
	}
	var doc map[string]any
	if json.Unmarshal(r.Body.Bytes(), &doc) != nil {
		return
	}
	switch path {
	case "from", "error":
		c := doc["challenges"].([]any)[0].(map[string]any)
		if c["from"] = hostileText; path == "error" {
			c["from"], c["error"], doc["status"] = "ca@ca.example", problem, "invalid"
		}
	case "identifier":
		doc["identifier"] = map[string]any{"type": "email", "value": "alice@example.test" + hostileText}
	case "meta.termsOfService":
		doc["meta"].(map[string]any)["termsOfService"] = "https://ca.example/" + hostileText
	case "meta.profiles":
		doc["meta"].(map[string]any)["profiles"] = map[string]any{hostileText: hostileText}
	case "contact":
		doc["contact"] = []string{hostileText}
	default:
		doc[path] = hostileText
	}
	r.Body = bytes.NewBuffer(mustMarshal(doc))
}

func mustMarshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// run runs the program, looks at what it writes, and returns its exit status.
func (h *hostileSite) run(args string) int {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "postseal"), strings.Fields(args)...)
	cmd.Dir, cmd.Env = h.dir, h.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%s: %v", args, err)
	}
	for _, text := range []string{out.String(), errs.String()} {
		if !printable.Text(strings.ReplaceAll(text, "\n", "")) {
			h.t.Errorf("%s wrote %q", args, text)
		}
		if strings.Contains(text, "\npostseal: error: y") {
			h.t.Errorf("%s wrote the CA's line as its own:\n%s", args, text)
		}
	}
	if n := strings.Count(errs.String(), "postseal: error: "); n > 1+strings.Count(errs.String(), `\npostseal: error: y`) {
		h.t.Errorf("%s: %d errors\n%s", args, n, errs.String())
	}
	if strings.Contains(args, "--json") && out.Len() > 0 && !json.Valid(out.Bytes()) {
		h.t.Errorf("%s wrote no JSON: %s", args, out.String())
	}
	code := cmd.ProcessState.ExitCode()
	if !strings.Contains(" 0 1 2 64 75 78 ", fmt.Sprintf(" %d ", code)) {
		h.t.Errorf("%s: exit %d\n%s", args, code, errs.String())
	}
	return code
}
