package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Every known habit of a CA is a row here: the order must end with a certificate, whatever
// freedom of the RFCs the CA uses.
func TestHabits(t *testing.T) {
	arrival := testca.ValidateOnArrival
	tests := map[string]struct {
		cfg    testca.Config
		change func(*Request)
	}{
		"ready at once":               {cfg: testca.Config{AlwaysReady: true}},
		"mail at newOrder":            {cfg: testca.Config{MailTrigger: testca.MailOnOrder, Validate: arrival}},
		"mail at newOrder, POST":      {cfg: testca.Config{MailTrigger: testca.MailOnOrder}},
		"mail at the authorization":   {cfg: testca.Config{MailTrigger: testca.MailOnAuthz}},
		"mail after POST, told so":    {cfg: testca.Config{MailTrigger: testca.MailOnPost}, change: func(r *Request) { r.Trigger = "post" }},
		"mail after POST, by arrival": {cfg: testca.Config{MailTrigger: testca.MailOnPost, Validate: arrival}, change: func(r *Request) { r.Trigger = "post" }},
		"trigger reply":               {cfg: testca.Config{}, change: func(r *Request) { r.Trigger = "reply" }},
		"mail twice":                  {cfg: testca.Config{MailCopies: 3, Validate: arrival}},
		"pending after POST":          {cfg: testca.Config{PostAnswer: "pending"}},
		"processing after POST":       {cfg: testca.Config{PostAnswer: "processing"}},
		"finalize processing":         {cfg: testca.Config{Processing: 150 * time.Millisecond}},
		"finalize with Retry-After":   {cfg: testca.Config{Processing: 150 * time.Millisecond, RetryAfter: time.Second}},
		"finalize 500, transient":     {cfg: testca.Config{FinalizeErrors: 4}},
		"identifiers lowered":         {cfg: testca.Config{IdentifierCase: "lower"}, change: func(r *Request) { r.Emails = []string{"Alice@Example.test"} }},
		"identifiers in capitals":     {cfg: testca.Config{IdentifierCase: "upper"}},
		"no subject":                  {cfg: testca.Config{EmptySubject: true}},
		"clientAuth beside":           {cfg: testca.Config{ClientAuth: true}},
		"no emailProtection, signing": {cfg: testca.Config{OmitEKU: true}, change: func(r *Request) { r.Usages = []string{"digitalSignature"} }},
		"no emailProtection, both":    {cfg: testca.Config{OmitEKU: true}, change: func(r *Request) { r.Usages = []string{"digitalSignature", "keyAgreement"} }},
		"certbot":                     {cfg: testca.Config{Certbot: true}, change: func(r *Request) { r.Compat = []string{"certbot"} }},
		"serial": {cfg: testca.Config{Serial: true}, change: func(r *Request) {
			r.Compat, r.Emails = []string{"serial"}, []string{"a@x.test", "b@x.test", "c@x.test"}
		}},
		"several addresses":             {cfg: testca.Config{}, change: func(r *Request) { r.Emails = []string{"a@x.test", "b@x.test", "c@x.test"} }},
		"tokens joined as bytes":        {cfg: testca.Config{Join: testca.JoinBytes, Part1Bytes: 20}, change: func(r *Request) { r.TokenJoin = "bytes" }},
		"tokens joined as strings":      {cfg: testca.Config{Join: testca.JoinString, Part1Bytes: 20}},
		"padded part1":                  {cfg: testca.Config{PadPart1: true, Part1Bytes: 32}},
		"nonces refused":                {cfg: testca.Config{BadNonce: 0.1, Seed: 7}},
		"one From for all":              {cfg: testca.Config{SharedFrom: true}},
		"no ARI":                        {cfg: testca.Config{NoARI: true}},
		"no terms":                      {cfg: testca.Config{NoTerms: true}},
		"a profile":                     {cfg: testca.Config{Profiles: map[string]string{"smime": "for mail"}}, change: func(r *Request) { r.Profile = "smime" }},
		"non-ASCII local part":          {cfg: testca.Config{}, change: func(r *Request) { r.Emails = []string{"jörg@example.test"} }},
		"non-ASCII domain":              {cfg: testca.Config{}, change: func(r *Request) { r.Emails = []string{"jo@bücher.test"} }},
		"RSA for encryption, legacy":    {cfg: testca.Config{AlwaysReady: true}, change: func(r *Request) { r.KeyType, r.Usages, r.P12 = "rsa2048", []string{"keyEncipherment"}, "legacy" }},
		"P-384 for both":                {cfg: testca.Config{AlwaysReady: true}, change: func(r *Request) { r.KeyType, r.Usages = "p384", []string{"digitalSignature", "keyAgreement"} }},
		"rate limit at the directory":   {cfg: testca.Config{Faults: []testca.Fault{{Kind: "directory", Type: testca.FaultRateLimit, Count: 1}}}},
		"rate limit at newOrder":        {cfg: testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultRateLimit, Count: 1}}}},
		"overload at the certificate":   {cfg: testca.Config{Faults: []testca.Fault{{Kind: "certificate", Type: testca.FaultDown, Count: 1}}}},
		"broken connection at newOrder": {cfg: testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultDrop, Count: 1}}}},
		"500 at the authorization":      {cfg: testca.Config{Faults: []testca.Fault{{Kind: "authz", Type: testca.FaultError, Count: 1}}}},
		"500 at the challenge":          {cfg: testca.Config{Faults: []testca.Fault{{Kind: "challenge", Type: testca.FaultError, Count: 4}}}},
		"broken download":               {cfg: testca.Config{Faults: []testca.Fault{{Kind: "certificate", Type: testca.FaultDrop, Count: 1}}}},
		"rate limit at finalize":        {cfg: testca.Config{Faults: []testca.Fault{{Kind: "finalize", Type: testca.FaultRateLimit, Count: 1}}}},
		"overload at finalize":          {cfg: testca.Config{Faults: []testca.Fault{{Kind: "finalize", Type: testca.FaultDown, Count: 1}}}},
		"broken connection at finalize": {cfg: testca.Config{Faults: []testca.Fault{{Kind: "finalize", Type: testca.FaultDrop, Count: 4}}}},
		"ARI fails":                     {cfg: testca.Config{Faults: []testca.Fault{{Kind: "renewal-info", Type: testca.FaultError}}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.cfg)
			req := w.request(alice)
			if tc.change != nil {
				tc.change(&req)
			}
			res := w.obtain(req)
			if !cert.SameAddresses(res.Emails, req.Emails) || res.P12 == "" {
				t.Errorf("got %+v", res)
			}
			if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
			if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 1 {
				t.Errorf("%d orders", orders)
			}
		})
	}
}

