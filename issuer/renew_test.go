package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// renew does what "postseal renew" does and returns the number of new certificates.
func (w *world) renew(i *Issuer, o Renewal) int {
	w.t.Helper()
	o.Timeout = 20 * time.Second
	reqs, err := i.DueRequests(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	issued := 0
	i.Batch(w.t.Context(), reqs, 4, func(n int, _ *Result, err error) {
		if err != nil {
			w.t.Errorf("%v: %v", reqs[n].Emails, err)
			return
		}
		issued++
	})
	return issued
}

func TestNothingDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	w.obtain(w.request(alice))
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	var notDue *NotDueError
	if failure.KindOf(err) != failure.KindNotDue || !errors.As(err, &notDue) || notDue.Days < 80 {
		t.Fatalf("%v", err)
	}
	if n := w.renew(w.issuer(), Renewal{}); n != 0 {
		t.Errorf("%d renewed", n)
	}
	force := w.request(alice)
	force.Force = true
	w.obtain(force)
	other := w.request(alice, "bob@example.test")
	if res := w.obtain(other); res.Name != alice+"-2" {
		t.Errorf("another set is named %q", res.Name)
	}
	again := w.request("BOB@example.test", alice)
	if res := w.obtain(again); res.Name != "bob@example.test" {
		t.Errorf("the same set in another order is named %q", res.Name)
	}
}

// Renewal keeps key type, usages, format, passphrase and hook; the key is new.
func TestRenewKeepsOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{ARIDue: true})
	req := w.request(alice)
	marker := filepath.Join(t.TempDir(), "hook")
	req.Usages, req.P12, req.KeyType = []string{"digitalSignature"}, "legacy", "p384"
	req.Passphrase = cert.Passphrase{Kind: cert.PassGiven, Value: "correct horse"}
	req.DeployHook = `echo "$POSTSEAL_EMAILS" >>` + marker
	first := w.obtain(req)
	firstKey := string(mustRead(t, first.Key))

	if n := w.renew(w.issuer(), Renewal{}); n != 1 {
		t.Fatalf("%d renewed\n%s", n, w.transcript())
	}
	r, err := store.ReadRenewal(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Serial == first.Serial || !slices.Equal(r.Usages, req.Usages) || r.P12 != "legacy" || r.KeyType != "p384" {
		t.Errorf("%+v", r)
	}
	if key := string(mustRead(t, first.Key)); key == firstKey {
		t.Error("the key is the old one")
	}
	if store.Exists(filepath.Join(first.Dir, store.PassphraseFile)) {
		t.Error("a given passphrase was written into its own file")
	}
	if got := string(mustRead(t, marker)); got != alice+"\n"+alice+"\n" {
		t.Errorf("hook: %q", got)
	}
	old := w.dir.Path("certs", store.PreviousDir, alice, first.Serial, store.KeyFile)
	if string(mustRead(t, old)) != firstKey {
		t.Error("the former key is gone")
	}
	if left := w.entries("certs"); !slices.Equal(left, []string{store.PreviousDir, alice}) {
		t.Errorf("certs: %v", left)
	}

	secondKey := string(mustRead(t, first.Key))
	w.renew(w.issuer(), Renewal{ReuseKey: true, Force: true})
	if string(mustRead(t, first.Key)) != secondKey {
		t.Error("--reuse-key made another key")
	}
}

func TestRenewReplaces(t *testing.T) {
	t.Parallel()
	for _, always := range []bool{false, true} {
		w := newWorld(t, testca.Config{ARIDue: true, AlwaysReplaced: always, AlwaysReady: true})
		w.obtain(w.request(alice))
		if n := w.renew(w.issuer(), Renewal{}); n != 1 {
			t.Errorf("always replaced %v: %d renewed", always, n)
		}
	}
}

