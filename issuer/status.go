package issuer

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Status is the content of the state directory. The field names of its JSON are stable.
type Status struct {
	Certificates []CertStatus    `json:"certificates"`
	Orders       []OrderStatus   `json:"orders"`
	Pending      []PendingStatus `json:"pending"`
	Notes        []NoteStatus    `json:"notes"`
	Answers      []AnswerStatus  `json:"answers"`
	MailHalves   []HalfStatus    `json:"mail_halves"`
	Failed       []FailedStatus  `json:"failed"`
	Without      []WithoutStatus `json:"without"`
	Enroll       []EnrollStatus  `json:"enroll"`
	Runs         []RunStatus     `json:"runs"`
	History      []HistoryStatus `json:"history"`
}

// The states of a certificate.
const (
	CertValid   = "valid"
	CertDue     = "due" // for renewal
	CertExpired = "expired"
	CertRevoked = "revoked"
)

// CertStatus is one certificate.
type CertStatus struct {
	Name        string     `json:"name"`
	Emails      []string   `json:"emails"`
	Kind        string     `json:"kind"`
	Server      string     `json:"server"`
	State       string     `json:"state"`
	Serial      string     `json:"serial"`
	SHA256      string     `json:"sha256"`
	KeyType     string     `json:"key_type"`
	Issued      time.Time  `json:"issued"` // to us, by our clock
	NotBefore   time.Time  `json:"not_before"`
	NotAfter    time.Time  `json:"not_after"`
	DaysLeft    int        `json:"days_left"`
	RenewAt     time.Time  `json:"renew_at"`
	RenewSource string     `json:"renew_source"` // "ari" or "lifetime"
	WindowStart *time.Time `json:"window_start,omitempty"`
	WindowEnd   *time.Time `json:"window_end,omitempty"`
	WindowWhy   string     `json:"window_explanation,omitempty"` // a URL
	Dir         string     `json:"dir"`
	Left        string     `json:"left,omitempty"` // why it is not renewed any more
}

// OrderStatus is one order in flight.
type OrderStatus struct {
	Name       string    `json:"name"`
	Emails     []string  `json:"emails"`
	Kind       string    `json:"kind"`
	Server     string    `json:"server"`
	DryRun     bool      `json:"dry_run"`
	Created    time.Time `json:"created"`
	URL        string    `json:"url,omitempty"`
	WaitingFor string    `json:"waiting_for"`
	Running    bool      `json:"running"` // a process works on it
}