// An order that cannot succeed ends with exit status 1, the CA's words, a hint, and nothing
// on disk.
func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		cfg        testca.Config
		change     func(*Request)
		text, hint string
	}{
		"wrong join":       {cfg: testca.Config{Join: testca.JoinBytes, Part1Bytes: 17}, text: "authorization for alice@example.test is invalid: the CA says", hint: failure.JoinBytes},
		"wrong join, mute": {cfg: testca.Config{Join: testca.JoinBytes, Part1Bytes: 17, MuteErrors: true}, text: "the CA does not say why", hint: failure.JoinBytes},
		"dead order":       {cfg: testca.Config{FinalizeFatal: true, AlwaysReady: true}, text: "invalid", hint: failure.OtherKind},
		"certbot CA":       {cfg: testca.Config{Certbot: true}, text: "the CA says", hint: failure.OtherRequest},
		"unknown profile":  {cfg: testca.Config{}, change: func(r *Request) { r.Profile = "none" }, text: "profile"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.cfg)
			req := w.request(alice)
			if tc.change != nil {
				tc.change(&req)
			}
			_, err := w.issuer().Obtain(t.Context(), req)
			if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), tc.text) || !strings.Contains(failure.HintOf(err), tc.hint) {
				t.Errorf("exit %d: %v; hint %q", failure.KindOf(err), err, failure.HintOf(err))
			}
			if left := slices.Concat(w.entries("orders"), w.entries("pending"), w.entries("certs")); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// An order at a CA that breaks the rules ends: the next run would meet the same answer.
