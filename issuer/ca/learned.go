package ca

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"postseal/issuer/store"
)

// learned is what we learned about a CA; "after" derives it. RFC 8823 leaves open when the CA
// sends the challenge mail and when it looks for the reply, and posting too early is fatal at
// some CAs.
type learned struct {
	// MailAfterPost means that the CA mails only after POST {} to the challenge.
	MailAfterPost bool `json:"mail-after-post,omitempty"`
	// Settle is the first pause between reply and POST; nil for the default.
	Settle *store.Duration `json:"settle,omitempty"`
	// Worked means that an authorization became valid with that pause.
	Worked bool `json:"settle-worked,omitempty"`
	// TooShort is the last pause that was too short.
	TooShort *tooShort `json:"too-short,omitempty"`
	// Join is how the tokens of the last accepted reply were joined.
	Join string `json:"join,omitempty"`
}

type tooShort struct {
	Settle store.Duration `json:"settle"`
	Join   string         `json:"join"` // of the reply that the CA did not see
	At     time.Time      `json:"at"`
}

const (
	minSettle = 100 * time.Millisecond
	maxSettle = 2 * time.Minute
	// tooSoon bounds the time from the POST to an invalid authorization that the CA looked
	// at before the reply had arrived.
	tooSoon = 30 * time.Second
	// remembered is how long a longer pause is kept: mail servers are slow for a day.
	remembered = 30 * 24 * time.Hour
)

// Outcome is the end of an authorization, with all that we can learn from it.
type Outcome struct {
	Valid    bool
	Reason   string        // why it is invalid, if the CA says
	Ordered  time.Time     // when
	Mailed   time.Time     // when the mail half had the challenge; zero if it never arrived
	Posted   time.Time     // when we told the CA to look; zero if we did not
	Ended    time.Time     // when
	Settle   time.Duration // the pause between reply and POST, negative if this run did not make it
	Given    bool          // that pause was a setting
	Join     string        // how the tokens were joined
	Patience time.Duration // how long we wait for a mail before we POST without one

	unsure bool // a setting joins them differently from our own choice
}

// after returns what we know after an outcome. An outcome teaches only what it proves:
//
//   - A valid one: this join works; a pause waited in full is long enough; a mail that
//     arrived before the POST does not need one; a mail that arrived after it, although we
//     waited our full patience before, does.
//   - One that turned invalid within seconds of the POST, if the CA gives no reason other
//     than a missing reply: the CA looked too early. Next time we POST later: after the mail,
//     if that had not arrived, or else after twice the pause.
//   - Any other invalid one, and one with a join of which nobody knows whether it is right:
//     nothing.
func (l learned) after(o Outcome) learned {
	l = l.at(o.Ended)
	switch {
	case o.Valid && !o.Mailed.IsZero():
		return l.afterValid(o)
	case !o.Valid && o.lookedTooEarly(l.Join):
		return l.afterTooEarly(o)
	}
	return l
}

func (l learned) afterValid(o Outcome) learned {
	if l.TooShort != nil && l.TooShort.Join != o.Join {
		l.Settle, l.Worked, l.TooShort = nil, false, nil // it was the join, not the pause
	}
	l.Join = o.Join
	switch before := o.Posted.IsZero() || !o.Mailed.After(o.Posted); {
	case before:
		l.MailAfterPost = false
	case o.Posted.Sub(o.Ordered) >= o.Patience:
		l.MailAfterPost = true
	}
	// Others that were on their way already had the longer pause that was known before.
	shorterWorks := l.Worked && l.Settle != nil && time.Duration(*l.Settle) < o.Settle
	if !o.Posted.IsZero() && o.Settle >= 0 && !o.Given && !shorterWorks {
		settle := store.Duration(o.Settle)
		l.Settle, l.Worked = &settle, true
	}
	return l
}

func (l learned) afterTooEarly(o Outcome) learned {
	if o.Mailed.IsZero() || o.Mailed.After(o.Posted) {
		l.MailAfterPost = false
		return l
	}
	if o.Settle >= 0 {
		settle := store.Duration(min(max(2*o.Settle, defaultSettle), maxSettle))
		l.Settle, l.Worked, l.TooShort = &settle, false, &tooShort{store.Duration(o.Settle), o.Join, o.Ended.UTC()}
	}
	return l
}

