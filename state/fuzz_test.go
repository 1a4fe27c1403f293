package state

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzRecord reads any content of a file: a record that is written again must read the same,
// and write the same once more.
func FuzzRecord(f *testing.F) {
	for _, v := range []any{
		record("1", "alice@example.test", "https://ca.example/directory"),
		&Pending{Version: 1, ID: "x", Email: "\u7528\u6237@b\u00fccher.example", Thumbprint: "t", Policy: Policy{DKIM: "strict"}},
		&Answer{Version: 1, ID: "1", Phase: Failed, Email: "a@b", MessageIDs: MessageIDs{"<c>", "<r>"}, Claimed: now, Ended: now, Reason: "550 no"},
		&Answer{Version: 1, ID: "1", Phase: Claimed},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"version":1,"ID":"a","email":"a","thumbprint":"t","created":"2026-06-01T12:00:00.123+23:59","extra":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := ParsePending(data); err == nil {
			again(t, p, func(data []byte) (any, error) { return ParsePending(data) })
			if !LegalID(p.ID) || fileName(p.Email, 1) == "" {
				t.Errorf("id %q, email %q", p.ID, p.Email)
			}
		}
		if a, err := ParseAnswer(data); err == nil {
			again(t, a, func(data []byte) (any, error) { return ParseAnswer(data) })
		}
	})
}

func again(t *testing.T, v any, parse func([]byte) (any, error)) {
	t.Helper()
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	read, err := parse(first)
	if err != nil {
		t.Fatalf("what was written is not read: %v in %s", err, first)
	}
	second, err := json.Marshal(read)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("%s became %s, %v", first, second, err)
	}
}
