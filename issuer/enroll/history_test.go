package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/state"
)

// site is a mail server, its CA and a run of enroll each day. A run may be killed between
// any two of its actions.
type site struct {
	*testing.T
	*rand.Rand
	dir       string // "" for one in memory: to wait for a disk takes nearly all the time
	saved     []byte
	table     Table
	now       time.Time
	mailboxes map[string]bool             // the truth
	certs     map[string]map[string]State // by address and kind
	failing   float64                     // share of orders that fail
	killing   float64                     // share of actions after which the run is killed
	gone      map[string]time.Time        // since what accepted run an address is missing
	seen      map[string]bool             // in an accepted list
	history   []string
}

func newSite(t *testing.T, seed uint64, settings string) *site {
	return &site{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), table: table(t, settings), now: now,
		mailboxes: map[string]bool{}, certs: map[string]map[string]State{}, gone: map[string]time.Time{}, seen: map[string]bool{}}
}

func (s *site) chance(p float64) bool { return s.Float64() < p }

func (s *site) wrong(format string, args ...any) {
	s.Helper()
	s.Fatalf("%s\nhistory:\n%s", fmt.Sprintf(format, args...), strings.Join(s.history, "\n"))
}

func (s *site) tell(format string, args ...any) {
	s.history = append(s.history, s.now.Format(time.DateOnly)+" "+fmt.Sprintf(format, args...))
}

// remembered and save are Book, or as good.
func (s *site) remembered(list Source) Memory {
	if s.dir != "" {
		m, err := open(s, s.dir).Memory(s.table, list)
		if err != nil {
			s.wrong("%v", err)
		}
		return m
	}
	f := file{Domain: s.table.Domain}
	if err := json.Unmarshal(s.saved, &f); err != nil && s.saved != nil {
		s.wrong("%v", err)
	}
	return f.memory()
}

func (s *site) save(m Memory) {
	var err error
	if s.dir != "" {
		save(s, s.dir, m)
	} else if s.saved, err = json.Marshal(m.file()); err != nil {
		s.wrong("%v", err)
	}
}

func (s *site) left() map[string]string {
	if s.dir != "" {
		reasons, err := leftIn(s.dir)
		if err != nil {
			s.wrong("%v", err)
		}
		return reasons
	}
	return (&Book{memories: map[string]Memory{"": s.remembered(Source{})}}).Left()
}

var errKilled = errors.New("killed")

// run is a run of enroll, as its caller would write it.
func (s *site) run(accept bool, list Source) error {
	have := Holdings{}
	for addr, kinds := range s.certs {
		for kind, what := range kinds {
			have[addr] = append(have[addr], Held{kind, what})
		}
	}
	m, all, err := Plan(s.now, s.table, accept, list, s.remembered(list), have)
	if err != nil {
		return err
	}
	s.accepted(list)
	if s.chance(s.killing) {
		return errKilled
	}
	s.save(m)
	s.checkLeft()
	orders := 0
	for _, step := range all {
		if step.Action == ActionOrder {
			orders++
		}
		if err := s.do(&m, step); err != nil {
			return err
		}
	}
	if orders > s.table.perRun {
		s.wrong("%d orders in a run", orders)
	}
	s.save(m)
	return nil
}

// do does a step at the CA and notes what came of it.
func (s *site) do(m *Memory, step Step) error {
	if s.chance(s.killing) {
		return errKilled
	}
	addr := state.Key(step.Address)
	var err error
	switch before := s.certs[addr][step.Kind]; step.Action {
	case ActionResume, ActionOrder:
		if step.Action == ActionOrder && before != 0 && before != Revoked {
			s.wrong("%s %s is ordered for, and has %v", addr, step.Kind, before)
		}
		if !s.mailboxes[addr] {
			s.wrong("%s has no mailbox, and is ordered for", addr)
		}
		err = s.order(addr, step.Kind)
	case ActionRevoke:
		s.checkRevoked(addr, before)
		if err = s.fails(); err == nil {
			s.put(addr, step.Kind, Revoked)
		}
	case ActionCancel:
		delete(s.certs[addr], step.Kind)
	default:
		return nil
	}
	s.tell("%s %s %s: %v", step.Action, addr, step.Kind, err)
	if s.chance(s.killing) {
		return errKilled
	}
	if err != nil {
		m.Failed(step.Address, step.Kind, err, s.now)
	} else if s.certs[addr][step.Kind] != InFlight {
		m.Succeeded(step.Address, step.Kind)
	}
	return nil
}

