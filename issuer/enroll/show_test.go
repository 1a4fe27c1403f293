package enroll

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tbl := table(t, "kinds=,sign run=1 exclude=x@*")
	list := source(tbl, "a b x x nobody@example.net")
	_, all, err := Plan(now, tbl, false, list, memory("a g,g-9"), holdings("a=cert a:sign=cert g=cert"))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReport(tbl, list, all, nil)
	var out strings.Builder
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	const want = `example.org: 2 addresses (1 line of another domain, 1 line twice): order 1, wait 1, gone 1, excluded 1, has 2
  order     b@example.org  new, waits since 2026-11-29
  wait      b@example.org sign  new, waits since 2026-11-29, after 1 other
  gone      g@example.org  gone since 2026-11-20, no longer renewed from 2026-12-20 on
  excluded  x@example.org  matches a pattern of exclude; what it has is left to renew
  has       a@example.org  has a certificate, left to renew
  has       a@example.org sign  has a certificate, left to renew
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"domain":"example.org","addresses":2,"source":{"lines":5,"other_domains":1,"duplicates":1,"invalid":0,"invalid_lines":[]}`,
		`"order":1`, `{"address":"b@example.org","kind":"","action":"order","why":"new, waits since 2026-11-29"}`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
}

// What a run would do decides its exit status.
func TestDoes(t *testing.T) {
	for action, does := range map[Action]bool{ActionResume: true, ActionOrder: true, ActionRevoke: true, ActionCancel: true, ActionLeave: true,
		ActionWait: false, ActionGone: false, ActionLeft: false, ActionExcluded: false, ActionHas: false} {
		if r := NewReport(table(t, ""), Source{}, []Step{{Action: action}}, nil); r.Does() != does {
			t.Errorf("%s: %v", action, r.Does())
		}
	}
	var out strings.Builder
	r := NewReport(table(t, ""), Source{}, nil, errors.New("source of example.org: it is empty"))
	if err := r.Write(&out); err != nil || r.Does() || out.String() != "example.org: 0 addresses: source of example.org: it is empty\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if text, _ := json.Marshal(r); !strings.Contains(string(text), `"steps":[],"error":"source`) {
		t.Errorf("%s", text)
	}
}
