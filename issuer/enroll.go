package issuer

import (
	"context"
	"path/filepath"
	"slices"

	"postseal/internal/failure"
	"postseal/issuer/enroll"
	"postseal/issuer/store"
	"postseal/state"
)

// LockEnrollment makes this process the only one that enrolls until unlock: see enroll.Lock.
func (i *Issuer) LockEnrollment() (unlock func(), err error) {
	if err := i.prepare(); err != nil {
		return nil, err
	}
	return enroll.Lock(i.Dir.Path())
}

// Holdings returns what each address has, for enroll.Plan. It changes nothing.
func (i *Issuer) Holdings() (enroll.Holdings, error) {
	have := enroll.Holdings{}
	damaged := func(name string, err error) {
		i.leftOut(name, err)
		have.Add(store.AddressOf(name), store.KindOf(name), enroll.Certificate)
	}
	err := i.disk.EachCertificate(damaged, func(c store.Certificate) {
		for _, addr := range c.Emails {
			have.Add(addr, c.Kind, i.held(&c))
		}
	})
	if err != nil {
		return nil, err
	}
	orders, err := i.disk.Orders(i.leftOut)
	for _, o := range orders {
		if !o.DryRun && !o.Stored && len(o.Emails) == 1 {
			have.Add(o.Emails[0], o.Kind, enroll.InFlight)
		}
	}
	return have, err
}

func (i *Issuer) held(c *store.Certificate) enroll.State {
	switch {
	case !c.Revoked.IsZero():
		return enroll.Revoked
	case len(c.Emails) > 1:
		return enroll.Shared
	case !i.Now().Before(c.NotAfter):
		return enroll.Expired
	}
	return enroll.Certificate
}

// RevokeFor revokes the certificate of a kind that is in force and names an address alone.
// It returns nil if there is none.
func (i *Issuer) RevokeFor(ctx context.Context, addr, kind string, v Revocation) (*Revoked, error) {
	name, err := i.disk.PickName([]string{addr}, kind)
	if err != nil {
		return nil, err
	}
	dir := i.disk.CertDir(name)
	r, err := store.ReadRenewal(dir)
	if err != nil || !r.InForce(i.Now()) {
		return nil, err
	}
	v.CertPath, v.Server, v.known = filepath.Join(dir, store.CertFile), r.Server, []store.Certificate{{Name: name, Renewal: r}}
	return i.Revoke(ctx, v)
}

// leavers maps the addresses that have left, by their state.Key, to the reason.
type leavers map[string]string

// leavers reads them. It names what it cannot read and goes on: at worst a leaver's
// certificate is renewed, while stopping would let all certificates expire.
func (i *Issuer) leavers() leavers {
	book, err := i.book()
	if err != nil {
		i.leftOut("enroll", err)
		return nil
	}
	return book.Left()
}

// book reads what enroll remembers, and names the files that it cannot read.
func (i *Issuer) book() (*enroll.Book, error) {
	book, err := enroll.Open(i.Dir.Path())
	if err != nil {
		return nil, err
	}
	if err := book.Err(); err != nil {
		i.leftOut("enroll", err)
	}
	return book, nil
}

// why returns why a certificate is no longer renewed, "" if it is: as long as one of its
// owners has not left.
func (l leavers) why(emails []string) (why string) {
	for _, email := range emails {
		if why = l[state.Key(email)]; why == "" {
			return ""
		}
	}
	return why
}

// stay removes what belongs to leavers. It fails if the caller asked for nothing else.
func (l leavers) stay(emails []string, certs []store.Certificate, reqs []Request) ([]store.Certificate, []Request, error) {
	gone := func(of []string) bool { return l.why(of) != "" }
	before := len(certs) + len(reqs)
	certs = slices.DeleteFunc(certs, func(c store.Certificate) bool { return gone(c.Emails) })
	reqs = slices.DeleteFunc(reqs, func(r Request) bool { return gone(r.Emails) })
	if len(emails) > 0 && before > 0 && len(certs)+len(reqs) == 0 {
		return nil, nil, failure.Failed(failure.BackInSource, "%s has left: %s", list(emails), l.why(emails))
	}
	return certs, reqs, nil
}

// WithoutStatus is an address that should have a certificate and has none.
type WithoutStatus struct {
	Email    string        `json:"email"`
	Kind     string        `json:"kind"`
	Domain   string        `json:"domain"` // of the [[enroll]] table
	Since    enroll.Moment `json:"since"`
	Failures int           `json:"failures"`
	Next     enroll.Moment `json:"next_try,omitempty"`
	Reason   string        `json:"reason"`
}

// EnrollStatus is what enroll remembers of an [[enroll]] table.
type EnrollStatus struct {
	Domain    string        `json:"domain"`
	Accepted  enroll.Moment `json:"accepted"`  // when its source was last accepted
	Addresses int           `json:"addresses"` // in its source
	Gone      int           `json:"gone"`      // no longer in it, within the grace or kept
	Left      int           `json:"left"`      // no longer renewed
}

func enrollStatus(s *Status, book *enroll.Book) {
	for _, m := range book.Memories() {
		t := EnrollStatus{Domain: m.Domain, Accepted: m.Accepted}
		for _, e := range m.Entries {
			switch {
			case e.Left != 0:
				t.Left++
			case e.Gone != 0:
				t.Gone++
			default:
				t.Addresses++
				s.Without = append(s.Without, without(m.Domain, e)...)
			}
		}
		s.Enroll = append(s.Enroll, t)
	}
}

// without says of which kinds an address has no certificate. A try is of one kind.
func without(domain string, e enroll.Entry) (all []WithoutStatus) {
	for _, t := range e.Tries {
		all = append(all, WithoutStatus{e.Address, t.Kind, domain, e.Wanted, t.Failures, t.Next, t.Error})
	}
	if all == nil && e.Wanted != 0 {
		all = append(all, WithoutStatus{Email: e.Address, Domain: domain, Since: e.Wanted, Reason: "it waits for its order"})
	}
	return all
}

// CancelFor gives up the order of a kind for an address. If it has ended, nothing is left to do.
func (i *Issuer) CancelFor(ctx context.Context, addr, kind, bundle string) error {
	_, err := i.Cancel(ctx, []string{addr}, []string{kind}, bundle)
	if failure.KindOf(err) == failure.KindNotDue {
		return nil
	}
	return err
}
