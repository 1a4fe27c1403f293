package state_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"postseal/internal/test/statetest"
	"postseal/state"
)

func TestStore(t *testing.T) {
	many := 100_000
	if testing.Short() {
		many = 1000 // more files take a quarter of a minute
	}
	statetest.Run(t, func(t *testing.T) *statetest.World {
		path := filepath.Join(t.TempDir(), "state")
		if _, err := state.Open(path).Create(); err != nil {
			t.Fatal(err)
		}
		write := func(dir, name string, data []byte) {
			if err := os.WriteFile(filepath.Join(path, dir, name), data, 0o640); err != nil {
				t.Error(err)
			}
		}
		return &statetest.World{
			Open: func(damaged func(string, error)) state.Store {
				d := state.Open(path)
				d.Damaged = damaged
				return d
			},
			Abandon:       func(c state.Claim, _ string) { state.Abandon(c) },
			DamagePending: func(addr, _ string, data []byte) { write("pending", state.PendingName(addr), data) },
			DamageAnswer:  func(id string, data []byte) { write("answers", id+".json", data) },
			Fill: func(records []*state.Pending) {
				for _, p := range records {
					p.Version = state.Version
					data, _ := json.Marshal(p)
					write("pending", state.PendingName(p.Email), data)
				}
			},
			Many: many,
		}
	})
}
