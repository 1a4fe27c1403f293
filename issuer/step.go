package issuer

import (
	"time"

	"postseal/internal/printable"
)

// StepKind says what a Step is about.
type StepKind string

// The steps of an order in their usual sequence, and what can stand between.
const (
	StepAccount   StepKind = "account"   // made or found
	StepOrder     StepKind = "order"     // ordered, or resumed
	StepChallenge StepKind = "challenge" // authorization read, pending record written
	StepWait      StepKind = "wait"      // for the challenge mail
	StepAnswer    StepKind = "answer"    // the mail half replied
	StepPost      StepKind = "post"      // POST {} to the challenge
	StepValid     StepKind = "valid"     // the CA saw the reply
	StepFinalize  StepKind = "finalize"  // CSR sent
	StepIssued    StepKind = "issued"    // certificate downloaded and checked
	StepStored    StepKind = "stored"    // files written
	StepHook      StepKind = "hook"      // deploy hook run
	StepNote      StepKind = "note"      // something the user should read
	StepHint      StepKind = "hint"      // and can do something about
	StepHTTP      StepKind = "http"      // one request; for -v
)

// Step is something that happened on the way to a certificate. It never holds a
// key, a token or a passphrase.
type Step struct {
	Kind  StepKind
	Time  time.Time
	Name  string // the certificate's NAME; "" if it concerns none
	Email string // the address; "" if it concerns all
	Text  string // one printable line for people, whatever others' words are in it
}

// maxStep bounds the text of a step, in bytes.
const maxStep = 2000

func (i *Issuer) step(kind StepKind, name, email, text string) {
	if i.OnStep != nil {
		i.OnStep(Step{Kind: kind, Time: i.now(), Name: name, Email: email, Text: printable.Line(text, maxStep)})
	}
}
