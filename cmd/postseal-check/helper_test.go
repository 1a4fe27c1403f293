package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postseal/internal/check"
)

// newChecker returns a checker on an empty machine.
func newChecker(t *testing.T, o check.Options) *checker {
	t.Helper()
	if o.State == "" {
		o.State = filepath.Join(t.TempDir(), "state")
	}
	if o.Server == "" {
		o.Server = "https://127.0.0.1:1/directory"
	}
	return &checker{
		Options: o, now: time.Now,
		postfix:   func() (*postfix, error) { return nil, errNoPostfix },
		directory: func() (*directory, error) { return nil, context.Canceled },
	}
}

// found runs one check and returns its findings.
func found(t *testing.T, run func(context.Context, *report)) []check.Finding {
	t.Helper()
	r := &report{check: "test"}
	run(t.Context(), r)
	return r.found
}

// wantFinding looks for a finding with a status whose text or hint has the words.
func wantFinding(t *testing.T, all []check.Finding, status check.Status, words string) {
	t.Helper()
	for _, f := range all {
		if f.Status == status && strings.Contains(f.Text+"\n"+f.Hint, words) {
			return
		}
	}
	t.Errorf("no %s with %q in %+v", status, words, all)
}

// testCertificate returns a certificate for 127.0.0.1 and a file with its root.
func testCertificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	path := filepath.Join(t.TempDir(), "root.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: s.TLS.Certificates}, path
}
