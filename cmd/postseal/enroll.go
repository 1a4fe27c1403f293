package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/issuer"
	"postseal/issuer/enroll"
)

// enrollCmd are the flags of "postseal enroll".
type enrollCmd struct {
	Plan       bool   `env:"-" help:"Show what would be done about each address, and why, and do nothing."`
	AcceptGone bool   `env:"-" help:"Accept a source that has lost more than max-gone, or all, this time."`
	Domain     string `env:"-" placeholder:"D" help:"Only the [[enroll]] table of this domain."`
	Source     string `env:"-" placeholder:"CMD" help:"With --domain: read the addresses from this instead: a command, file:PATH, or -."`

	accountFlags
	orderFlags
	RevokeHook string `placeholder:"CMD" help:"Run this after each revocation."`
}

// enrollJSON is the JSON document of enroll. The names are stable.
type enrollJSON struct {
	Tables  []enroll.Report   `json:"tables"`
	Results []result          `json:"results"` // of the orders
	Revoked []*issuer.Revoked `json:"revoked"`
}

// enrollment is a run of enroll.
type enrollment struct {
	*enrollCmd
	s     *session
	start time.Time
	book  *enroll.Book
	parts []*part

	revoked []*issuer.Revoked
	failed  error // the first failure of a revocation
}

// part is what a run does about one table.
type part struct {
	enroll.Table
	list   enroll.Source
	memory enroll.Memory
	steps  []enroll.Step
	err    error // nothing is done, and this is why
	saved  time.Time
}

func (c *enrollCmd) run(ctx context.Context, s *session, file *cli.File) error {
	debug.SetGCPercent(50) // 100,000 addresses are in memory twice for a moment
	tables, err := c.tables(s, file)
	if err != nil {
		return err
	}
	if err := c.orderFlags.check(); err != nil {
		return err
	}
	if err := s.account(c.accountFlags.options()); err != nil {
		return err
	}
	if !c.Plan {
		unlock, err := s.issuer.LockEnrollment()
		if err != nil {
			return err
		}
		defer unlock()
	}
	e := &enrollment{enrollCmd: c, s: s, start: now()}
	if err := e.plan(ctx, tables); err != nil {
		return err
	}
	if c.Plan {
		return e.show()
	}
	return e.do(ctx)
}

// tables returns those to go through: all, or that of --domain.
func (c *enrollCmd) tables(s *session, file *cli.File) ([]enroll.Table, error) {
	if c.Source != "" && c.Domain == "" {
		return nil, failure.Usage("say whose addresses they are with --domain", "--source needs --domain")
	}
	var tables []enroll.Table
	for _, t := range file.Enroll {
		tables = append(tables, enroll.Table{
			Domain: t.Domain, Source: t.Source, Kinds: t.Kinds, Exclude: t.Exclude, Gone: t.Gone, Grace: t.Grace,
			MaxGone: t.MaxGone, NewPerRun: t.NewPerRun,
		})
	}
	var err error
	if c.Domain != "" {
		if tables, err = enroll.With(tables, c.Domain, c.Source); err != nil {
			return nil, err
		}
	}
	if len(tables) == 0 {
		return nil, failure.Config("see [[enroll]] in postseal.toml(5), or give --domain and --source", "there is no [[enroll]] table")
	}
	if err := enroll.Check(tables, slices.Collect(maps.Keys(s.opts.Kinds))); err != nil {
		return nil, err
	}
	if c.Domain != "" {
		tables = slices.DeleteFunc(tables, func(t enroll.Table) bool { return !t.IsFor(c.Domain) })
	}
	return tables, nil
}

// plan reads all sources, and plans.
func (e *enrollment) plan(ctx context.Context, tables []enroll.Table) (err error) {
	if e.book, err = enroll.Open(e.s.opts.Dir.Path()); err != nil {
		return err
	}
	for _, t := range tables {
		p := &part{Table: t}
		e.parts = append(e.parts, p)
		if p.list, p.err = enroll.ReadSource(ctx, t, os.Stdin); failure.KindOf(p.err) == failure.KindLater {
			return p.err
		}
	}
	have, err := e.s.issuer.Holdings() // after the sources, which may take their time
	if err != nil {
		return err
	}
	for _, p := range e.parts {
		if p.err == nil {
			p.memory, p.err = e.book.Memory(p.Table, p.list)
		}
		if p.err == nil {
			p.memory, p.steps, p.err = enroll.Plan(e.start, p.Table, e.AcceptGone, p.list, p.memory, have)
		}
	}
	return nil
}

func (e *enrollment) reports() (all []enroll.Report) {
	for _, p := range e.parts {
		all = append(all, enroll.NewReport(p.Table, p.list, p.steps, p.err))
	}
	return all
}

// show ends a run of --plan.
func (e *enrollment) show() error {
	reports := e.reports()
	if e.s.JSON {
		if err := printJSON(enrollJSON{reports, []result{}, []*issuer.Revoked{}}); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			_ = r.Write(os.Stdout)
		}
	}
	if err := e.refused(); err != nil || slices.ContainsFunc(reports, enroll.Report.Does) {
		return err
	}
	return failure.NotDue("", errors.New(""))
}

// refused returns the error of the tables of which nothing is done.
func (e *enrollment) refused() (first error) {
	for _, p := range e.parts {
		if p.err != nil && first != nil {
			e.s.voice.say("postseal: " + cli.OneLine(p.err.Error()))
		}
		first = cmp.Or(first, p.err)
	}
	return first
}

