package issuer

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"postseal/issuer/store"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// learned is what a CA has taught us about itself, and what "after" made of it. RFC 8823
// leaves open when the challenge mail is sent and when the CA looks for the reply, and
// posting too early is fatal at some CAs.
type learned struct {
	// MailAfterPost: the mail comes only after POST {} to the challenge.
	MailAfterPost bool `json:"mail-after-post,omitempty"`
	// Settle is the pause between reply and POST to begin with; nil for the default.
	Settle *store.Duration `json:"settle,omitempty"`
	// Worked: with that pause an authorization became valid.
	Worked bool `json:"settle-worked,omitempty"`
	// TooShort is the last pause that was too short.
	TooShort *tooShort `json:"too-short,omitempty"`
	// Join is how the tokens of the last reply that the CA accepted were joined.
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
	// tooSoon: an authorization that turns invalid so soon after the POST was
	// looked at before the reply had arrived.
	tooSoon = 30 * time.Second
	// remembered is how long a longer pause is kept: mail servers are slow for a day.
	remembered = 30 * 24 * time.Hour
)

// outcome is how an authorization ended, and all that can be learned from.
type outcome struct {
	valid   bool
	reason  string        // why it is invalid, if the CA says so
	ordered time.Time     // when
	mailed  time.Time     // when the mail half had the challenge; zero if it never came
	posted  time.Time     // when the CA was told to look; zero if it was not
	ended   time.Time     // when
	settle  time.Duration // the pause between reply and POST, below 0 if this run did not make it
	given   bool          // that pause was a setting
	join    string        // how the tokens were joined
	unsure  bool          // a setting joins them otherwise than we would
	patient time.Duration // without a mail for so long we POST
}

// after returns what is known after an outcome. An outcome teaches only what it proves:
//
//   - A valid one: this join works; a pause that was waited in full is long enough; a mail
//     that came before the POST needs none; one that came after it, and not in all our
//     patience before it, does.
//   - One that turned invalid within seconds of the POST, for no reason that the CA names
//     but that it saw no reply: it looked too early. It has to be told later: after the
//     mail, if that had not come, else after twice the pause.
//   - Any other invalid one, and one whose join nobody knows to be right: nothing.
func (l learned) after(o outcome) learned {
	l = l.at(o.ended)
	switch {
	case o.valid && !o.mailed.IsZero():
		return l.afterValid(o)
	case !o.valid && o.lookedTooEarly(l.Join):
		return l.afterTooEarly(o)
	}
	return l
}

func (l learned) afterValid(o outcome) learned {
	if l.TooShort != nil && l.TooShort.Join != o.join {
		l.Settle, l.Worked, l.TooShort = nil, false, nil // it was the join, not the pause
	}
	l.Join = o.join
	switch before := o.posted.IsZero() || !o.mailed.After(o.posted); {
	case before:
		l.MailAfterPost = false
	case o.posted.Sub(o.ordered) >= o.patient:
		l.MailAfterPost = true
	}
	if !o.posted.IsZero() && o.settle >= 0 && !o.given {
		settle := store.Duration(o.settle)
		l.Settle, l.Worked = &settle, true
	}
	return l
}

func (l learned) afterTooEarly(o outcome) learned {
	if o.mailed.IsZero() || o.mailed.After(o.posted) {
		l.MailAfterPost = false
		return l
	}
	if o.settle >= 0 {
		settle := store.Duration(min(max(2*o.settle, defaultSettle), maxSettle))
		l.Settle, l.Worked, l.TooShort = &settle, false, &tooShort{store.Duration(o.settle), o.join, o.ended.UTC()}
	}
	return l
}

// sawNoReply matches the words of CAs that looked and found nothing.
var sawNoReply = regexp.MustCompile(`(?i)no (repl(y|ies)|response|answer|mail|email|e-mail)\b|timed? ?out|not (yet )?(been )?(received|arrived|found)`)

func (o outcome) lookedTooEarly(provenJoin string) bool {
	named := o.reason != "" && !sawNoReply.MatchString(o.reason)
	return !o.posted.IsZero() && o.ended.Sub(o.posted) < tooSoon && !named && (!o.unsure || o.join == provenJoin)
}

// at forgets a longer pause that was learned too long ago.
func (l learned) at(now time.Time) learned {
	if l.TooShort != nil && now.Sub(l.TooShort.At) > remembered {
		l.TooShort = nil
		if l.Settle != nil && time.Duration(*l.Settle) > defaultSettle {
			l.Settle, l.Worked = nil, false
		}
	}
	return l
}

// settle returns the pause that is known to be long enough, else the default.
func (l learned) settle() time.Duration {
	if l.Settle == nil {
		return defaultSettle
	}
	return time.Duration(*l.Settle)
}

// trial returns half of a pause that was long enough, for one order at a time to try; 0
// if there is nothing to try. What was too short lately is not tried again.
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
	unlock, err := lockedfile.MutexAt(filepath.Join(a.dir, ".lock")).Lock()
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

// learn draws the conclusions from the end of an authorization, and reports whether the
// CA looked too early. That they cannot be written down is no reason to fail an order.
func (v *vigil) learn(valid bool, reason string) (tooEarly bool) {
	r, ca := v.r, v.r.ca
	o := outcome{
		valid: valid, reason: reason, ordered: r.order.Created, posted: v.c.Posted, ended: r.i.now(),
		settle: -1, given: v.settleGiven, join: ca.join(r.req.TokenJoin), patient: r.i.Timing.Post,
	}
	o.unsure = o.join != ca.autoJoin()
	if v.answer != nil {
		o.mailed = v.answer.Claimed
	}
	if v.waited {
		o.settle = v.settle
	}
	err := ca.current().learn(func(l learned) learned {
		tooEarly = !valid && o.lookedTooEarly(l.Join)
		return l.after(o)
	})
	if err != nil {
		r.note("", fmt.Sprintf("what this CA taught could not be written down: %v", err))
	}
	return tooEarly
}
