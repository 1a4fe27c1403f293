package testca

import (
	"crypto/rand"
	"encoding/base64"
	"sync"
)

// maxNonces bounds the unused nonces kept; clients that fetch and drop them
// push the oldest out.
const maxNonces = 1 << 16

// nonces hands out anti-replay nonces and takes each back once (RFC 8555,
// Section 6.5).
type nonces struct {
	mu    sync.Mutex
	live  map[string]bool
	order []string // a ring of those handed out, used ones included
	next  int
}

func newNonces() *nonces {
	return &nonces{live: make(map[string]bool)}
}

func (n *nonces) fresh() string {
	v := randomID(16)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.order) < maxNonces {
		n.order = append(n.order, v)
	} else {
		delete(n.live, n.order[n.next])
		n.order[n.next] = v
		n.next = (n.next + 1) % maxNonces
	}
	n.live[v] = true
	return v
}

// use reports whether v was handed out and not used yet, and uses it up.
func (n *nonces) use(v string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	ok := n.live[v]
	delete(n.live, v)
	return ok
}

// randomID returns n random bytes in base64url.
func randomID(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: it crashes the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}
