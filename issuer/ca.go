package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/issuer/store"
	"postseal/state"
)

// CASettings say how to deal with one CA, where a Request does not. Empty fields
// mean the default.
type CASettings struct {
	TokenJoin string // auto | string | bytes
	Trigger   string // auto | reply | post
	Settle    string // a duration
	Compat    []string
	Policy    state.Policy
}

// ca is one CA and our account there.
type ca struct {
	issuer *Issuer
	server string     // URL of the directory
	table  CASettings // what the configuration file says of it
	client *acme.Client
	http   *http.Client

	dirMu sync.Mutex // held while the directory is asked for
	dir   *acme.Directory

	mu      sync.Mutex
	account *account
	resume  time.Time // no request before it: the CA asked for a pause
}

// caKey tells CAs apart. The roots count: one certificate's may be wrong, and another's
// right.
type caKey struct{ server, bundle string }

// ca returns the CA with that directory, the same for all orders of a run. Whoever asks a
// CA for anything comes here. Its roots are the system's, those of the run, and those in
// bundle, which a certificate remembers: they add up, since each may be the one that a CA
// needs.
func (i *Issuer) ca(server, bundle string) (*ca, error) {
	if err := CheckServer(server); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	key := caKey{server, bundle}
	if c, ok := i.cas[key]; ok {
		return c, nil
	}
	hc, err := newHTTPClient([]string{bundle, i.CABundle}, userAgent(i.Version), func(text string) { i.step(StepHTTP, "", "", text) })
	if err != nil {
		return nil, err
	}
	c := &ca{issuer: i, server: server, http: hc, client: &acme.Client{
		Directory: server, HTTPClient: hc, UserAgent: userAgent(i.Version),
		PollTimeout: time.Nanosecond, // finalize once: we poll ourselves
	}}
	if i.CA != nil {
		c.table = i.CA(server)
	}
	i.cas[key] = c
	return c, nil
}

// CheckServer refuses what is no https URL of a directory.
func CheckServer(server string) error {
	if !https.URL(server) {
		return failure.In("server", failure.Usage("give the https URL of an ACME directory", "%q is not an https URL", server))
	}
	return nil
}

