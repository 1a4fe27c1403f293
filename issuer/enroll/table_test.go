package enroll

import (
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
)

func TestTableDefaults(t *testing.T) {
	tables := []Table{{Domain: "Bücher.Example.", Source: " true "}, {Domain: "*", Source: "-"}}
	if err := Check(tables, nil); err != nil {
		t.Fatal(err)
	}
	a, others := tables[0], tables[1]
	if a.Domain != "xn--bcher-kva.example" || a.Source != "true" || len(a.Kinds) != 1 || a.Kinds[0] != "" ||
		a.Gone != goneExpire || a.grace != 30*24*time.Hour || a.maxGone != (share{10, true}) || a.perRun != 500 {
		t.Errorf("%+v", a)
	}
	for domain, want := range map[string][2]bool{"xn--bcher-kva.example": {true, false}, "example.org": {false, true}, "a.xn--bcher-kva.example": {false, true}} {
		if got := [2]bool{a.takes(domain), others.takes(domain)}; got != want {
			t.Errorf("%s: %v", domain, got)
		}
	}
}

// One error names everything that is to be put right.
func TestTableErrors(t *testing.T) {
	minus := -1
	tables := []Table{
		{Domain: "example.org", Source: "true", Gone: "delete", Grace: "-1d", MaxGone: "101%", NewPerRun: &minus,
			Kinds: []string{"sign", "seal", "sign"}, Exclude: []string{"postmaster", "@example.org", "noreply@*"}},
		{Domain: "EXAMPLE.org", Source: "-"},
		{Domain: "exa mple", Source: "-"},
		{},
	}
	err := Check(tables, []string{"sign"})
	if failure.KindOf(err) != failure.KindConfig || failure.HintOf(err) == "" {
		t.Fatal(err)
	}
	for _, words := range []string{
		`[[enroll]] of "example.org": gone = "delete" is not one of expire, revoke, keep`, `grace = "-1d"`, `max-gone = "101%"`, `new-per-run = -1`,
		`no table [kind.seal]`, `"sign" is there twice`, `"postmaster" is not a pattern`, `"@example.org" is not a pattern`,
		`[[enroll]] of "EXAMPLE.org": there is another table for this domain`, `domain = "exa mple"`,
		`one table, not of example.org and exa mple`, `[[enroll]] table 4: domain = ""`, `[[enroll]] table 4: source is missing`,
	} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is missing in: %v", words, err)
		}
	}
	if strings.Contains(err.Error(), "noreply") {
		t.Errorf("names what is valid: %v", err)
	}
}

func TestDurationsAndShares(t *testing.T) {
	for in, want := range map[string]time.Duration{"30d": 30 * 24 * time.Hour, "0d": 0, "0": 0, "36h": 36 * time.Hour,
		"": -1, "d": -1, "30": -1, "-1h": -1, "1.5d": -1, "99999999d": -1, "1d12h": -1} {
		if got, ok := parseDuration(in); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v", in, got, ok)
		}
	}
	for in, want := range map[string]int{"10%": 100, "2.5%": 25, "0%": 3, "0": 3, "7": 7, "2": 3, "100%": 1000, "": -1, "%": -1, "-1": -1, "NaN": -1, "Inf": -1, "1e3%": -1} {
		s, ok := parseShare(in)
		if ok != (want >= 0) || ok && (!s.allows(want, 1000) || s.allows(want+1, 1000)) {
			t.Errorf("%q: %v, %v", in, s, ok)
		}
	}
}

func TestExclude(t *testing.T) {
	for pattern, addrs := range map[string][2]string{ // those that match, and those that do not
		"postmaster@*":        {"postmaster@example.org", "a.postmaster@example.org postmaster2@example.org"},
		"PostMaster@*":        {"postmaster@example.org", ""},
		"*@lists.example.org": {"a@lists.example.org", "a@example.org a@b.lists.example.org"},
		"*-owner@*":           {"x-owner@example.org -owner@example.org", "owner@example.org x-ownera@example.org"},
		"svc-*-*@*.org":       {"svc-a-b@example.org svc--@example.org", "svc-a@example.org svc-a-b@example.net"},
		"a*a@*":               {"aa@x.org aba@x.org", "a@x.org"},
		"a*@x.o*org":          {"a@x.o.org", "a@x.org"},
		"ann@bücher.example":  {"ann@xn--bcher-kva.example", "ann@example.org"},
		"ann@example.org":     {"ann@example.org", "ann@example.org.org joann@example.org"},
		"*@*":                 {"a/b@example.org", ""},
		"[ab]?@*":             {"[ab]?@example.org", "a1@example.org"},
	} {
		tbl := table(t, "exclude="+pattern)
		for n, list := range addrs {
			for _, addr := range strings.Fields(list) {
				if got := tbl.excludes(addr); got != (n == 0) {
					t.Errorf("%s excludes %s: %v", pattern, addr, got)
				}
			}
		}
	}
}

func TestWith(t *testing.T) {
	tables := []Table{{Domain: "example.org", Source: "a", Gone: "keep"}}
	other, err := With(tables, "EXAMPLE.org", "b")
	if err != nil || len(other) != 1 || other[0].Source != "b" || other[0].Gone != "keep" || tables[0].Source != "a" {
		t.Errorf("%v, %v", other, err)
	}
	if more, err := With(tables, "example.net", "b"); err != nil || len(more) != 2 || more[1].Domain != "example.net" || more[1].Source != "b" {
		t.Errorf("%v, %v", more, err)
	}
	if same, err := With(tables, "example.org", ""); err != nil || same[0].Source != "a" {
		t.Errorf("%v, %v", same, err)
	}
	if _, err := With(tables, "example.net", ""); failure.KindOf(err) != failure.KindUsage || failure.SettingOf(err) != "domain" {
		t.Error(err)
	}
}