func (s *site) fails() error {
	if s.chance(s.failing) {
		return errors.New("no")
	}
	return nil
}

// order leaves a certificate, an order in flight, or nothing.
func (s *site) order(addr, kind string) error {
	if s.chance(s.failing / 2) {
		s.put(addr, kind, InFlight)
		return nil
	}
	delete(s.certs[addr], kind)
	err := s.fails()
	if err == nil {
		s.put(addr, kind, Certificate)
	}
	return err
}

func (s *site) put(addr, kind string, what State) {
	if s.certs[addr] == nil {
		s.certs[addr] = map[string]State{}
	}
	s.certs[addr][kind] = what
}

// accepted keeps the books that the memory should agree with.
func (s *site) accepted(list Source) {
	for _, addr := range list.Addresses {
		s.seen[state.Key(addr)] = true
		delete(s.gone, state.Key(addr))
	}
	for addr := range s.seen {
		if _, known := s.gone[addr]; !known && !list.has(addr) && !s.table.excludes(addr) {
			s.gone[addr] = s.now
		}
	}
}

func (s *site) overdue(addr string) bool {
	since, ok := s.gone[addr]
	return ok && s.now.Sub(since) >= s.table.grace
}

// checkLeft: renew leaves alone who is gone for the grace, and nobody else.
func (s *site) checkLeft() {
	reasons := s.left()
	for addr := range reasons {
		if !s.overdue(addr) || s.table.Gone == goneKeep {
			s.wrong("%s is not renewed, and gone since %v", addr, s.gone[addr])
		}
	}
	for addr, kinds := range s.certs {
		if s.overdue(addr) && s.table.Gone != goneKeep && reasons[addr] == "" && len(kinds) > 0 {
			s.wrong("%s is gone since %v and is renewed", addr, s.gone[addr])
		}
	}
}

func (s *site) checkRevoked(addr string, before State) {
	if before != Certificate || !s.overdue(addr) || s.table.Gone != goneRevoke {
		s.wrong("%s has %v and is gone since %v, and is revoked", addr, before, s.gone[addr])
	}
}

// day is a day at the site: people come and go, and enroll runs. The source may be broken.
func (s *site) day(broken bool) {
	for n := range 30 {
		addr := fmt.Sprintf("u%d@example.org", n)
		if s.chance(0.1) {
			s.mailboxes[addr] = !s.mailboxes[addr]
		}
	}
	if broken {
		before := s.remembered(Source{}).text()
		if err := s.run(false, Source{}); err == nil || errors.Is(err, errKilled) {
			s.wrong("an empty source: %v", err)
		}
		if s.remembered(Source{}).text() != before {
			s.wrong("an empty source changed what is remembered")
		}
	}
	for err := errKilled; errors.Is(err, errKilled); s.tell("run: %v", err) { // the unit is started again
		err = s.run(true, s.source())
		if err != nil && !errors.Is(err, errKilled) && s.any() {
			s.wrong("%v", err)
		}
	}
	s.now = s.now.Add(24*time.Hour - time.Duration(s.IntN(20))*time.Minute)
}

func (s *site) any() bool { return slices.Contains(slices.Collect(maps.Values(s.mailboxes)), true) }

// source has the mailboxes in any case and order.
func (s *site) source() Source {
	list := list{table: s.table}
	for addr, is := range s.mailboxes {
		if s.chance(0.1) {
			addr = strings.ToUpper(addr)
		}
		if is {
			list.add([]byte(addr))
		}
	}
	return list.source()
}