// A generated passphrase stays the same: its owner has written it down.
func TestRenewKeepsGeneratedPassphrase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{ARIDue: true, AlwaysReady: true})
	res := w.obtain(w.request(alice))
	before := string(mustRead(t, res.PassphraseFile))
	w.renew(w.issuer(), Renewal{})
	if after := string(mustRead(t, res.PassphraseFile)); after != before {
		t.Errorf("%q became %q", before, after)
	}
}

func TestRenewSelects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{ARIDue: true, AlwaysReady: true})
	w.obtain(w.request(alice))
	w.obtain(w.request("bob@example.test"))
	if n := w.renew(w.issuer(), Renewal{Emails: []string{"ALICE@example.test"}}); n != 1 {
		t.Errorf("%d renewed", n)
	}
	_, err := w.issuer().DueRequests(t.Context(), Renewal{Emails: []string{"nobody@example.test"}})
	if failure.KindOf(err) != failure.KindFailed {
		t.Errorf("%v", err)
	}
}

// renew completes what cert left.
func TestRenewFinishesOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if !w.killedAt(StepWait, w.request(alice)) {
		t.Fatal("was not killed")
	}
	if n := w.renew(w.issuer(), Renewal{}); n != 1 {
		t.Errorf("%d renewed", n)
	}
	if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 1 {
		t.Errorf("%d orders", orders)
	}
}

// A renewal that has waited for a day has failed, however often its order was replaced
// meanwhile; the order continues. An order by hand just waits.
func TestRenewWaitsADay(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	w := newWorld(t, testca.Config{MailDelay: time.Hour})
	c := new(clock)
	late := func(o *Options) { o.Now = c.now }
	w.leaveWaiting(w.request(alice))
	hooked := filepath.Join(t.TempDir(), "hooked")
	renew := func() (err error) {
		reqs, err := w.issuer(late).DueRequests(t.Context(), Renewal{Timeout: time.Second, FailHook: "touch " + hooked})
		if err != nil || len(reqs) != 1 {
			t.Fatalf("%d to renew, %v", len(reqs), err)
		}
		_, err = w.issuer(late).Obtain(t.Context(), reqs[0])
		return err
	}
	for _, tc := range []struct {
		at   time.Duration
		want failure.Kind
	}{{0, failure.KindLater}, {23 * time.Hour, failure.KindLater}, {25 * time.Hour, failure.KindFailed}, {70 * time.Hour, failure.KindFailed}} {
		c.step(tc.at)
		if err := renew(); failure.KindOf(err) != tc.want || (tc.want == failure.KindFailed) != strings.Contains(err.Error(), "has been waiting since") {
			t.Errorf("after %s: kind %d, want %d: %v", tc.at, failure.KindOf(err), tc.want, err)
		}
		w.forgetAtCA(tc.at == 23*time.Hour)
		if len(w.entries("orders")) != 1 {
			t.Fatalf("orders: %v", w.entries("orders"))
		}
	}
	if store.Exists(hooked) {
		t.Error("the fail hook ran although the order continues")
	}
	own := w.request(alice)
	own.Timeout = time.Second
	if _, err := w.issuer(late).Obtain(t.Context(), own); failure.KindOf(err) != failure.KindLater {
		t.Errorf("ordered by hand: %v", err)
	}
}

