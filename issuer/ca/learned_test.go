package ca

import (
	"reflect"
	"testing"
	"time"

	"postseal/issuer/store"
)

// An Outcome teaches what it proves, and nothing else.
func TestLearned(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	pause := func(d time.Duration) *store.Duration { p := store.Duration(d); return &p }
	const ms, s = time.Millisecond, time.Second
	short := func(d time.Duration, join string) *tooShort { return &tooShort{store.Duration(d), join, at(13)} }
	// The mail after 10 s, the POST 2 s later, the end 1 s after that.
	usual := Outcome{Ordered: start, Mailed: at(10), Posted: at(12), Ended: at(13), Settle: 2 * s, Join: "string", Patience: 10 * time.Minute}
	tests := []struct {
		name   string
		before learned
		change func(*Outcome)
		want   learned
	}{
		{"success", learned{}, func(o *Outcome) { o.Valid = true }, learned{Settle: pause(2 * s), Worked: true, Join: "string"}},
		{"success by a setting", learned{}, func(o *Outcome) { o.Valid, o.Given = true, true }, learned{Join: "string"}},
		{"success before the POST", learned{}, func(o *Outcome) { o.Valid, o.Posted, o.Settle = true, time.Time{}, -1 }, learned{Join: "string"}},
		{"success with half", learned{Settle: pause(2 * s)}, func(o *Outcome) { o.Valid, o.Settle = true, s }, learned{Settle: pause(s), Worked: true, Join: "string"}},
		{"a mail before the POST unteaches", learned{MailAfterPost: true}, func(o *Outcome) { o.Valid = true }, learned{Settle: pause(2 * s), Worked: true, Join: "string"}},
		{"a mail after the POST, at once", learned{}, func(o *Outcome) { o.Valid, o.Posted, o.Settle = true, at(5), -1 }, learned{Join: "string"}},
		{"a mail after the POST, after nine minutes", learned{}, func(o *Outcome) { o.Valid, o.Posted, o.Mailed, o.Ended, o.Settle = true, at(540), at(550), at(560), -1 }, learned{Join: "string"}},
		{"a mail after the POST, after all our patience", learned{}, func(o *Outcome) { o.Valid, o.Posted, o.Mailed, o.Ended, o.Settle = true, at(600), at(610), at(620), -1 }, learned{MailAfterPost: true, Join: "string"}},
		{"valid, and no mail of ours", learned{}, func(o *Outcome) { o.Valid, o.Mailed = true, time.Time{} }, learned{}},

		{"too early", learned{}, func(*Outcome) {}, learned{Settle: pause(4 * s), TooShort: short(2*s, "string")}},
		{"too early, it saw no reply", learned{}, func(o *Outcome) { o.Reason = `"No response email received" (incorrectResponse)` }, learned{Settle: pause(4 * s), TooShort: short(2*s, "string")}},
		{"too early by far", learned{}, func(o *Outcome) { o.Settle = 100 * ms }, learned{Settle: pause(2 * s), TooShort: short(100*ms, "string")}},
		{"never above two minutes", learned{}, func(o *Outcome) { o.Settle = 90 * s }, learned{Settle: pause(2 * time.Minute), TooShort: short(90*s, "string")}},
		{"a reason", learned{}, func(o *Outcome) { o.Reason = `"the digest is wrong" (incorrectResponse)` }, learned{}},
		{"not within seconds", learned{}, func(o *Outcome) { o.Ended = at(120) }, learned{}},
		{"never posted", learned{}, func(o *Outcome) { o.Posted = time.Time{} }, learned{}},
		{"posted by an earlier run", learned{}, func(o *Outcome) { o.Settle = -1 }, learned{}},
		{"an unknown join", learned{}, func(o *Outcome) { o.unsure, o.Join = true, "bytes" }, learned{}},
		{"an unknown join, mail after the POST", learned{MailAfterPost: true, Join: "string"},
			func(o *Outcome) { o.unsure, o.Join, o.Posted, o.Settle = true, "bytes", at(5), -1 }, learned{MailAfterPost: true, Join: "string"}},
		{"a join that worked", learned{Join: "bytes"}, func(o *Outcome) { o.unsure, o.Join = true, "bytes" }, learned{Join: "bytes", Settle: pause(4 * s), TooShort: short(2*s, "bytes")}},
		{"posted at once, the mail came later", learned{MailAfterPost: true}, func(o *Outcome) { o.Posted, o.Settle = at(5), -1 }, learned{}},
		{"posted at once, no mail", learned{MailAfterPost: true}, func(o *Outcome) { o.Posted, o.Mailed, o.Settle = at(5), time.Time{}, -1 }, learned{}},
		{"posted at once, a reason", learned{MailAfterPost: true}, func(o *Outcome) { o.Posted, o.Settle, o.Reason = at(5), -1, "no" }, learned{MailAfterPost: true}},

		{"it was the join", learned{Settle: pause(4 * s), TooShort: short(2*s, "bytes")}, func(o *Outcome) { o.Valid, o.Given = true, true }, learned{Join: "string"}},
		{"forgotten after a month", learned{Settle: pause(8 * s), TooShort: &tooShort{store.Duration(4 * s), "string", at(12 - 30*24*3600)}},
			func(o *Outcome) { o.Reason = "x" }, learned{}},
		{"not before", learned{Settle: pause(8 * s), TooShort: &tooShort{store.Duration(4 * s), "string", at(14 - 30*24*3600)}},
			func(o *Outcome) { o.Reason = "x" }, learned{Settle: pause(8 * s), TooShort: &tooShort{store.Duration(4 * s), "string", at(14 - 30*24*3600)}}},
	}
	for _, tc := range tests {
		o := usual
		tc.change(&o)
		if got := tc.before.after(o); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// A trial takes half of a pause that was long enough, down to a tenth of a second, and
// nothing that was too short lately.
func TestTrial(t *testing.T) {
	pause := func(d time.Duration) *store.Duration { p := store.Duration(d); return &p }
	for name, tc := range map[string]struct {
		l    learned
		want time.Duration
	}{
		"nothing known":        {learned{}, 0},
		"the default worked":   {learned{Settle: pause(2 * time.Second), Worked: true}, time.Second},
		"the last step":        {learned{Settle: pause(150 * time.Millisecond), Worked: true}, 100 * time.Millisecond},
		"the end":              {learned{Settle: pause(100 * time.Millisecond), Worked: true}, 0},
		"not yet seen to work": {learned{Settle: pause(4 * time.Second)}, 0},
		"too short lately":     {learned{Settle: pause(2 * time.Second), Worked: true, TooShort: &tooShort{Settle: store.Duration(time.Second)}}, 0},
		"above that":           {learned{Settle: pause(8 * time.Second), Worked: true, TooShort: &tooShort{Settle: store.Duration(time.Second)}}, 4 * time.Second},
	} {
		if got := tc.l.trial(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Of many orders at a time one tries half of the pause. Orders that waited for the whole of
// it and end later do not override its result.
func TestShorterPauseStays(t *testing.T) {
	now := time.Now()
	valid := func(settle time.Duration) Outcome {
		return Outcome{Valid: true, Ordered: now, Mailed: now, Posted: now.Add(settle), Ended: now.Add(settle), Settle: settle}
	}
	l := learned{}.after(valid(2 * time.Second)).after(valid(time.Second)).after(valid(2 * time.Second))
	if l.settle() != time.Second || l.trial() != time.Second/2 {
		t.Errorf("after 2 s, 1 s, 2 s: %s, then %s is tried", l.settle(), l.trial())
	}
	early := valid(time.Second)
	early.Valid = false
	l = l.after(early).after(valid(2 * time.Second))
	if l.settle() != 2*time.Second || l.trial() != 0 {
		t.Errorf("1 s was too short: %s, then %s is tried", l.settle(), l.trial())
	}
}