// settled: after calm weeks everybody has what the table says.
func (s *site) settled() {
	for addr, is := range s.mailboxes {
		for _, kind := range s.table.Kinds {
			what := s.certs[addr][kind]
			if is && what != Certificate && !s.table.excludes(addr) {
				s.wrong("%s %s waits for ever: %v", addr, kind, what)
			}
			if !is && what == Certificate && s.table.Gone == goneRevoke && s.seen[addr] && !s.table.excludes(addr) {
				s.wrong("%s %s is valid for ever", addr, kind)
			}
		}
	}
	for _, e := range s.remembered(Source{}).Entries {
		if e.Wanted != 0 || len(e.Tries) > 0 {
			s.wrong("%+v is still remembered", e)
		}
	}
}

// Sixty days at a site where people come, leave and come back, orders fail and runs are
// killed; then calm ones. The checks along the way: nobody is ordered for twice, nobody is
// renewed who is gone for the grace, an empty source changes nothing, nobody waits for ever.
func TestHistories(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		settings := fmt.Sprintf("gone=%s grace=%dd run=%d exclude=u7@*", []string{"expire", "revoke", "keep"}[r.IntN(3)], r.IntN(10), 1+r.IntN(20))
		if r.IntN(2) == 0 {
			settings += " kinds=sign,encrypt"
		}
		t.Run(fmt.Sprintf("%d", seed), func(t *testing.T) {
			s := newSite(t, seed, settings)
			if seed == 0 {
				s.dir = t.TempDir()
			}
			s.tell("%s", settings)
			s.failing, s.killing = 0.3, []float64{0, 0.01, 0.03}[r.IntN(3)]
			for range 60 {
				s.day(s.chance(0.1))
			}
			s.failing, s.killing = 0, 0
			stay := maps.Clone(s.mailboxes)
			for range 31 + 60/s.table.perRun*2 {
				s.mailboxes = maps.Clone(stay)
				s.calm()
			}
			s.settled()
		})
	}
}

func (s *site) calm() {
	if err := s.run(true, s.source()); err != nil {
		s.wrong("%v", err)
	}
	s.now = s.now.Add(24 * time.Hour)
}

// Forty addresses that always fail, and more newcomers a day than the run has room for
// beside them: neither holds up the other.
func TestNobodyStarves(t *testing.T) {
	s := newSite(t, 1, "run=10")
	tried := map[string]int{}
	for n := range 40 {
		s.mailboxes[fmt.Sprintf("bad%d@example.org", n)] = true
	}
	for today := range 90 {
		for n := range 8 {
			s.mailboxes[fmt.Sprintf("day%02d-%d@example.org", today, n)] = true
		}
		list := s.source()
		have := Holdings{}
		for addr := range s.certs {
			have[addr] = []Held{{"", Certificate}}
		}
		m, all, err := Plan(s.now, s.table, false, list, s.remembered(list), have)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range all {
			addr := state.Key(step.Address)
			switch {
			case step.Action != ActionOrder:
			case strings.HasPrefix(addr, "bad"):
				tried[addr]++
				m.Failed(addr, "", errors.New("no"), s.now)
			default:
				s.put(addr, "", Certificate)
			}
		}
		for _, e := range m.Entries {
			if age := s.now.Sub(e.Wanted.Time()); strings.HasPrefix(e.Address, "day") && e.Wanted != 0 && s.certs[e.Address] == nil && age > 6*24*time.Hour {
				t.Fatalf("%s has waited for %v", e.Address, age)
			}
		}
		s.save(m)
		s.now = s.now.Add(24 * time.Hour)
	}
	for n := range 40 {
		if addr := fmt.Sprintf("bad%d@example.org", n); tried[addr] < 4 {
			t.Errorf("%s was tried %d times in 90 days", addr, tried[addr])
		}
	}
}
