package p12clients

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// shared is a directory that lives as long as the test process, and background a
// context that does.
var (
	shared     string
	background = context.Background()
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		// The name is short: gpg-agent's socket lies below it, and a path of a
		// socket has at most 107 bytes.
		if shared, err = os.MkdirTemp("", "imports"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}