// directory returns the CA's directory, asked for once.
func (c *ca) directory(ctx context.Context) (*acme.Directory, error) {
	c.dirMu.Lock()
	defer c.dirMu.Unlock()
	if c.dir != nil {
		return c.dir, nil
	}
	var dir acme.Directory
	err := c.do(ctx, "reading the directory", func(ctx context.Context) (err error) {
		dir, err = c.client.GetDirectory(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if dir.Meta == nil {
		dir.Meta = new(acme.DirectoryMeta)
	}
	c.dir = &dir
	return c.dir, nil
}

// join returns how this CA joins the two parts of a token.
func (c *ca) join(setting string) string {
	for _, s := range []string{setting, c.table.TokenJoin} {
		if s == "string" || s == "bytes" {
			return s
		}
		if s == "auto" {
			break
		}
	}
	return c.autoJoin()
}

func (c *ca) autoJoin() string {
	if host := hostOf(c.server); host == "castle.cloud" || strings.HasSuffix(host, ".castle.cloud") {
		return "bytes"
	}
	return "string"
}

// trigger returns when to POST: the setting, else the CA's table, else what this
// CA has taught.
func (c *ca) trigger(setting string) string {
	for _, s := range []string{setting, c.table.Trigger} {
		if s == "reply" || s == "post" {
			return s
		}
		if s == "auto" {
			break
		}
	}
	if c.account.learned(c.issuer.now()).MailAfterPost {
		return "post"
	}
	return "auto"
}

// defaultSettle is the pause between our reply and the POST at a CA that has
// taught nothing.
const defaultSettle = 2 * time.Second

// settle returns that pause, and whether it is a setting.
func (c *ca) settle(setting *store.Duration) (pause time.Duration, given bool) {
	if setting != nil {
		return time.Duration(*setting), true
	}
	if d, err := time.ParseDuration(c.table.Settle); err == nil {
		return d, true
	}
	return c.account.learned(c.issuer.now()).settle(), false
}

// do makes one request. A CA that says "not now" (429, or 503 with Retry-After) is
// waited for as long as it says, if the deadline allows: a limit slows down and does
// not fail. All orders at this CA wait with it, and none elsewhere.
func (c *ca) do(ctx context.Context, what string, request func(context.Context) error) error {
	if _, ok := ctx.Deadline(); ok {
		return c.doUntil(ctx, what, request)
	}
	bounded, cancel := context.WithTimeout(ctx, DefaultTimeout) // a CA may ask for a pause of years
	defer cancel()
	err := c.doUntil(bounded, what, request)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return failure.Later("run the same command again later", "%s: the CA has not answered within %s", what, shortDuration(DefaultTimeout))
	}
	return err
}

// doUntil is do for a context with a deadline.
func (c *ca) doUntil(ctx context.Context, what string, request func(context.Context) error) error {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		if err := c.waitTurn(ctx); err != nil {
			return err
		}
		callCtx, stop := context.WithCancel(ctx)
		reqCtx, x := withExchange(callCtx, stop)
		err := request(reqCtx)
		stop()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if silent := x.silence(); err != nil && silent != nil {
			err = silent
		}
		status, wait := x.last()
		if err == nil || !putsOff(status, wait) {
			return c.explain(what, err)
		}
		if wait, err = c.putOff(ctx, what, x.why(), wait, pause); err != nil {
			return err
		}
		c.pause(wait)
	}
}

// putOff returns how long to wait for a CA that says "not now", and says so in the
// CA's words; or an error if that is too long.
func (c *ca) putOff(ctx context.Context, what, why string, asked, pause time.Duration) (time.Duration, error) {
	wait, how := asked, "waiting "+shortDuration(asked)+" as it asks"
	if asked == 0 {
		wait, how = pause, "it names no time: trying again in "+shortDuration(pause)
	}
	says := fmt.Sprintf("%s at %s: the CA says %s", what, hostOf(c.server), why)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		if asked == 0 {
			return 0, failure.Later("run the same command again later", "%s", says)
		}
		return 0, failure.Later("run the same command again then", "%s; it asks to wait %s, which is longer than the timeout allows", says, shortDuration(asked))
	}
	c.issuer.step(StepNote, "", "", says+"; "+how)
	return wait, nil
}

func (c *ca) pause(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(c.resume) {
		c.resume = until
	}
}

func (c *ca) waitTurn(ctx context.Context) error {
	for {
		c.mu.Lock()
		wait := time.Until(c.resume)
		c.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		if err := pauseFor(ctx, wait); err != nil {
			return err
		}
	}
}

// pauseFor waits for d or the end of the context.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// errPending is what a poll returns while there is nothing final yet.
var errPending = errors.New("still pending")

// poll asks until the answer is final: look returns errPending until then. The
// first pause is 100 ms, each one half as long again up to 10 s, and never
// shorter than the CA's Retry-After. What is transient is asked again.
func (c *ca) poll(ctx context.Context, what string, look func(context.Context) error) error {
	p := newPace()
	for {
		ctx, x := withExchange(ctx, nil)
		err := c.do(ctx, what, look)
		status, after := x.last()
		if !errors.Is(err, errPending) && !(err != nil && failure.KindOf(err) != failure.KindLater && transient(err, status)) {
			return err
		}
		if err := pauseFor(ctx, p.next(after)); err != nil {
			return err
		}
	}
}

// pace is the sequence of pauses between looks at the CA.
type pace struct{ last, most time.Duration }

const firstPoll = 100 * time.Millisecond

func newPace() *pace { return &pace{most: 10 * time.Second} }

// next returns the next pause, at least as long as the server asked for.
func (p *pace) next(atLeast time.Duration) time.Duration {
	if p.last == 0 {
		p.last = firstPoll
	} else {
		p.last = min(p.last*3/2, p.most)
	}
	return max(p.last, atLeast)
}