func TestForeignAuthorizations(t *testing.T) {
	for text, change := range map[string]func(list []any) []any{
		"the CA wants 3 authorizations for alice@example.test, bob@example.test": func(list []any) []any { return append(list, list[0]) },
		"the CA wants two authorizations for ":                                   func(list []any) []any { return []any{list[0], list[0]} },
		"the CA wants 0 authorizations for alice@example.test, bob@example.test": func([]any) []any { return []any{} },
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{Tamper: tamper(func(resource string, r *httptest.ResponseRecorder) {
				var order struct{ Authorizations []any }
				if resource == "new-order" && json.Unmarshal(r.Body.Bytes(), &order) == nil && len(order.Authorizations) > 0 {
					setJSON(r, []any{"authorizations"}, change(order.Authorizations))
				}
			})})
			_, err := w.issuer().Obtain(t.Context(), w.request(alice, "bob@example.test"))
			if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), text) {
				t.Errorf("exit %d: %v", failure.KindOf(err), err)
			}
			if left := slices.Concat(w.entries("orders"), w.entries("pending")); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// A page in place of the certificate ends the run, but the order stays: the next run fetches
// its certificate.
func TestPageAtTheDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Faults: []testca.Fault{{Kind: "certificate", Type: testca.FaultHTML, Count: 1}}})
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "downloading the certificate: ") || !strings.Contains(err.Error(), "text/html") {
		t.Errorf("exit %d: %v", failure.KindOf(err), err)
	}
	w.obtain(w.request(alice))
	if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 1 {
		t.Errorf("%d orders", orders)
	}
}

func TestAccountRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{RequireEAB: true})
	obtain := func(change func(*Options)) error {
		_, err := w.issuer(change).Obtain(t.Context(), w.request(alice))
		return err
	}
	err := obtain(func(o *Options) { o.Account.AgreeTerms = false })
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "https://") || !strings.Contains(failure.HintOf(err), failure.AgreeToTerms) {
		t.Errorf("terms: %v", err)
	}
	if err := obtain(func(*Options) {}); !strings.Contains(failure.HintOf(err), failure.BindAccount) {
		t.Errorf("no binding: %v", err)
	}
	file := filepath.Join(t.TempDir(), "hmac")
	for _, change := range []func(*Options){func(o *Options) { o.Account.EABKid = "kid" }, func(o *Options) { o.Account.EABKeyFile = file }} {
		if err := obtain(change); failure.KindOf(err) != failure.KindUsage || failure.HintOf(err) != failure.BindAccount {
			t.Errorf("half a binding: %v", err)
		}
	}
	good := w.ca.EAB.HMACKey + "\n"
	for _, content := range []string{"!!!", "AAAA", good} { // the good one last: with an account, nobody reads the file
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := obtain(func(o *Options) { o.Account.EABKid, o.Account.EABKeyFile = w.ca.EAB.KeyID, file })
		if ok := content == good; (err == nil) != ok || w.accountMade() != ok {
			t.Errorf("%q: %v", content, err)
		}
	}
	if left := w.entries("orders"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func (w *world) accountMade() bool {
	return len(w.entries("accounts")) == 1 && store.Exists(filepath.Join(w.accountDir(), accountName))
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	down := w.request(alice)
	down.Server = "https://127.0.0.1:1/directory"
	untrusted := w.request(alice)
	untrusted.CABundle = ""
	wrong := w.request(alice)
	host, _, _ := strings.Cut(strings.TrimPrefix(w.ca.DirectoryURL, "https://"), "/")
	wrong.Server = "https://" + host + "/nothing-here"
	for req, want := range map[*Request][2]string{
		&down:      {"cannot reach", failure.CheckNetwork},
		&untrusted: {"not trusted", failure.TrustRoot},
		&wrong:     {"reading the directory", ""},
	} {
		_, err := w.issuer().Obtain(t.Context(), *req)
		if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), want[0]) || !strings.Contains(failure.HintOf(err), want[1]) {
			t.Errorf("%s: %v; hint %q", req.Server, err, failure.HintOf(err))
		}
	}
	for _, dir := range []string{"orders", "pending", "accounts", "certs"} {
		if left := w.entries(dir); len(left) != 0 {
			t.Errorf("%s: %v", dir, left)
		}
	}
}

// A CA that mails only after POST, at trigger auto: hint, POST, success, and the next order
// posts at once. A command forgets what was learned, without asking the CA.
func TestLearnsMailAfterPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{MailTrigger: testca.MailOnPost, Part1Bytes: 17})
	impatient := func(o *Options) { o.Timing = Timing{Hint: time.Millisecond, Post: 1100 * time.Millisecond} }
	if _, err := w.issuer(impatient).Obtain(t.Context(), w.request(alice)); err != nil {
		t.Fatal(err)
	}
	if !w.said(StepHint, failure.TriggerPost) {
		t.Error("no hint before the POST")
	}
	if got := w.taught(); !got.MailAfterPost {
		t.Fatalf("%+v", got)
	}
	w.obtain(w.request("bob@example.test")) // would wait for ten minutes otherwise

	// The tokens were joined wrongly, and the mail followed the POST: this proves nothing.
	wrong := w.request("carol@example.test")
	wrong.TokenJoin = "bytes"
	if _, err := w.issuer().Obtain(t.Context(), wrong); failure.KindOf(err) != failure.KindFailed {
		t.Errorf("%v\n%s%+v", err, w.transcript(), w.ca.Counters())
	}
	if got := w.taught(); !got.MailAfterPost || got.Settle != nil {
		t.Errorf("a wrong join taught %+v", got)
	}

	w.ca.Close()
	if err := w.account().ResetLearned(); err != nil {
		t.Fatal(err)
	}
	if got := w.taught(); got.MailAfterPost {
		t.Errorf("still known: %+v", got)
	}
}

// taught is what we learned about the CA, as on disk.
type taught struct {
	MailAfterPost bool            `json:"mail-after-post,omitempty"`
	Settle        *store.Duration `json:"settle,omitempty"`
	Worked        bool            `json:"settle-worked,omitempty"`
	TooShort      *struct {
		Settle store.Duration `json:"settle"`
	} `json:"too-short,omitempty"`
	Join string `json:"join,omitempty"`
}

func (t taught) settle() time.Duration {
	if t.Settle == nil {
		return 2 * time.Second
	}
	return time.Duration(*t.Settle)
}

func (w *world) taught() (t taught) {
	w.t.Helper()
	must(w.t, json.Unmarshal(w.accountFile()["learned"], &t))
	return t
}

func (w *world) accountFile() map[string]json.RawMessage {
	w.t.Helper()
	var file map[string]json.RawMessage
	must(w.t, json.Unmarshal(mustRead(w.t, filepath.Join(w.accountDir(), accountName)), &file))
	return file
}

// teach writes to disk what we should have learned about the CA.
func (w *world) teach(t taught) {
	w.t.Helper()
	file := w.accountFile()
	var err error
	file["learned"], err = json.Marshal(t)
	must(w.t, err)
	must(w.t, store.Write(filepath.Join(w.accountDir(), accountName), file))
}

// The patience without a mail counts from the order, not from the run: repeating a command
// with a shorter timeout still reaches the POST.
func TestPatienceCountsFromOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{MailTrigger: testca.MailOnPost})
	if !w.killedAt(StepWait, w.request(alice)) {
		t.Fatal("was not killed")
	}
	path := w.dir.Path("orders", alice+".json")
	o, err := store.ReadOrder(path)
	if err != nil {
		t.Fatal(err)
	}
	o.Created = o.Created.Add(-time.Hour)
	if err := store.Write(path, o); err != nil {
		t.Fatal(err)
	}
	w.obtain(w.request(alice)) // within far less than ten minutes
	if got := w.ca.Counters().Events[testca.EventOrder]; got != 1 {
		t.Errorf("%d orders, want 1", got)
	}
}

// A CA looks for the reply at once, while it is still on its way: the order is lost, and the
// next one waits longer before it posts.
func TestLearnsToSettle(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mute bool
		join string
		want string
	}{
		"mute":                  {true, "string", "2s"},
		"it saw no reply":       {false, "string", "2s"},
		"perhaps it's the join": {true, "bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{ReplyWait: 50 * time.Millisecond, MuteErrors: tc.mute})
			w.answerWith(func(w *world, p *state.Pending, _, _, _ string) error {
				claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
				if err != nil {
					return err
				}
				return errors.Join(claim.Sending(), claim.Sent(time.Now())) // greylisted at a later hop
			})
			req := w.request(alice)
			req.TokenJoin = tc.join
			if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindFailed {
				t.Fatalf("%v", err)
			}
			got := ""
			if s := w.taught().Settle; s != nil {
				got = time.Duration(*s).String()
			}
			if got != tc.want {
				t.Errorf("settle %q, want %q", got, tc.want)
			}
		})
	}
}

