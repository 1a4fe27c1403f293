package issuer

import (
	"testing"

	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// The earlier keys of an address are not those of another one whose name goes on.
func TestExportFormerOfOne(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	const addr, longer = "alice@example.te", "alice@example.test"
	as := func(serial string) func(*store.Renewal) { return func(r *store.Renewal) { r.Serial = serial } }
	for _, serial := range []string{"1", "2"} {
		hold(t, i, addr, as(serial), addr)
		hold(t, i, longer, as(serial), longer)
	}
	for _, former := range []bool{false, true} {
		done, err := i.Export(Export{Email: addr, To: t.TempDir(), Format: "pem", Former: former, Passphrase: cert.Passphrase{Kind: cert.PassNone}})
		want := 1
		if former {
			want = 2
		}
		if err != nil || len(done) != want {
			t.Errorf("former %v: %+v, %v", former, done, err)
		}
		for _, d := range done {
			if d.Name != addr {
				t.Errorf("the key of %s", d.Name)
			}
		}
	}
}
