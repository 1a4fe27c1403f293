package challenge

import (
	"context"
	"strings"
	"testing"

	"postseal/state"
)

// Readers of ASCII know no other name of the border host, so a stranger's field with one
// passes them: a name that only Unicode folds to the host's, or with white space that only
// Unicode knows, does not count.
func TestAuthservIDIsASCII(t *testing.T) {
	for id, want := range map[string]Verdict{
		border: Answered, "\t" + strings.ToUpper(border): Answered, "\r\n " + border + "\r\n\t1": Answered,
		"mx.example.te\u017ft": Refused, "mx.example.test\u00a01": Refused, "\u00a0" + border: Refused, border + "\u2003": Refused,
		"\u0085" + border: Refused, border + "\v1": Refused, "\f" + border: Refused, border + "\r1": Refused, border + "\u0661": Refused,
		border + "\x00": Refused, border + "\xff": Refused,
	} {
		s := newSite(t)
		p := pending()
		p.Policy.TrustedAuthservID = border
		s.put(t, p)
		forged := strings.Replace(string(signedBy(t, "ca.example", challengeMail())), "This is a challenge", "This is another", 1)
		out := s.Answer(context.Background(), Message{Raw: []byte("Authentication-Results: " + id + "; dkim=pass header.d=ca.example\r\n" + forged)})
		if out.Verdict != want {
			t.Errorf("%q: %v (%s), want %v", id, out.Verdict, out.Reason, want)
		}
	}
}

// A letter outside ASCII whose lower case is in ASCII, the Kelvin sign or a dotted capital I,
// makes another domain or mailbox. Domains with an underscore are invalid to IDNA but are
// compared all the same.
func TestFoldedIntoASCII(t *testing.T) {
	const from, evil = "ca@_acme.tinker.example", "_acme.t\u0130nker.example"
	for name, c := range map[string]struct {
		from, to, d string
		want        Verdict
	}{
		"as ordered":       {from, alice, "_acme.tinker.example", Answered},
		"upper case":       {strings.ToUpper(from), strings.ToUpper(alice), "_ACME.Tinker.example", Answered},
		"d= of a stranger": {from, alice, evil, Refused},
		"From and d=":      {"ca@" + evil, alice, evil, Refused},
		"local part":       {from, "al\u0130ce@example.test", "_acme.tinker.example", None},
		"From":             {"ca@_acme.tin\u212aer.example", alice, "_acme.tinker.example", Refused},
	} {
		s := newSite(t)
		s.LookupTXT = func(_ context.Context, _ string) ([]string, error) { return []string{keyRecord()}, nil }
		p := pending()
		p.From = from
		s.put(t, p)
		mail := strings.NewReplacer("From: "+caFrom, "From: "+c.from, "To: "+alice, "To: "+c.to).Replace(challengeMail())
		if out := s.Answer(context.Background(), Message{Raw: signedBy(t, c.d, mail)}); out.Verdict != c.want {
			t.Errorf("%s: %v (%s), want %v", name, out.Verdict, out.Reason, c.want)
		}
	}
}

// Both halves and state.Key agree on which addresses are the same.
func TestSameAddress(t *testing.T) {
	for other, want := range map[string]bool{
		"Nick@k.example": true, "nick@\u212a.EXAMPLE": true, "ni\u0063\u212a@k.example": false, "n\u0130ck@k.example": false,
	} {
		if got := state.Key(other) == state.Key("nick@k.example"); got != want {
			t.Errorf("%q is the same: %v, want %v", other, got, want)
		}
	}
	if state.Key("J\u00d6RG@\u00c4.example") != state.Key("j\u00f6rg@xn--4ca.example") {
		t.Error("case counts beyond ASCII")
	}
}