// forgetAtCA makes the CA forget the order on disk.
func (w *world) forgetAtCA(yes bool) {
	w.t.Helper()
	path := w.dir.Path("orders", alice+".json")
	o, err := store.ReadOrder(path)
	if err != nil || o == nil {
		w.t.Fatal(err)
	}
	if yes {
		o.URL += "-gone"
		if err := store.Write(path, o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// storeMany puts n certificates into certs/ that are not due.
func storeMany(t testing.TB, dir *state.Dir, n int) {
	t.Helper()
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	for k := range n {
		email := fmt.Sprintf("user%05d@example.test", k)
		path := dir.Path("certs", email)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		r := &store.Renewal{
			Version: store.Version, Settings: store.Settings{Emails: []string{email}, Server: "https://127.0.0.1:1/directory", KeyType: "p256"},
			Serial: fmt.Sprint(k), Fingerprint: strings.Repeat("0", 64), CertID: "x.y", NotBefore: now.Add(-day), NotAfter: now.Add(89 * day),
		}
		data := fmt.Appendf(nil, `{"version":1,"emails":[%q],"server":%q,"key-type":"p256","passphrase":{},"serial":%q,"sha256":%q,"cert-id":"x.y","not-before":%q,"not-after":%q,"ask-after":%q}`,
			email, r.Server, r.Serial, r.Fingerprint, r.NotBefore.Format(time.RFC3339), r.NotAfter.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339))
		if err := os.WriteFile(filepath.Join(path, store.RenewalFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkRenewNothingDue is "postseal renew" over 10,000 certificates.
func BenchmarkRenewNothingDue(b *testing.B) {
	dir := state.Open(filepath.Join(b.TempDir(), "state"))
	storeMany(b, dir, 10_000)
	for b.Loop() {
		reqs, err := New(Options{Dir: dir}).DueRequests(context.Background(), Renewal{})
		if err != nil || len(reqs) != 0 {
			b.Fatal(len(reqs), err)
		}
	}
}

// The CA recalls 1,500 certificates, with a window of two days: postseal asks for each at its
// own time, at most eight at once, and each is due at its own moment in the window. A run
// that ends in the middle has not asked in vain.
func TestRecallIsSpread(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	const n = 1500
	now := time.Now()
	var asked, atOnce, most atomic.Int32
	ask := func(ca http.Handler) http.Handler {
		return http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			if !strings.HasPrefix(in.URL.Path, "/acme/renewal-info/") {
				ca.ServeHTTP(out, in)
				return
			}
			asked.Add(1)
			for here, top := atOnce.Add(1), most.Load(); here > top && !most.CompareAndSwap(top, here); top = most.Load() {
			}
			defer atOnce.Add(-1)
			out.Header().Set("Retry-After", "86400")
			fmt.Fprintf(out, `{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":"https://ca.example/incident"}`,
				now.UTC().Format(time.RFC3339), now.Add(2*day).UTC().Format(time.RFC3339))
		})
	}
	w := newWorld(t, testca.Config{Tamper: ask})
	if _, err := w.dir.Create(); err != nil {
		t.Fatal(err)
	}
	for k := range n {
		addr := fmt.Sprintf("user%d@example.test", k)
		must(t, os.Mkdir(w.dir.Path("certs", addr), 0o700))
		must(t, store.Write(w.dir.Path("certs", addr, store.RenewalFile), &store.Renewal{
			Version: store.Version, Settings: w.request(addr).Settings, Serial: fmt.Sprint(k), Fingerprint: addr, CertID: fmt.Sprintf("a.%d", k),
			NotBefore: now.Add(-day), NotAfter: now.Add(89 * day),
		}))
	}
	due := func(ctx context.Context, after time.Duration) int {
		i := w.issuer(func(o *Options) { o.Now = func() time.Time { return now.Add(after) } })
		reqs, err := i.DueRequests(ctx, Renewal{})
		must(t, err)
		return len(reqs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.onStep = func(Step) {
		if asked.Load() > n/3 {
			cancel()
		}
	}
	due(ctx, 0)
	w.onStep = nil
	if before := asked.Load(); before >= n {
		t.Fatalf("%d asked before the run was ended", before)
	}
	if first := due(t.Context(), time.Minute); first > n/100 || asked.Load() > n+8 || most.Load() > askersAtOnce {
		t.Errorf("%d due at once, %d asked, %d at a time", first, asked.Load(), most.Load())
	}
	if half := due(t.Context(), 20*time.Hour); half < n/3 || half > n/2 {
		t.Errorf("after 20 of 48 hours %d are due", half)
	}
	if asked.Load() > n+8 {
		t.Errorf("%d asked within the day", asked.Load())
	}
}