// do does what is planned. What renewals leave alone is on disk before anything else.
func (e *enrollment) do(ctx context.Context) error {
	for _, p := range e.parts {
		if p.err == nil {
			p.err = e.book.Save(p.memory)
			p.saved = time.Now()
		}
		if p.err != nil {
			p.steps = nil
		}
	}
	for _, p := range e.parts {
		for _, step := range p.steps {
			e.leave(ctx, p, step)
		}
	}
	t := e.order(ctx)
	for _, p := range e.parts {
		if p.err == nil {
			p.err = e.book.Save(p.memory)
		}
	}
	return e.end(t)
}

// leave does what there is to do about the certificate or order of somebody who has left.
func (e *enrollment) leave(ctx context.Context, p *part, step enroll.Step) {
	if ctx.Err() != nil {
		return
	}
	var err error
	switch step.Action {
	case enroll.ActionCancel:
		err = e.s.issuer.CancelFor(ctx, step.Address, step.Kind, e.s.CABundle)
	case enroll.ActionRevoke:
		var done *issuer.Revoked
		v := issuer.Revocation{Reason: "cessationofoperation", Default: e.s.server(), Hook: e.RevokeHook}
		if done, err = e.s.issuer.RevokeFor(ctx, step.Address, step.Kind, v); done != nil {
			e.tell(done, v.Reason)
		}
	default:
		return
	}
	if err == nil {
		p.memory.Succeeded(step.Address, step.Kind)
		return
	}
	if failure.KindOf(err) != failure.KindLater {
		p.memory.Failed(step.Address, step.Kind, err, e.start)
	}
	e.s.voice.say("postseal: " + step.Address + ": " + cli.OneLine(err.Error()))
	e.failed = cmp.Or(e.failed, err)
}

func (e *enrollment) tell(done *issuer.Revoked, reason string) {
	c := revokeCmd{Reason: reason}
	c.tell(e.s, done)
	e.revoked = append(e.revoked, done)
}

// window is how many orders are taken together, so that those of one address, which follow
// each other, do not stand in each other's way: as many as are in flight, twice.
func (e *enrollment) window() int { return 2 * e.Jobs }

// order makes and resumes the orders of all tables.
func (e *enrollment) order(ctx context.Context) *tally {
	var reqs []issuer.Request
	var of []*part
	base, baseErr := e.base()
	for _, p := range e.parts {
		for _, step := range apart(p.steps, e.window()) {
			req, err := e.request(base, step)
			err = cmp.Or(baseErr, err)
			if err != nil {
				p.err = cmp.Or(p.err, err)
				break
			}
			reqs, of = append(reqs, req), append(of, p)
		}
	}
	return e.s.obtain(ctx, reqs, e.Jobs, func(n int, err error) { e.note(of[n], &reqs[n], err) })
}

// base returns what all orders have in common.
func (e *enrollment) base() (issuer.Request, error) {
	req, err := e.orderFlags.request(e.s, e.s.server())
	e.s.provenance(&req)
	req.Asked, req.Unattended = nil, true
	return req, err
}

// request returns what to order for a step.
func (e *enrollment) request(req issuer.Request, step enroll.Step) (issuer.Request, error) {
	req.Emails, req.Newcomer = []string{step.Address}, step.Action == enroll.ActionOrder
	if step.Kind != "" {
		return e.s.ofKind(req, step.Kind)
	}
	return req, nil
}

// apart returns the orders of a plan, with those of different kinds apart. Those that are
// resumed come last: what they wait for may never come, and newcomers must not wait for it.
func apart(steps []enroll.Step, window int) []enroll.Step {
	var fresh, resumed []enroll.Step
	for _, step := range steps {
		switch step.Action {
		case enroll.ActionOrder:
			fresh = append(fresh, step)
		case enroll.ActionResume:
			resumed = append(resumed, step)
		}
	}
	byKind := func(a, b enroll.Step) int { return strings.Compare(a.Kind, b.Kind) }
	for some := range slices.Chunk(fresh, window) {
		slices.SortStableFunc(some, byKind)
	}
	return append(fresh, resumed...)
}

// saveAfter is how long what came of orders may be known to this process alone. Should it
// be killed, a failed order is tried again before its time.
const saveAfter = 2 * time.Second

// note remembers what came of an order.
func (e *enrollment) note(p *part, req *issuer.Request, err error) {
	switch {
	case err == nil, failure.KindOf(err) == failure.KindNotDue:
		p.memory.Succeeded(req.Emails[0], req.Kind)
	case issuer.FailedItself(err):
		p.memory.Failed(req.Emails[0], req.Kind, err, e.start)
	default:
		return
	}
	if now := time.Now(); p.err == nil && now.Sub(p.saved) > saveAfter {
		p.err = e.book.Save(p.memory)
		p.saved = now
	}
}

// end says what came of the run.
func (e *enrollment) end(t *tally) error {
	reports := e.reports()
	if e.s.JSON {
		if err := printJSON(enrollJSON{reports, t.all, append([]*issuer.Revoked{}, e.revoked...)}); err != nil {
			return err
		}
	} else {
		e.summary(reports)
		t.summary()
	}
	err := cmp.Or(e.refused(), e.failed)
	if t.total > 0 {
		err = cmp.Or(err, t.err())
	}
	if failure.KindOf(err) == failure.KindNotDue {
		return nil
	}
	if err == nil && t.total == 0 && !slices.ContainsFunc(reports, enroll.Report.Does) {
		return e.s.nothing("nothing to do")
	}
	return err
}

// summary says a line about each table that had anything to do.
func (e *enrollment) summary(reports []enroll.Report) {
	for n, r := range reports {
		if p := e.parts[n]; p.err == nil && (r.Does() || e.s.Verbose) {
			fmt.Println(r.Line())
		}
	}
}