func (o Outcome) lookedTooEarly(provenJoin string) bool {
	named := o.Reason != "" && !SawNoReply(o.Reason)
	return !o.Posted.IsZero() && o.Ended.Sub(o.Posted) < tooSoon && !named && (!o.unsure || o.Join == provenJoin)
}

// at forgets a longer pause that is too old.
func (l learned) at(now time.Time) learned {
	if l.TooShort != nil && now.Sub(l.TooShort.At) > remembered {
		l.TooShort = nil
		if l.Settle != nil && time.Duration(*l.Settle) > defaultSettle {
			l.Settle, l.Worked = nil, false
		}
	}
	return l
}

// settle returns the pause that is known to be long enough, or the default.
func (l learned) settle() time.Duration {
	if l.Settle == nil {
		return defaultSettle
	}
	return time.Duration(*l.Settle)
}

// trial returns half of a pause that was long enough, for one order at a time to try; 0 if
// there is nothing to try. It does not retry a pause that was too short lately.
func (l learned) trial() time.Duration {
	half := max(l.settle()/2, minSettle)
	if !l.Worked || half >= l.settle() || l.TooShort != nil && half <= time.Duration(l.TooShort.Settle) {
		return 0
	}
	return half
}

func (a *account) learned(now time.Time) learned {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Learned.at(now)
}

// learn changes what is known and writes it down, on top of what other processes have
// learned meanwhile.
func (a *account) learn(change func(learned) learned) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := store.Lock(filepath.Join(a.dir, accountLock))
	if err != nil {
		return err
	}
	defer unlock()
	file, err := readAccountFile(a.dir)
	if err != nil {
		return err
	}
	file.Learned = change(file.Learned)
	a.file.Learned = file.Learned
	return store.Write(filepath.Join(a.dir, accountName), file)
}

// Join returns how this CA joins the two parts of a token.
func (c *CA) Join(setting string) string {
	if how := cmp.Or(setting, c.Settings.TokenJoin, "auto"); how != "auto" {
		return how
	}
	return c.autoJoin()
}

func (c *CA) autoJoin() string {
	if host := Host(c.Server); host == "castle.cloud" || strings.HasSuffix(host, ".castle.cloud") {
		return "bytes"
	}
	return "string"
}

// Trigger returns when to POST: the setting, or the configuration's, or what we learned about
// this CA.
func (c *CA) Trigger(setting string) string {
	when := cmp.Or(setting, c.Settings.Trigger, "auto")
	if when == "auto" && c.account.learned(c.now()).MailAfterPost {
		return "post"
	}
	return when
}

// defaultSettle is the pause between our reply and the POST at a CA about which we have
// learned nothing.
const defaultSettle = 2 * time.Second

// Settle returns that pause, and reports whether it is a setting.
func (c *CA) Settle(setting *store.Duration) (pause time.Duration, given bool) {
	if setting != nil {
		return time.Duration(*setting), true
	}
	if d, err := time.ParseDuration(c.Settings.Settle); err == nil {
		return d, true
	}
	return c.account.learned(c.now()).settle(), false
}

// Learn learns from the end of an authorization, and reports whether the CA looked too early.
func (c *CA) Learn(o Outcome) (tooEarly bool, err error) {
	o.unsure = o.Join != c.autoJoin()
	err = c.current().learn(func(l learned) learned {
		tooEarly = !o.Valid && o.lookedTooEarly(l.Join)
		return l.after(o)
	})
	return tooEarly, err
}

// Trial lets one order at a time halve a pause that was long enough before: if half is too
// short, only this order has to be repeated. The pause is 0 for all other orders.
func (c *CA) Trial() (pause time.Duration, end func()) {
	a := c.current()
	if pause = a.learned(c.now()).trial(); pause == 0 {
		return 0, nil
	}
	end, err := store.TryLock(filepath.Join(a.dir, ".trial"))
	if err != nil {
		return 0, nil
	}
	return pause, end
}