// At a CA that looks at once the pause becomes shorter with each success. One order at a time
// tries, and a pause that is too short costs only one more order.
func TestLearnsToHurry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	half := store.Duration(400 * time.Millisecond)
	w.obtain(w.request(alice))
	if got := w.taught(); got.Settle != nil || got.Join != "string" {
		t.Errorf("a setting taught %+v", got)
	}
	w.teach(taught{Settle: &half, Worked: true})
	for n, want := range []time.Duration{200, 100, 100} {
		req := w.request(fmt.Sprintf("user%d@example.test", n))
		req.Settle = nil
		w.obtain(req)
		if got := w.taught().settle(); got != want*time.Millisecond {
			t.Errorf("order %d taught %s, want %s", n, got, want*time.Millisecond)
		}
	}

	w = newWorld(t, testca.Config{ReplyWait: 20 * time.Millisecond, MuteErrors: true})
	w.obtain(w.request("first@example.test"))
	w.teach(taught{Settle: &half, Worked: true})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
		if err != nil {
			return err
		}
		err = errors.Join(claim.Sending(), claim.Sent(time.Now()))
		w.answers.Go(func() {
			for w.ca.Counters().Events[testca.EventInvalid] == 0 { // the reply is slower than the first POST
				time.Sleep(time.Millisecond)
			}
			_ = w.mailReply(p, part1, from, to)
		})
		return err
	})
	req := w.request(alice)
	req.Settle = nil
	w.obtain(req)
	if got := w.taught(); got.settle() != 2*time.Second || got.TooShort == nil || time.Duration(got.TooShort.Settle) != 200*time.Millisecond {
		t.Errorf("settle %s, %+v\n%s", got.settle(), got.TooShort, w.transcript())
	}
	if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 3 {
		t.Errorf("%d orders\n%s", orders, w.transcript())
	}
}

// deliverAgain makes the CA deliver its mail a second time.
type deliverAgain struct{}

func (deliverAgain) Error() string   { return "451 try again" }
func (deliverAgain) Temporary() bool { return true }

// postseal reports an SMTP failure at once; a later delivery answers, and the order ends
// well.
func TestFailedReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	first := make(chan struct{}, 1)
	first <- struct{}{}
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		select {
		case <-first:
			claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
			if err != nil {
				return err
			}
			return errors.Join(claim.Sending(), claim.Failed("550 5.7.26 not authenticated", time.Now()), deliverAgain{})
		default:
			return sendReply(w, p, part1, from, to)
		}
	})
	w.obtain(w.request(alice))
	if !w.said(StepNote, "550 5.7.26 not authenticated") {
		t.Errorf("not told:\n%s", w.transcript())
	}
}

// postseal reports a refusal of the mail half at once, and only once if it repeats, and
// nothing ends: the genuine challenge after it is answered. The run does not claim then that
// no mail half exists.
func TestNoteIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		if err := w.dir.Note(p, "refused", "no DKIM signature\x1b[2J by ca.test", time.Now()); err != nil {
			return err
		}
		for !w.said(StepNote, "no DKIM signature") {
			time.Sleep(time.Millisecond)
		}
		status, err := w.issuer().Status()
		if err != nil || len(status.Notes) != 1 || status.Notes[0].Email != alice || status.Notes[0].Verdict != "refused" || status.Notes[0].Count != 1 {
			t.Errorf("status: %+v, %v", status, err)
		}
		return sendReply(w, p, part1, from, to)
	})
	w.obtain(w.request(alice))
	if !w.said(StepNote, `not answered but delivered: no DKIM signature\x1b[2J by`) || !w.said(StepHint, failure.AnswerByHand) {
		t.Errorf("not told:\n%s", w.transcript())
	}
	if left := w.entries("answers"); slices.ContainsFunc(left, func(name string) bool { return strings.HasSuffix(name, ".note.json") }) {
		t.Errorf("the note outlives its record: %v", left)
	}
}

