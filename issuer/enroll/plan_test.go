package enroll

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/printable"
)

var now = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)

// day returns the moment so many days from now, as in "-3".
func day(s string) Moment {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return At(now.AddDate(0, 0, n))
}

func full(local string) string {
	if local == "" || strings.Contains(local, "@") {
		return local
	}
	return local + "@example.org"
}

// table reads a table of example.org, as in "gone=revoke kinds=sign,encrypt". The kinds
// sign and encrypt are known.
func table(t testing.TB, s string) Table {
	t.Helper()
	tables := []Table{{Domain: "example.org", Source: "true"}}
	for _, word := range strings.Fields(s) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "domain":
			tables[0].Domain = value
		case "named":
			tables = append(tables, Table{Domain: value, Source: "true"})
		case "kinds":
			tables[0].Kinds = strings.Split(value, ",")
		case "exclude":
			tables[0].Exclude = strings.Split(value, ",")
		case "gone":
			tables[0].Gone = value
		case "grace":
			tables[0].Grace = value
		case "max":
			tables[0].MaxGone = value
		case "run":
			n, _ := strconv.Atoi(value)
			tables[0].NewPerRun = &n
		default:
			t.Fatalf("%q", word)
		}
	}
	if err := Check(tables, []string{"sign", "encrypt"}); err != nil {
		t.Fatal(err)
	}
	return tables[0]
}

// memory reads entries such as "a b,w-3 c,g-31,l-1 d,tsign:3:+2": wanted, gone and left since,
// and what was tried. A range such as a1..9 is nine addresses.
func memory(s string) Memory {
	m := Memory{Domain: "example.org", Accepted: day("-1")}
	for _, word := range expand(s) {
		local, notes, _ := strings.Cut(word, ",")
		e := Entry{Address: full(local)}
		for _, note := range strings.Split(notes, ",") {
			switch {
			case note == "":
			case note[0] == 'w':
				e.Wanted = day(note[1:])
			case note[0] == 'g':
				e.Gone = day(note[1:])
			case note[0] == 'l':
				e.Left = day(note[1:])
			default:
				part := strings.Split(note[1:], ":")
				n, _ := strconv.Atoi(part[1])
				e.Tries = append(e.Tries, Try{part[0], n, "boom", day(part[2])})
			}
		}
		m.Entries = append(m.Entries, e)
	}
	slices.SortFunc(m.Entries, func(a, b Entry) int { return strings.Compare(a.Address, b.Address) })
	return m
}

// expand splits words and makes a1 a2 a3 of a1..3, and a1,w-1 … of a1..3,w-1.
func expand(s string) (words []string) {
	for _, word := range strings.Fields(s) {
		head, tail, _ := strings.Cut(word, ",")
		name, to, isRange := strings.Cut(head, "..")
		if !isRange {
			words = append(words, word)
			continue
		}
		last, _ := strconv.Atoi(to)
		if tail != "" {
			tail = "," + tail
		}
		for n := 1; n <= last; n++ {
			words = append(words, name[:len(name)-1]+strconv.Itoa(n)+tail)
		}
	}
	return words
}

func relative(m Moment) string {
	return fmt.Sprintf("%+d", int(m.Time().Sub(now).Hours())/24)
}

