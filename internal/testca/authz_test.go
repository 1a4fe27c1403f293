package testca

import (
	"errors"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// status names: arrival validates without a POST, post needs it.
func TestValidate(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Validate: ValidateOnArrival})
	c := challenge(t, ca, box, alice)
	c.outcome(c.reply())
	if s := c.status(); s != acme.StatusValid {
		t.Errorf("after the reply the authorization is %s", s)
	}
	if ch := c.postChallenge(c.authz); ch.Status != acme.StatusValid || ch.Validated == "" {
		t.Errorf("the POST is answered %s, validated %q", ch.Status, ch.Validated)
	}
}

// With arrival, posting early is harmless.
func TestArrivalAfterPost(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Validate: ValidateOnArrival, ReplyWait: time.Nanosecond})
	c := challenge(t, ca, box, alice)
	c.postChallenge(c.authz)
	c.outcome(c.reply())
	if s := c.status(); s != acme.StatusValid {
		t.Errorf("the authorization is %s", s)
	}
}

// With post, a POST finds a reply that comes a little later.
func TestReplyWithinWait(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, ReplyWait: time.Minute, RetryAfter: time.Second})
	c := challenge(t, ca, box, alice)
	if ch := c.postChallenge(c.authz); ch.Status != acme.StatusProcessing {
		t.Errorf("the POST is answered %s", ch.Status)
	}
	if s := c.status(); s != acme.StatusPending {
		t.Errorf("the authorization is %s", s)
	}
	c.outcome(c.reply())
	if s := c.status(); s != acme.StatusValid {
		t.Errorf("then %s", s)
	}
}

// Too early a POST is fatal at such a CA.
func TestPostTooEarly(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, ReplyWait: time.Millisecond})
	c := challenge(t, ca, box, alice)
	c.postChallenge(c.authz)
	waitEvents(t, ca, EventInvalid, 1)
	a, err := c.GetAuthorization(t.Context(), c.acct, c.authz.Location)
	if err != nil || a.Status != acme.StatusInvalid || a.Challenges[0].Error == nil {
		t.Errorf("%s %v, %v", a.Status, a.Challenges[0].Error, err)
	}
	if got := c.outcome(c.reply()); got.Verdict != VerdictDuplicate {
		t.Errorf("a reply that is too late is %s", got.Verdict)
	}
}

func TestMuteErrors(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, ReplyWait: time.Millisecond, MuteErrors: true})
	c := challenge(t, ca, box, alice)
	c.postChallenge(c.authz)
	waitEvents(t, ca, EventInvalid, 1)
	if a := c.client.authz(acme.Order{Authorizations: []string{c.authz.Location}}, 0); a.Status != acme.StatusInvalid || a.Challenges[0].Error != nil {
		t.Errorf("%s with error %v", a.Status, a.Challenges[0].Error)
	}
}

func TestPostAnswer(t *testing.T) {
	for _, answer := range []string{statusPending, statusProcessing} {
		box := newMailbox(t)
		ca := start(t, Config{Relay: box.addr, PostAnswer: answer})
		c := challenge(t, ca, box, alice)
		c.outcome(c.reply())
		if ch := c.postChallenge(c.authz); ch.Status != answer {
			t.Errorf("the POST is answered %s, not %s", ch.Status, answer)
		}
		if s := c.status(); s != acme.StatusValid {
			t.Errorf("the authorization is %s", s)
		}
	}
}

func TestDeactivated(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, ReplyWait: time.Hour})
	c := challenge(t, ca, box, alice)
	c.postChallenge(c.authz)
	if _, err := c.DeactivateAuthorization(t.Context(), c.acct, c.authz.Location); err != nil {
		t.Fatal(err)
	}
	if got := c.outcome(c.reply()); got.Verdict != VerdictDuplicate {
		t.Errorf("a reply to a deactivated authorization is %s", got.Verdict)
	}
	if s := c.status(); s != acme.StatusDeactivated {
		t.Errorf("then %s", s)
	}
}

// A serial CA validates one at a time, and loses replies otherwise.
func TestSerial(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Serial: true, ReplyWait: time.Millisecond})
	c := newClient(t, ca)
	c.obtain(ca, box, alice)
	c.obtain(ca, box, alice)

	one, two := challenge(t, ca, box, alice), challenge(t, ca, box, "bob@example.test")
	one.outcome(one.reply())
	two.outcome(two.reply())
	if ch := one.postChallenge(one.authz); ch.Status != acme.StatusValid {
		t.Errorf("the first is %s", ch.Status)
	}
	two.postChallenge(two.authz)
	waitEvents(t, ca, EventInvalid, 1)
	if s := two.status(); s != acme.StatusInvalid {
		t.Errorf("the second is %s", s)
	}
}

// While a serial CA looks for one reply, others are lost as they come.
func TestSerialArrival(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Serial: true, ReplyWait: time.Hour})
	one, two := challenge(t, ca, box, alice), challenge(t, ca, box, "bob@example.test")
	one.postChallenge(one.authz)
	if got := two.outcome(two.reply()); got.Reason == "" {
		t.Error("the reply was not lost")
	}
	one.outcome(one.reply())
	if s := one.status(); s != acme.StatusValid {
		t.Errorf("the first is %s", s)
	}
}

func TestRefusedConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"listen":      {Listen: "0.0.0.0:0"},
		"name":        {SMTPListen: "example.org:25"},
		"no port":     {DNSListen: "127.0.0.1"},
		"trigger":     {MailTrigger: "never"},
		"join":        {Join: "xor"},
		"sign":        {Sign: "pgp"},
		"validate":    {Validate: "later"},
		"form":        {SMIMEForm: "x"},
		"subject":     {SubjectForm: "x"},
		"answer":      {PostAnswer: "valid"},
		"case":        {IdentifierCase: "title"},
		"part1":       {Part1Bytes: -1},
		"lifetime":    {Lifetime: time.Millisecond},
		"probability": {Fail: 1.5},
		"fault":       {Faults: []Fault{{Type: "fire"}}},
		"fault kind":  {Faults: []Fault{{Kind: "toaster", Type: FaultDrop}}},
	} {
		ca, err := Start(t.Context(), cfg)
		if err == nil {
			ca.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	if err := errors.Join(CheckLoopback("127.0.0.1:0"), CheckLoopback("[::1]:443"), CheckLoopback("localhost:1")); err != nil {
		t.Error(err)
	}
}