// PendingStatus is one challenge that the mail half waits for.
type PendingStatus struct {
	Email   string    `json:"email"`
	Server  string    `json:"server"`
	From    string    `json:"from"`
	State   string    `json:"state"` // "ordering" or "pending"
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// AnswerStatus is one answer of the mail half.
type AnswerStatus struct {
	Email  string    `json:"email"`
	Server string    `json:"server"`
	Phase  string    `json:"phase"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason,omitempty"`
}

// NoteStatus is the last mail for a pending challenge that the mail half refused or put off.
// Anybody may have sent it.
type NoteStatus struct {
	Email   string    `json:"email"`
	Server  string    `json:"server"`
	Verdict string    `json:"verdict"` // "refused" or "later"
	Reason  string    `json:"reason"`
	Time    time.Time `json:"time"`
	Count   int       `json:"count"` // of such mails, at most one a minute
}

// HalfStatus is a mail half that has given a sign of life.
type HalfStatus struct {
	Host string    `json:"host"`
	Seen time.Time `json:"seen"`
}

// RunStatus is the last run of "renew" or "enroll" for all addresses that has ended.
type RunStatus struct {
	Command string    `json:"command"`
	Ended   time.Time `json:"ended"`
	Status  int       `json:"exit_status"`
}

func newStatus() *Status {
	return &Status{
		Certificates: []CertStatus{}, Orders: []OrderStatus{}, Pending: []PendingStatus{}, Notes: []NoteStatus{}, Answers: []AnswerStatus{},
		MailHalves: []HalfStatus{}, Failed: []FailedStatus{}, Without: []WithoutStatus{}, Enroll: []EnrollStatus{}, Runs: []RunStatus{},
		History: []HistoryStatus{},
	}
}

// Status reads the state directory and the store that the mail half shares. It asks no CA
// and changes nothing.
func (i *Issuer) Status() (*Status, error) {
	s := newStatus()
	if info, err := os.Stat(i.Dir.Path()); err == nil && !info.IsDir() {
		return nil, store.Error(i.Dir.Path(), errors.New("is not a directory"))
	}
	for _, read := range []func(*Status) error{i.pendingStatus, i.answerStatus, i.halfStatus} {
		if err := read(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, i.storeError(err)
		}
	}
	book, err := i.book()
	if err != nil {
		return nil, err
	}
	if err := i.certStatus(s, book.Left()); err != nil {
		return nil, err
	}
	if err := i.orderStatus(s); err != nil {
		return nil, err
	}
	enrollStatus(s, book)
	i.historyStatus(s)
	i.runStatus(s)
	return s, nil
}

// Only removes what concerns other addresses alone. Mail halves, runs and tables concern all.
func (s *Status) Only(emails []string) {
	other := func(email string) bool { return !cert.NamesOneOf([]string{email}, emails) }
	s.Certificates = slices.DeleteFunc(s.Certificates, func(c CertStatus) bool { return !cert.NamesOneOf(c.Emails, emails) })
	s.Orders = slices.DeleteFunc(s.Orders, func(o OrderStatus) bool { return !cert.NamesOneOf(o.Emails, emails) })
	s.Pending = slices.DeleteFunc(s.Pending, func(p PendingStatus) bool { return other(p.Email) })
	s.Notes = slices.DeleteFunc(s.Notes, func(n NoteStatus) bool { return other(n.Email) })
	s.Answers = slices.DeleteFunc(s.Answers, func(a AnswerStatus) bool { return other(a.Email) })
	s.Failed = slices.DeleteFunc(s.Failed, func(f FailedStatus) bool { return !cert.NamesOneOf(f.Emails, emails) })
	s.Without = slices.DeleteFunc(s.Without, func(w WithoutStatus) bool { return other(w.Email) })
	s.History = slices.DeleteFunc(s.History, func(h HistoryStatus) bool { return !cert.NamesOneOf(h.Emails, emails) })
}

// OnlyFailed removes all but the addresses without success: their last order failed, or they
// have no certificate yet.
func (s *Status) OnlyFailed() {
	failed, without := s.Failed, s.Without
	*s = *newStatus()
	s.Failed, s.Without = failed, without
}

func (i *Issuer) certStatus(s *Status, left leavers) error {
	certs, err := i.certificates(nil, nil)
	for _, c := range certs {
		d := i.describe(c)
		if d.Left = left.why(c.Emails); d.Left != "" && d.State == CertDue {
			d.State = CertValid
		}
		s.Certificates = append(s.Certificates, d)
	}
	slices.SortFunc(s.Certificates, func(a, b CertStatus) int { return strings.Compare(a.Name, b.Name) })
	return err
}

func (i *Issuer) describe(c store.Certificate) CertStatus {
	d := CertStatus{
		Name: c.Name, Emails: c.Emails, Kind: c.Kind, Server: c.Server, State: CertValid, Serial: c.Serial, SHA256: c.Fingerprint,
		KeyType: c.KeyType, Issued: c.Issued, NotBefore: c.NotBefore, NotAfter: c.NotAfter, DaysLeft: daysLeft(c.NotAfter, i.Now()),
		RenewAt: c.RenewAt(), RenewSource: "lifetime", Dir: i.disk.CertDir(c.Name),
	}
	if c.Window != nil {
		d.WindowStart, d.WindowEnd, d.WindowWhy = &c.Window.Start, &c.Window.End, c.Window.Why
		if d.RenewAt.Equal(c.Window.At) {
			d.RenewSource = "ari"
		}
	}
	switch {
	case !c.Revoked.IsZero():
		d.State = CertRevoked
	case !i.Now().Before(c.NotAfter):
		d.State = CertExpired
	case c.Due(i.Now()):
		d.State = CertDue
	}
	return d
}

func (i *Issuer) pendingStatus(s *Status) error {
	records, err := i.Store.All(i.Now())
	var ids []string
	byID := map[string]*state.Pending{}
	for _, p := range records {
		d := PendingStatus{Email: p.Email, Server: p.Server, From: p.From, State: "pending", Created: p.Created, Expires: p.Expires}
		if p.Ordering() {
			d.State = "ordering"
		}
		s.Pending = append(s.Pending, d)
		ids, byID[p.ID] = append(ids, p.ID), p
	}
	slices.SortFunc(s.Pending, func(a, b PendingStatus) int { return strings.Compare(a.Email, b.Email) })
	if err != nil {
		return err
	}
	notes, err := i.Store.Notes(ids)
	for _, n := range notes {
		p := byID[n.ID]
		s.Notes = append(s.Notes, NoteStatus{Email: p.Email, Server: p.Server, Verdict: n.Verdict, Reason: n.Reason, Time: n.Time, Count: n.Count})
	}
	slices.SortFunc(s.Notes, func(a, b NoteStatus) int { return b.Time.Compare(a.Time) })
	return err
}

func (i *Issuer) runStatus(s *Status) {
	for _, command := range []string{store.RunRenew, store.RunEnroll} {
		r, err := i.disk.LastRun(command)
		if err != nil {
			i.leftOut(command, err)
		}
		if r != nil {
			s.Runs = append(s.Runs, RunStatus{command, r.Ended, r.Status})
		}
	}
}

// Ended records, for "status", the end of a run of a command for all addresses. The run does
// not depend on it.
func (i *Issuer) Ended(command string, status int) {
	r := store.Run{Ended: i.Now().UTC().Truncate(time.Second), Status: status}
	if err := i.disk.RecordRun(command, r); err != nil {
		i.step(StepNote, "", "", "the end of this run could not be written down: "+err.Error())
	}
}

func (i *Issuer) halfStatus(s *Status) error {
	halves, err := i.Store.MailHalves()
	for _, h := range halves {
		s.MailHalves = append(s.MailHalves, HalfStatus(h))
	}
	return err
}

// mostAnswers bounds how many answers Status returns: the last ones.
const mostAnswers = 20

func (i *Issuer) answerStatus(s *Status) error {
	answers, err := i.Store.Answers(mostAnswers)
	for _, a := range answers {
		d := AnswerStatus{Email: a.Email, Server: a.Server, Phase: string(a.Phase), Time: a.Ended, Reason: a.Reason}
		if d.Time.IsZero() {
			d.Time = a.Claimed
		}
		s.Answers = append(s.Answers, d)
	}
	slices.SortFunc(s.Answers, func(a, b AnswerStatus) int { return b.Time.Compare(a.Time) })
	s.Answers = s.Answers[:min(len(s.Answers), mostAnswers)]
	return err
}

func (i *Issuer) orderStatus(s *Status) error {
	orders, err := i.disk.Orders(i.leftOut)
	for _, o := range orders {
		s.Orders = append(s.Orders, OrderStatus{
			Name: strings.TrimSuffix(o.Name, store.DrySuffix), Emails: o.Emails, Kind: o.Kind, Server: o.Server, DryRun: o.DryRun,
			Created: o.Created, URL: o.URL, WaitingFor: i.waitsFor(o.Order, s.Pending), Running: i.disk.Running(o.Emails[0], o.Kind),
		})
	}
	return err
}

// waitsFor returns in words what an order waits for.
func (i *Issuer) waitsFor(o *store.Order, pending []PendingStatus) string {
	switch {
	case o.HookError != "":
		return "the deploy hook to succeed: " + o.HookError
	case o.Stored:
		return "the deploy hook"
	case o.Refusal != nil:
		return "the CA to issue the certificate, although it refused: " + o.Refusal.Text
	case o.Finalizing:
		return "the CA to issue the certificate"
	case o.URL == "":
		return "the CA to take the order"
	}
	var waits []string
	for _, c := range o.Challenges {
		a, err := i.Store.Answer(c.ID)
		answered := err == nil && a != nil && a.Phase != state.Failed && a.Phase != state.Claimed
		for _, p := range pending { // a valid authorization has no record any more
			switch {
			case p.Server != o.Server || state.Key(p.Email) != state.Key(c.Email):
			case answered:
				waits = append(waits, "the CA to look at the reply for "+c.Email)
			default:
				waits = append(waits, "the challenge mail from "+cmp.Or(p.From, "an address it does not tell")+" to "+c.Email)
			}
		}
	}
	if len(waits) == 0 {
		return "the CA"
	}
	return strings.Join(waits, "; ")
}