func (m Memory) text() string {
	var words []string
	for _, e := range m.Entries {
		word := strings.TrimSuffix(e.Address, "@example.org")
		for _, note := range []struct {
			sign string
			at   Moment
		}{{"w", e.Wanted}, {"g", e.Gone}, {"l", e.Left}} {
			if note.at != 0 {
				word += "," + note.sign + relative(note.at)
			}
		}
		for _, try := range e.Tries {
			word += fmt.Sprintf(",t%s:%d:%s", try.Kind, try.Failures, relative(try.Next))
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

var states = map[string]State{"cert": Certificate, "expired": Expired, "shared": Shared, "revoked": Revoked, "flight": InFlight}

// holdings reads "a=cert b:sign=revoked".
func holdings(s string) Holdings {
	have := Holdings{}
	for _, word := range strings.Fields(s) {
		who, state, _ := strings.Cut(word, "=")
		local, kind, _ := strings.Cut(who, ":")
		for _, local := range expand(local) {
			have[full(local)] = append(have[full(local)], Held{kind, states[state]})
		}
	}
	return have
}

func source(tbl Table, s string) Source {
	list := list{table: tbl}
	for _, local := range expand(s) {
		list.add([]byte(full(local)))
	}
	return list.source()
}

func steps(all []Step) string {
	var words []string
	for _, s := range all {
		word := strings.TrimSuffix(s.Address, "@example.org")
		if s.Kind != "" {
			word += ":" + s.Kind
		}
		words = append(words, string(s.Action)+" "+word)
	}
	return strings.Join(words, ", ")
}

const both = "kinds=sign,encrypt"

// Each row is a run: the table, whether --accept-gone is given (!), what is remembered, what the
// source says and what there is; then the steps and what is remembered after it.
var plans = []struct{ name, table, memory, source, have, steps, after string }{
	{"the first run", "", "", "a b", "", "order a, order b", "a,w+0 b,w+0"},
	{"who has one is left to renew", "", "a", "a", "a=cert", "has a", "a"},
	{"an expired one is renew's, too", "", "a", "a", "a=expired", "has a", "a"},
	{"a certificate by hand is as good", "", "", "a", "a=cert", "has a", "a"},
	{"one with other names is as good", "", "", "a", "a=shared", "has a", "a"},
	{"by hand and never in the source", "gone=revoke grace=0d", "a", "a", "a=cert z=cert", "has a", "a"},
	{"in another case", "", "ann", "Ann", "ann=cert", "has Ann", "ann"},
	{"an order in flight is resumed", "", "a,w-1", "a", "a=flight", "resume a", "a,w-1"},
	{"an order that has waited for days", "", "a,w-3,t:1:+1", "a", "a=flight", "wait a", "a,w-3,t:1:+1"},
	{"and is due again", "", "a,w-3,t:1:+0", "a", "a=flight", "resume a", "a,w-3,t:1:+0"},
	{"in flight is not new", "run=1", "a,w-1", "a b c", "a=flight", "resume a, order b, wait c", "a,w-1 b,w+0 c,w+0"},
	{"done: nothing is left to remember", "", "a,w-1,t:2:+3", "a", "a=cert", "has a", "a"},
	{"revoked by hand, and in the source", "", "a", "a", "a=revoked", "order a", "a,w+0"},

	{"longest first", "run=2", "a,w-1 b,w-3 c,w-2", "a b c", "", "order b, order c, wait a", "a,w-1 b,w-3 c,w-2"},
	{"two kinds are two orders", "run=3 " + both, "", "a b", "", "order a:sign, order a:encrypt, order b:sign, wait b:encrypt", "a,w+0 b,w+0"},
	{"the other kind is missing", both, "a", "a", "a:sign=cert", "order a:encrypt, has a:sign", "a,w+0"},
	{"no kind is not a kind", both, "a", "a", "a=cert", "order a:sign, order a:encrypt", "a,w+0"},
	{"no kind beside a kind", "kinds=,sign", "a", "a", "a=cert", "order a:sign, has a", "a,w+0"},
	{"no orders at all", "run=0", "", "a", "", "wait a", "a,w+0"},
	{"one waits for the other kind only", both, "a,w-2,tsign:1:+1", "a", "", "order a:encrypt, wait a:sign", "a,w-2,tsign:1:+1"},
	{"a kind that the table had", "kinds=sign", "a,w-2,tencrypt:1:+1", "a", "a:sign=cert", "has a:sign", "a"},

	{"failed, not yet", "", "a,w-3,t:3:+1", "a", "", "wait a", "a,w-3,t:3:+1"},
	{"failed, due", "", "a,w-3,t:3:+0", "a", "", "order a", "a,w-3,t:3:+0"},
	{"newcomers before failures", "run=10", "a,w-9,t:1:-2 b", "a b", "", "order b, order a", "a,w-9,t:1:-2 b,w+0"},
	{"a fifth for failures", "run=5", "f1..3,w-9,t:1:-2", "f1..3 n1..6", "",
		"order n1, order n2, order n3, order n4, order f1, wait n5, wait n6, wait f2, wait f3",
		"f1,w-9,t:1:-2 f2,w-9,t:1:-2 f3,w-9,t:1:-2 n1,w+0 n2,w+0 n3,w+0 n4,w+0 n5,w+0 n6,w+0"},
	{"what newcomers leave is theirs", "run=5", "f1..5,w-9,t:1:-2", "f1..5 n", "",
		"order n, order f1, order f2, order f3, order f4, wait f5",
		"f1,w-9,t:1:-2 f2,w-9,t:1:-2 f3,w-9,t:1:-2 f4,w-9,t:1:-2 f5,w-9,t:1:-2 n,w+0"},
	{"who was due first fails first", "run=1", "a,w-9,t:1:-1 b,w-9,t:1:-2", "a b", "", "order b, wait a", "a,w-9,t:1:-1 b,w-9,t:1:-2"},
	{"a small run takes all by time", "run=1", "a,w-9,t:1:-2 b,w-1", "a b", "", "order a, wait b", "a,w-9,t:1:-2 b,w-1"},
	{"a small run starves no newcomer", "run=1", "a,w-9,t:1:-1 b,w-2", "a b", "", "order b, wait a", "a,w-9,t:1:-1 b,w-2"},

	{"gone", "", "a b", "a", "a=cert b=cert", "gone b, has a", "a b,g+0"},
	{"gone within the grace", "", "a b,g-29", "a", "a=cert b=cert", "gone b, has a", "a b,g-29"},
	{"gone for the grace: expire", "", "a b,g-30", "a", "a=cert b=cert", "leave b, has a", "a b,g-30,l+0"},
	{"gone for the grace: revoke", "gone=revoke", "a b,g-30", "a", "a=cert b=cert", "revoke b, has a", "a b,g-30,l+0"},
	{"gone for the grace: keep", "gone=keep", "a b,g-99", "a", "a=cert b=cert", "gone b, has a", "a b,g-99"},
	{"left before", "", "a b,g-40,l-10", "a", "a=cert b=cert", "left b, has a", "a b,g-40,l-10"},
	{"a kill, or the CA was down, before it was revoked", "gone=revoke", "a b,g-40,l-10", "a", "a=cert b=cert", "revoke b, has a", "a b,g-40,l-10"},
	{"a revocation that fails is tried daily", "gone=revoke", "a b,g-40,l-10,t:9:+20", "a", "a=cert b=cert", "revoke b, has a", "a b,g-40,l-10,t:9:+20"},
	{"revoked", "gone=revoke", "a b,g-40,l-10,t:1:+1", "a", "a=cert b=revoked", "left b, has a", "a b,g-40,l-10"},
	{"all kinds are revoked", "gone=revoke kinds=sign", "a b,g-30", "a", "a:sign=cert b=cert b:sign=cert b:encrypt=cert",
		"revoke b, revoke b:sign, revoke b:encrypt, has a:sign", "a b,g-30,l+0"},
	{"an expired one is not revoked", "gone=revoke", "a b,g-30", "a", "a=cert b=expired", "leave b, has a", "a b,g-30,l+0"},
	{"one with other names is not revoked", "gone=revoke", "a b,g-30", "a", "a=cert b=shared", "leave b, has a", "a b,g-30,l+0"},
	{"an order of somebody gone is not resumed", "", "a b,w-1", "a", "a=cert b=flight", "gone b, has a", "a b,w-1,g+0"},
	{"an order of a leaver is cancelled", "", "a b,w-40,g-30", "a", "a=cert b=flight", "cancel b, has a", "a b,g-30,l+0"},
	{"a renewal in flight", "", "a", "a", "a=cert a=flight", "has a", "a"},
	{"a leaver's renewal in flight", "gone=revoke", "a b,g-40,l-10,t:2:+3", "a", "a=cert b=cert b=flight", "revoke b, cancel b, has a", "a b,g-40,l-10,t:2:+3"},
	{"no grace", "gone=revoke grace=0d", "a b", "a", "a=cert b=cert", "revoke b, has a", "a b,g+0,l+0"},
	{"a leaver without anything is forgotten", "", "a b,g-30", "a", "a=cert", "has a", "a"},
	{"kept without anything is forgotten", "gone=keep", "a b,g-30", "a", "a=cert", "has a", "a"},
	{"gone without anything, within the grace", "", "a b,w-3", "a", "a=cert", "gone b, has a", "a b,w-3,g+0"},
	{"the table says keep since", "gone=keep", "a b,g-40,l-10", "a", "a=cert b=cert", "gone b, has a", "a b,g-40"},
	{"the grace is longer now", "grace=60d", "a b,g-40,l-10", "a", "a=cert b=cert", "gone b, has a", "a b,g-40"},
	{"the table says revoke since", "gone=revoke", "a b,g-400,l-370", "a", "a=cert b=cert", "revoke b, has a", "a b,g-400,l-370"},

	{"back before the grace", "", "a b,w-9,g-29,t:2:+3", "a b", "a=cert", "wait b, has a", "a b,w-9,t:2:+3"},
	{"back, it still has one", "", "a b,g-40,l-10", "a b", "a=cert b=cert", "has a, has b", "a b"},
	{"back after it was revoked", "gone=revoke", "a b,g-40,l-10", "a b", "a=cert b=revoked", "order b, has a", "a b,w+0"},
	{"back, and what failed was its revocation", "gone=revoke", "a b,g-40,l-10,t:3:+3", "a b", "a=cert b=revoked", "order b, has a", "a b,w+0"},
	{"back, after it was forgotten", "", "a", "a b", "a=cert", "order b, has a", "a b,w+0"},

	{"three may always go", "", "a1..3 b", "b", "b=cert", "gone a1, gone a2, gone a3, has b", "a1,g+0 a2,g+0 a3,g+0 b"},
	{"a tenth may go", "", "a1..4 b1..36", "b1..36", "", "", "*"},
	{"more may not", "", "a1..4 b1..35", "b1..35", "", "refused: 4 of the 39 addresses", ""},
	{"more may if the admin says so", "!", "a1..4 b", "b", "b=cert", "gone a1, gone a2, gone a3, gone a4, has b", "a1,g+0 a2,g+0 a3,g+0 a4,g+0 b"},
	{"five may go", "max=5", "a1..5 b", "b", "b=cert", "gone a1, gone a2, gone a3, gone a4, gone a5, has b", "*"},
	{"six may not", "max=5", "a1..6 b", "b", "b=cert", "refused: 6 of the 7 addresses", ""},
	{"who is gone already does not count", "", "a1..9,g-1 b", "b", "b=cert", "", "*"},
	{"nor makes the domain larger", "", "a1..40,g-1 b1..4 c", "c", "c=cert", "refused: 4 of the 5 addresses", ""},
	{"newcomers do not make up for it", "", "a1..4 b", "b n1..9", "b=cert", "refused: 4 of the 5 addresses", ""},
	{"empty", "", "a", "", "a=cert", "refused: empty", ""},
	{"empty, and the first run", "", "", "", "", "refused: empty", ""},
	{"empty, the domain is closed", "!", "a1..5", "", "a1..5=cert", "gone a1, gone a2, gone a3, gone a4, gone a5", "*"},
	{"all of another domain", "", "a", "x@example.net", "a=cert", "refused: no address of this domain in 1 line (1 line of another domain)", ""},
	{"all excluded is not empty", "exclude=*@*", "", "a", "", "excluded a", ""},

	{"excluded", "exclude=post*@*,noreply@*", "", "a noreply postmaster", "", "order a, excluded noreply, excluded postmaster", "a,w+0"},
	{"excluded without case", "exclude=PostMaster@*", "", "a postmaster", "a=cert", "excluded postmaster, has a", "a"},
	{"excluded later, and what it has stays", "gone=revoke grace=0d exclude=b@*", "a b", "a b", "a=cert b=cert", "excluded b, has a", "a b"},
	{"excluded, and not in the source", "gone=revoke grace=0d exclude=b@*", "a b", "a", "a=cert b=cert", "has a", "a b"},
	{"excluded while its orders failed", "exclude=b@*", "a b,w-3,t:1:+1", "a b", "a=cert", "excluded b, has a", "a b"},
	{"excluded while it was gone", "exclude=b@*", "a b,g-29", "a", "a=cert b=cert", "has a", "a b"},
	{"excluded leavers stay leavers", "gone=revoke exclude=b@*", "a b,g-40,l-10", "a", "a=cert b=cert", "has a", "a b,g-40,l-10"},
	{"excluded, left and back", "exclude=b@*", "a b,g-40,l-10", "a b", "a=cert b=cert", "excluded b, has a", "a b"},
	{"who is excluded is not missing", "exclude=a*@*", "a1..9 b", "b", "b=cert", "has b", "a1 a2 a3 a4 a5 a6 a7 a8 a9 b"},

	{"others leave a named domain to its table", "domain=* named=example.net grace=0d", "a x@example.net", "a y@example.net", "a=cert x@example.net=cert",
		"has a", "a x@example.net"},
}

func TestPlan(t *testing.T) {
	for _, row := range plans {
		t.Run(strings.ReplaceAll(row.name, " ", "-"), func(t *testing.T) {
			settings, accept := strings.CutPrefix(row.table, "!")
			tbl, before := table(t, settings), memory(row.memory)
			after, all, err := Plan(now, tbl, accept, source(tbl, row.source), before, holdings(row.have))
			if before.text() != memory(row.memory).text() {
				t.Errorf("the former memory was changed: %s", before.text())
			}
			if words, ok := strings.CutPrefix(row.steps, "refused: "); ok {
				if err == nil || !strings.Contains(err.Error(), words) || failure.KindOf(err) != failure.KindFailed ||
					failure.HintOf(err) != AcceptGone || all != nil || after.text() != before.text() {
					t.Errorf("%v (%s), %s, %s", err, failure.HintOf(err), steps(all), after.text())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := steps(all); row.steps != "" && got != row.steps {
				t.Errorf("got  %s\nwant %s", got, row.steps)
			}
			if got := after.text(); row.after != "*" && got != row.after {
				t.Errorf("remembers %s\nwant      %s", got, row.after)
			}
		})
	}
}

// What --plan says of each address.
func TestWhy(t *testing.T) {
	tbl := table(t, "gone=revoke run=1 exclude=x@*")
	_, all, err := Plan(now, tbl, false, source(tbl, "a b c d e x"), memory("a c,w-9,t:3:+1 g,g-9 l,g-40,l-10,t:1:+1"),
		holdings("a=cert e=flight g=cert l=cert"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range all {
		fmt.Fprintf(&got, "%s %s: %s\n", s.Action, strings.TrimSuffix(s.Address, "@example.org"), s.Why)
	}
	const want = `resume e: its order is in flight
order b: new, waits since 2026-11-29
revoke l: gone since 2026-10-20, failed once: boom
wait c: failed 3 times, tried again on 2026-11-30: boom
wait d: new, waits since 2026-11-29, after 1 other
gone g: gone since 2026-11-20, revoked from 2026-12-20 on
excluded x: matches a pattern of exclude; what it has is left to renew
has a: has a certificate, left to renew
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// The pauses double up to a month. A daily timer may fire a little earlier.
func TestFailed(t *testing.T) {
	m := memory("a")
	long := errors.New("the CA\r\nsaid \x1b[2J " + strings.Repeat("x", 1000))
	var got []int
	for range 8 {
		m.Failed("A@example.org", "sign", long, now)
		try := m.Entries[0].Tries[0]
		got = append(got, int(try.Next.Time().Sub(now).Hours()/24))
		if len(try.Error) > maxError || !printable.Text(try.Error) {
			t.Errorf("remembers %q", try.Error)
		}
	}
	if want := "[1 2 4 8 16 30 30 30]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	m.Failed("a@example.org", "encrypt", long, now)
	m.Succeeded("a@example.org", "sign")
	m.Failed("nobody@example.org", "", long, now)
	if got := m.text(); got != "a,tencrypt:1:+1" {
		t.Error(got)
	}
	tbl := table(t, "kinds=encrypt")
	_, all, err := Plan(now.Add(24*time.Hour-20*time.Minute), tbl, false, source(tbl, "a"), m, nil)
	if err != nil || steps(all) != "order a:encrypt" {
		t.Errorf("%s, %v", steps(all), err)
	}
}

// Whatever is read first, a certificate in force is what counts, and its renewal is seen.
func TestHoldings(t *testing.T) {
	for added, want := range map[string]string{
		"cert flight":         "cert flight",
		"revoked flight":      "flight",
		"revoked cert":        "cert",
		"cert cert":           "cert",
		"shared cert":         "shared",
		"expired flight":      "expired flight",
		"revoked cert flight": "cert flight",
		"flight flight":       "flight",
	} {
		h := Holdings{}
		for _, word := range strings.Fields(added) {
			h.Add("A@Example.org", "sign", states[word])
		}
		var got []string
		for _, held := range h["a@example.org"] {
			for word, s := range states {
				if s == held.State && held.Kind == "sign" {
					got = append(got, word)
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", added, got, want)
		}
	}
}

// Who has all that is wanted no longer waits, as soon as the last order is done and not
// only when the next run looks.
func TestNoLongerWanted(t *testing.T) {
	tbl := table(t, "kinds=sign,encrypt run=5")
	m, _, err := Plan(now, tbl, false, source(tbl, "a b c d"), memory("a,w-3"), holdings("a:sign=flight b:sign=cert c:encrypt=revoked"))
	if err != nil {
		t.Fatal(err)
	}
	const all = "a,w-3 b,w+0 c,w+0 d,w+0"
	if m.text() != all {
		t.Fatalf("planned %s, want %s", m.text(), all)
	}
	for _, step := range []struct{ addr, kind, want string }{
		{"A", "sign", all},
		{"a", "encrypt", "a b,w+0 c,w+0 d,w+0"},
		{"b", "encrypt", "a b c,w+0 d,w+0"},
		{"c", "sign", "a b c,w+0 d,w+0"},
		{"c", "encrypt", "a b c d,w+0"},
		{"d", "encrypt", "a b c d,w+0"}, // the other is for a later run
	} {
		if m.Succeeded(full(step.addr), step.kind); m.text() != step.want {
			t.Errorf("%s has its certificate for %s: %s, want %s", step.addr, step.kind, m.text(), step.want)
		}
	}
}