// A compromised mail half can say something else again and again: this fills neither a screen
// nor a log, and the genuine answer still counts.
func TestNotesHaveAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		for n := range 3 * mostTold {
			note, err := json.Marshal(state.NewNote(p.ID, "refused", fmt.Sprintf("reason-%d.", n), time.Now()))
			if err != nil {
				return err
			}
			if err := state.WriteFile(w.dir.Path("answers", p.ID+".note.json"), note, 0o640); err != nil {
				return err
			}
			for !w.said(StepNote, fmt.Sprintf("reason-%d.", n)) && !w.said(StepNote, "are not told") {
				time.Sleep(time.Millisecond)
			}
		}
		return sendReply(w, p, part1, from, to)
	})
	w.obtain(w.request(alice))
	if n := strings.Count(w.transcript(), "reason-"); n != mostTold {
		t.Errorf("told %d reasons, want %d", n, mostTold)
	}
}

// If no mail half was ever seen, the run says so; if a milter runs, it does not.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	for _, seen := range []bool{false, true} {
		w := newWorld(t, testca.Config{MailTrigger: testca.MailOnPost})
		if _, err := w.dir.Create(); err != nil {
			t.Fatal(err)
		}
		if seen {
			if err := w.dir.Alive("mx1.example.test", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		impatient := func(o *Options) { o.Timing = Timing{Alone: time.Millisecond, Post: 1100 * time.Millisecond} }
		if _, err := w.issuer(impatient).Obtain(t.Context(), w.request(alice)); err != nil {
			t.Fatal(err)
		}
		if said := w.said(StepNote, "nothing that could answer was ever seen"); said == seen {
			t.Errorf("a milter was seen: %v; said: %v\n%s", seen, said, w.transcript())
		}
	}
}

// The mail half died after the final dot: the run asks the CA. If the CA has the reply, the
// order goes on; if not, another one follows.
func TestUnknownReply(t *testing.T) {
	t.Parallel()
	for name, arrived := range map[string]bool{"arrived": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{ReplyWait: 50 * time.Millisecond})
			lost := make(chan struct{}, 1)
			lost <- struct{}{}
			w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
				select {
				case <-lost:
				default:
					return sendReply(w, p, part1, from, to)
				}
				claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
				if err != nil {
					return err
				}
				if arrived {
					err = w.mailReply(p, part1, from, to)
				}
				return errors.Join(err, claim.Sending(), claim.Unknown("connection lost", time.Now()))
			})
			w.obtain(w.request(alice))
			want := 1
			if !arrived {
				want = 2
			}
			if got := w.ca.Counters().Events[testca.EventOrder]; got != want {
				t.Errorf("%d orders, want %d\n%s", got, want, w.transcript())
			}
		})
	}
}

// The hint after an invalid authorization suits what the CA says, and not what it does not
// say.
func TestAuthorizationHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if err := w.issuer().prepare(); err != nil {
		t.Fatal(err)
	}
	i := w.issuer()
	c, err := i.ca(w.ca.DirectoryURL, w.bundle)
	must(t, err)
	must(t, i.ready(t.Context(), c))
	posted := time.Now()
	for name, tc := range map[string]struct {
		detail, trigger string
		interactive     *Interactive // an answer without a record
		want            string
	}{
		"no signature":          {detail: "no DKIM signature passes", interactive: &Interactive{}, want: failure.CheckSignature},
		"a digest":              {detail: "the digest is wrong", interactive: &Interactive{}, want: failure.JoinBytes},
		"mute":                  {interactive: &Interactive{}, want: failure.JoinBytes},
		"posted at once":        {detail: "no reply had arrived", trigger: "post", want: failure.TriggerReply},
		"posted at once, mute":  {trigger: "post", want: failure.TriggerReply},
		"late":                  {detail: "no reply had arrived", interactive: &Interactive{}, want: "is longer"},
		"nothing left from her": {detail: "something else", want: failure.SeeWhatCame},
		"something else":        {detail: "the moon is full", interactive: &Interactive{}, want: ""},
	} {
		r := &run{i: i, ca: c, req: Request{Interactive: tc.interactive, Settings: store.Settings{Trigger: tc.trigger}}}
		got := r.authzHint(&store.Challenge{ID: "X", Email: alice, Posted: posted}, acme.Problem{Detail: tc.detail})
		if !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
