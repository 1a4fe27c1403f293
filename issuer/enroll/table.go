package enroll

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

// Others is the Domain of the table for all domains that no other table names.
const Others = "*"

// What is done with the certificates of an address that is no longer in the source.
const (
	goneExpire = "expire" // they are not renewed any more
	goneRevoke = "revoke" // nor valid any more
	goneKeep   = "keep"   // nothing
)

// The defaults of a table.
const (
	defaultGrace   = "30d"
	defaultMaxGone = "10%"
	defaultPerRun  = 500
)

// alwaysPass is how many addresses may go at once however small the domain.
const alwaysPass = 3

const tableHint = "see [[enroll]] in postseal.toml(5)"

// Table is an [[enroll]] table with its values as the admin wrote them; empty ones mean
// the default. Check makes it ready for use.
type Table struct {
	Domain    string
	Source    string   // a command for /bin/sh, file:PATH, or - for the standard input
	Kinds     []string // of certificates, "" among them for the one of no kind, the default
	Exclude   []string // patterns with *
	Gone      string
	Grace     string // 30d, or as time.ParseDuration has it
	MaxGone   string // 10%, or a number of addresses
	NewPerRun *int   // orders

	grace   time.Duration
	maxGone share
	perRun  int
	exclude [][]string // the patterns' text between the *
	named   []string   // for Others: the domains of the other tables
}

// With returns the tables with another source for a domain, or with a table of default
// values for it if there is none. An empty source changes nothing. The error has the kind
// Usage: there is neither a table nor a source.
func With(tables []Table, domain, source string) ([]Table, error) {
	tables = slices.Clone(tables)
	n := slices.IndexFunc(tables, func(t Table) bool { return state.Domain(t.Domain) == state.Domain(domain) })
	switch {
	case n < 0 && source == "":
		return nil, failure.In("domain", failure.Usage("give its source, too, or write a table", "no [[enroll]] table is for %q", domain))
	case n < 0:
		tables = append(tables, Table{Domain: domain, Source: source})
	case source != "":
		tables[n].Source = source
	}
	return tables, nil
}

// Check fills in the defaults of all tables and parses their values. kinds are the names
// of the kinds that are configured. One error, of the kind Config, names each value that
// is invalid.
func Check(tables []Table, kinds []string) error {
	var bad []string
	var domains, stdin []string
	for n := range tables {
		t := &tables[n]
		name := fmt.Sprintf("[[enroll]] table %d", n+1)
		if t.Domain != "" {
			name = fmt.Sprintf("[[enroll]] of %q", t.Domain)
		}
		problems := t.check(kinds)
		if slices.Contains(domains, t.Domain) {
			problems = append(problems, "there is another table for this domain")
		}
		domains = append(domains, t.Domain)
		if t.Source == "-" {
			stdin = append(stdin, t.Domain)
		}
		for _, problem := range problems {
			bad = append(bad, name+": "+problem)
		}
	}
	if len(stdin) > 1 {
		bad = append(bad, "the standard input can be the source of one table, not of "+strings.Join(stdin, " and "))
	}
	if len(bad) > 0 {
		return failure.Config(tableHint, "%s", strings.Join(bad, "; "))
	}
	for n := range tables {
		tables[n].named = slices.DeleteFunc(slices.Clone(domains), func(d string) bool { return d == Others })
	}
	return nil
}

// check makes one table ready, and says what is invalid in it.
func (t *Table) check(kinds []string) (bad []string) {
	problem := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	domain := state.Domain(strings.TrimSpace(t.Domain))
	if _, err := cert.ParseAddress("a@" + domain); err != nil && domain != Others {
		problem("domain = %q is not a mail domain, nor *", t.Domain)
	}
	t.Domain = domain
	if t.Source = strings.TrimSpace(t.Source); t.Source == "" || t.Source == filePrefix {
		problem("source is missing")
	}
	if len(t.Kinds) == 0 {
		t.Kinds = []string{""}
	}
	for n, kind := range t.Kinds {
		if kind != "" && !slices.Contains(kinds, kind) {
			problem("kinds: there is no table [kind.%s]", kind)
		}
		if slices.Contains(t.Kinds[:n], kind) {
			problem("kinds: %q is there twice", kind)
		}
	}
	t.exclude = nil
	for _, pattern := range t.Exclude {
		if local, domain, _ := strings.Cut(pattern, "@"); local == "" || domain == "" {
			problem("exclude: %q is not a pattern such as postmaster@*", pattern)
		}
		t.exclude = append(t.exclude, strings.Split(state.Key(pattern), "*"))
	}
	return append(bad, t.checkGone()...)
}

func (t *Table) checkGone() (bad []string) {
	problem := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	t.Gone, t.Grace, t.MaxGone = cmp.Or(t.Gone, goneExpire), cmp.Or(t.Grace, defaultGrace), cmp.Or(t.MaxGone, defaultMaxGone)
	if all := []string{goneExpire, goneRevoke, goneKeep}; !slices.Contains(all, t.Gone) {
		problem("gone = %q is not one of %s", t.Gone, strings.Join(all, ", "))
	}
	var ok bool
	if t.grace, ok = parseDuration(t.Grace); !ok {
		problem("grace = %q is not a duration such as 30d", t.Grace)
	}
	if t.maxGone, ok = parseShare(t.MaxGone); !ok {
		problem("max-gone = %q is not a share such as 10%%, nor a number", t.MaxGone)
	}
	if t.perRun = defaultPerRun; t.NewPerRun != nil {
		t.perRun = *t.NewPerRun
	}
	if t.perRun < 0 {
		problem("new-per-run = %d is negative", t.perRun)
	}
	return bad
}

// maxDays is a hundred years.
const maxDays = 36500

// parseDuration reads 30d, and what time.ParseDuration reads, but nothing negative.
func parseDuration(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n >= 0 && n <= maxDays
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// share is a part of a number of addresses, or a number.
type share struct {
	n       float64
	percent bool
}

func parseShare(s string) (share, bool) {
	number, percent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(number, 64)
	ok := err == nil && n >= 0 && !math.IsInf(n, 0) && (!percent || n <= 100)
	return share{n, percent}, ok
}

// allows reports whether so many addresses of all may be missing at once.
func (s share) allows(missing, all int) bool {
	most := s.n
	if s.percent {
		most = s.n * float64(all) / 100
	}
	return missing <= alwaysPass || float64(missing) <= most
}

// IsFor reports whether the table is that of a domain as somebody typed it, or of "*".
func (t *Table) IsFor(domain string) bool { return t.Domain == state.Domain(strings.TrimSpace(domain)) }

// takes reports whether the table is for a domain, which is in the form of state.Domain.
func (t *Table) takes(domain string) bool {
	if t.Domain == Others {
		return !slices.Contains(t.named, domain)
	}
	return t.Domain == domain
}

// excludes reports whether a pattern of the table matches an address, by its key.
func (t *Table) excludes(key string) bool {
	return slices.ContainsFunc(t.exclude, func(parts []string) bool { return match(parts, key) })
}

// match reports whether s has all parts one after the other, the first at its beginning
// and the last at its end.
func match(parts []string, s string) bool {
	first, rest := parts[0], parts[1:]
	s, ok := strings.CutPrefix(s, first)
	if !ok || len(rest) == 0 {
		return ok && s == ""
	}
	last := len(rest) - 1
	if s, ok = strings.CutSuffix(s, rest[last]); !ok {
		return false
	}
	for _, part := range rest[:last] {
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
	return true
}

// domainOf returns the domain of an address.
func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }
