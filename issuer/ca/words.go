package ca

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/internal/printable"
)

// problemHints are the next steps for a problem document's type (RFC 8555, Section 6.7).
var problemHints = map[string]string{
	acme.ProblemTypeExternalAccountRequired: failure.BindAccount,
	acme.ProblemTypeUserActionRequired:      "the CA wants something of you first: see its site, then run the same command again",
	acme.ProblemTypeRejectedIdentifier:      "the CA does not serve this address",
	acme.ProblemTypeUnsupportedIdentifier:   failure.TryCertbot,
	acme.ProblemTypeAccountDoesNotExist:     failure.ForgetAccount,
	acme.ProblemTypeInvalidContact:          failure.OtherContact,
	acme.ProblemTypeUnsupportedContact:      failure.OtherContact,
	acme.ProblemTypeCAA:                     "the domain's CAA record (issuemail, RFC 9495) forbids this CA",
	acme.ProblemTypeRateLimited:             "run the same command again later",
	acme.ProblemTypeBadRevocationReason:     failure.OtherReason,
	acme.ProblemTypeUnauthorized:            failure.ShowAccount,
	acme.ProblemTypeConnection:              "the CA could not reach the mail server: look at its MX records and its log",
	acme.ProblemTypeDNS:                     failure.CheckDNS,
	acme.ProblemTypeServerInternal:          serverHint,
	typeInvalidProfile:                      failure.OtherProfile,
}

// The requests to a CA that a hint depends on.
const (
	making       = "making an account"
	revoking     = "revoking"
	revokingWith = "revoking with the certificate's key"
)

// hintsAt override problemHints: the same type means something else in another place. An
// empty one means that the next step is unknown.
var hintsAt = map[string]map[string]string{
	making: {
		acme.ProblemTypeUnauthorized:        "",
		acme.ProblemTypeAccountDoesNotExist: "",
	},
	Finalizing: {
		acme.ProblemTypeBadCSR:       failure.OtherRequest,
		acme.ProblemTypeBadPublicKey: failure.RevokeOldKey,
	},
	revoking: {
		acme.ProblemTypeUnauthorized: failure.SignByKey,
	},
	revokingWith: {
		acme.ProblemTypeUnauthorized:          failure.SignByAccount,
		acme.ProblemTypeAccountDoesNotExist:   failure.SignByAccount,
		acme.ProblemTypeMalformed:             failure.SignByAccount,
		acme.ProblemTypeBadPublicKey:          failure.SignByAccount,
		acme.ProblemTypeBadSignatureAlgorithm: failure.SignByAccount,
	},
}

const serverHint = "the CA has trouble of its own: run the same command again later"

// typeInvalidProfile is defined in draft-ietf-acme-profiles.
const typeInvalidProfile = acme.ProblemTypeNamespace + "invalidProfile"

// problemHint returns the next step after a refusal, "" if none fits.
func (c *CA) problemHint(what string, p acme.Problem) string {
	if what == making && c.options.Account.EABKid != "" && p.Status < http.StatusInternalServerError &&
		(p.Type == acme.ProblemTypeUnauthorized || p.Type == acme.ProblemTypeMalformed) {
		return failure.CheckBinding
	}
	if hint, known := hintsAt[what][p.Type]; known {
		return hint
	}
	if problemHints[p.Type] == "" && p.Status >= http.StatusInternalServerError {
		return serverHint
	}
	return problemHints[p.Type]
}

// Host returns the name of a CA for people.
func Host(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Explain turns an error of a request to the CA into one line and a hint.
func (c *CA) Explain(what string, err error) error {
	say := func(hint, format string, args ...any) error {
		return failure.WithHint(&requestError{fmt.Sprintf(format, args...), err}, hint)
	}
	if err == nil || errors.As(err, new(*failure.Error)) || errors.Is(err, ErrPending) || errors.Is(err, context.Canceled) {
		return err
	}
	at := what + " at " + Host(c.Server)
	if fault := FaultOf(err); fault != nil {
		return say(faultHint, "%s: %v", at, fault)
	}
	if p, ok := ProblemOf(err); ok {
		return say(c.problemHint(what, p), "%s: the CA says %s", at, Describe(p))
	}
	switch m := serverError.FindStringSubmatch(err.Error()); {
	case Untrusted(err):
		return say(failure.TrustRoot, "the certificate of %s is not trusted: %v", c.Server, failure.Root(err))
	case Network(err):
		return say(failure.CheckNetwork, "cannot reach %s: %v", c.Server, failure.Root(err))
	case m != nil:
		return say(serverHint, "%s: the CA says %s", at, printable.Line(strings.TrimSpace(m[1]), maxRaw))
	}
	return say(failure.CheckServer, "%s: %s does not answer like an ACME server: %s", what, c.Server, plainly(err))
}

// serverError matches acmez's error for a failure without a problem document.
var serverError = regexp.MustCompile(`(?s)(HTTP 5\d\d: .*)`)

// notJSON matches acmez's error for an answer of the wrong type.
var notJSON = regexp.MustCompile(`response Content-Type is (\S*) but target container.*`)

func plainly(err error) string {
	text := strings.TrimPrefix(err.Error(), "provisioning client: ")
	if m := notJSON.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the answer is %q, not JSON", m[1])
	}
	return printable.Line(strings.TrimSpace(text), maxRaw)
}

// requestError is a failed request, in words for people.
type requestError struct {
	text string
	err  error
}

func (e *requestError) Error() string { return e.text }
func (e *requestError) Unwrap() error { return e.err }

// Bounds of what we show of a problem document: its subproblems, and each word of the CA in
// bytes.
const (
	maxSubproblems = 10
	MaxWord        = 300
	maxRaw         = 200 // an answer that is not ACME
)

// Describe writes a problem document in one line, subproblems included (RFC 8555, Section
// 6.7.1), but not their own subproblems.
func Describe(p acme.Problem) string {
	text := describeOne(p)
	for n, sub := range p.Subproblems {
		if n == maxSubproblems {
			text += fmt.Sprintf("; and %d more", len(p.Subproblems)-n)
			break
		}
		text += "; " + printable.Line(sub.Identifier.Value, MaxWord) + " " + describeOne(sub.Problem)
	}
	return text
}

// wordsOf writes in one line what an unsuccessful answer says.
func wordsOf(resp *http.Response, body []byte) string {
	var p acme.Problem
	if json.Unmarshal(body, &p) == nil && p.Detail+p.Title+p.Type != "" {
		return Describe(p)
	}
	text := fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	plain := strings.TrimSpace(string(body))
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") && plain != "" {
		text += ": " + Quoted(plain)
	}
	return text
}

// Quoted quotes a word of the CA's, so that its end is visible.
func Quoted(word string) string { return printable.Line(strconv.Quote(word), MaxWord) }

func describeOne(p acme.Problem) string {
	kind := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	text := Quoted(cmp.Or(p.Detail, p.Title))
	if kind != "" && kind != "about:blank" {
		text += " (" + printable.Line(kind, MaxWord) + ")"
	}
	if p.Instance != "" {
		text += "; see " + printable.Line(p.Instance, MaxWord)
	}
	return text
}

// caFault is an invalid answer of the CA, which no other network, time or option improves.
type caFault struct{ text string }

func (e *caFault) Error() string { return e.text }

const faultHint = "that is the CA's mistake, or somebody's between: tell the CA's people what it says here"

// Fault returns the error of a CA that breaks a rule which we check.
func Fault(format string, args ...any) error {
	return failure.WithHint(&caFault{fmt.Sprintf(format, args...)}, faultHint)
}

// FaultOf returns the CA's fault, nil for all other errors.
func FaultOf(err error) error {
	if found, ok := errors.AsType[*caFault](err); ok {
		return found
	}
	if clear, ok := errors.AsType[*https.Error](err); ok {
		return &caFault{"the CA names a URL that is not asked: " + clear.Error()}
	}
	if bad, ok := errors.AsType[*url.Error](err); ok && bad.Op == "parse" {
		return &caFault{"the CA names something that is not a URL: " + printable.Line(bad.URL, MaxWord)}
	}
	return nil
}

// ProblemOf returns the problem document in the chain of err.
func ProblemOf(err error) (acme.Problem, bool) { return errors.AsType[acme.Problem](err) }

func isProblem(err error, kind string) bool {
	p, ok := ProblemOf(err)
	return ok && p.Type == kind
}

// Untrusted reports whether a CA's certificate is not trusted.
func Untrusted(err error) bool { return errors.As(err, new(*tls.CertificateVerificationError)) }

// Network reports whether an error is one of the network.
func Network(err error) bool {
	return FaultOf(err) == nil && (errors.As(err, new(net.Error)) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))
}

// transient reports whether the same request may succeed a moment later.
func transient(err error, status int) bool {
	if FaultOf(err) != nil {
		return false
	}
	if p, ok := ProblemOf(err); ok {
		return p.Status >= http.StatusInternalServerError
	}
	return Network(err) && !Untrusted(err) || status >= http.StatusInternalServerError
}

// Hint returns the next step after a problem, "" if none of ours fits.
func Hint(p acme.Problem) string { return problemHints[p.Type] }

// These report whether the words of a CA concern the signature of a reply, its content, or that
// the CA found none.
var (
	BlamesSignature = regexp.MustCompile(`(?i)dkim|signature|signed|spf|dmarc`).MatchString
	BlamesDigest    = regexp.MustCompile(`(?i)digest|token|thumbprint|key ?auth|hash|response`).MatchString
	SawNoReply      = regexp.MustCompile(`(?i)no (repl(y|ies)|response|answer|mail|email|e-mail)\b|timed? ?out|not (yet )?(been )?(received|arrived|found)`).MatchString
)
