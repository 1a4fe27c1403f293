package submit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Class is the result for a message that the server did not accept.
type Class int

// The classes. A nil error means that the server has accepted the message.
const (
	Later   Class = iota // the message may be sent again
	Failed               // the server refused it for good
	Unknown              // no reply came after the final dot: perhaps the server accepted it
)

// Error is why the server did not accept a message. If the cause is the configuration of this
// host, the text says what to change.
type Error struct {
	Class Class
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Answer is a reply that refuses a command.
type Answer struct {
	Step string // the command, "greeting", or "." for the message
	Code int
	Text string
}

func (a *Answer) Error() string { return fmt.Sprintf("%d %s", a.Code, a.Text) }

// A 5xx reply is a verdict about the message only if it concerns the message; if it concerns
// us, the admin can solve the problem, and then the message succeeds:
//
//	greeting 554, 521            later   it does not want this host
//	EHLO, LHLO, HELO 5xx         later   it does not like our name
//	STARTTLS 5xx                 later   its TLS is out of order
//	AUTH 5xx                     later   user or password is wrong, or the way to log in
//	MAIL, RCPT, DATA 5xx         failed  it does not want the sender, the recipient or the message, but:
//	  530, 534, 535, 538         later   it wants a login or TLS first (RFC 4954, RFC 3207)
//	  500, 502, 503              later   we speak out of turn
//	  about HELO, about logins   later   Postfix, by default, says so at RCPT (smtpd_delay_reject), Exim too
//	  about this client          later   the same
//	MAIL 5.7.x, but 553          later   not authorised (RFC 3463, Section 3.8), unless it names the address
//	final dot 5xx                failed
//	any 4xx, no answer           later
//	no answer after the dot      unknown
func (s *Server) verdict(err error, name string) *Error {
	if own := (*Error)(nil); errors.As(err, &own) {
		return own
	}
	var a *Answer
	if !errors.As(err, &a) {
		return &Error{Later, err}
	}
	switch advice := s.advice(a, name); {
	case a.Code < 500:
		return &Error{Later, err}
	case advice != "":
		return &Error{Later, fmt.Errorf("%s: %w", advice, err)}
	}
	return &Error{Failed, err}
}

// expression compiles a pattern on its first use: most processes send nothing.
func expression(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

var (
	aboutHelo   = expression(`(?i)\b(helo|ehlo|lhlo)\b`)
	aboutLogin  = expression(`(?i)authentication (is )?required|must (first )?authenticate|(client|user) was not authenticated|must issue a starttls`)
	aboutClient = expression(`(?i)client host rejected|client host .* blocked`)
	aboutAddr   = expression(`(?i)(address|sender|recipient) rejected`)
	anAddress   = expression(`\S+@\S+`) // strangers choose it: its words say nothing about us
)

// advice says what to change if an answer concerns us; "" if it concerns the message.
func (s *Server) advice(a *Answer, name string) string {
	ours := "the SMTP server does not like the name " + name + " in our greeting; set helo to the full name of this host"
	login := "the SMTP server wants a login or TLS first; see --smtp, or let it take mail from this host"
	switch a.Step {
	case "greeting":
		return "the SMTP server turns this host away; let it take mail from here, or name another in --smtp"
	case "EHLO", "LHLO", "HELO":
		return ours
	case "STARTTLS":
		return "the SMTP server offers STARTTLS and refuses it; look at its TLS settings"
	case "AUTH":
		return "the SMTP server refuses the login of " + s.User + "; look at the user in --smtp and at the password"
	case "MAIL", "RCPT", "DATA":
	default:
		return ""
	}
	text := anAddress().ReplaceAllString(a.Text, "")
	switch {
	case slices.Contains([]int{530, 534, 535, 538}, a.Code):
		return login
	case aboutAddr().MatchString(text):
		return ""
	case aboutHelo().MatchString(text):
		return ours
	case aboutLogin().MatchString(text):
		return login
	case aboutClient().MatchString(text), a.Step == "MAIL" && a.Code != 553 && strings.HasPrefix(a.Text, "5.7."):
		return "the SMTP server does not take mail from this host; let it, or name another in --smtp"
	case slices.Contains([]int{500, 502, 503}, a.Code):
		return "the SMTP server does not understand " + a.Step + "; is it one that takes mail?"
	}
	return ""
}
