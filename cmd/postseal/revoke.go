package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer"
)

// revokeCmd are the flags of "postseal revoke".
type revokeCmd struct {
	Email    string   `short:"e" placeholder:"ADDR" help:"All certificates in force that name this address."`
	Kind     []string `env:"-" placeholder:"K" help:"With -e: only those of this kind (repeatable)."`
	CertPath string   `placeholder:"FILE" help:"The certificate: PEM, DER or PKCS#12."`
	KeyPath  string   `placeholder:"FILE" help:"Sign with the certificate's key instead of the account's."`
	passFlags
	Reason     string `placeholder:"R" default:"unspecified" help:"unspecified (default), keycompromise, affiliationchanged, superseded, cessationofoperation."`
	RevokeHook string `placeholder:"CMD" help:"Run this after success."`
}

// revokedJSON is the JSON document of revoke -e.
type revokedJSON struct {
	Results []*issuer.Revoked `json:"results"`
}

// run revokes what the command line names. A revocation is not taken back, so an address
// that stands in the environment or the file revokes nothing, and a server that stands
// there is not asked about a certificate that is known to be another's.
func (c *revokeCmd) run(ctx context.Context, s *session, parsed *cli.Parsed) error {
	byAddress := parsed.Given("email")
	switch {
	case byAddress && parsed.Given("cert-path"):
		return failure.Usage("leave one out", "-e and --cert-path contradict each other")
	case byAddress && c.KeyPath != "":
		return failure.Usage("give the certificate with --cert-path", "--key-path is for one certificate")
	case !byAddress && c.Kind != nil:
		return failure.Usage("leave one out", "--kind goes with -e alone")
	case !byAddress && c.CertPath == "":
		return failure.Usage("give an address with -e, or a certificate with --cert-path", "nothing to revoke is given")
	}
	if err := c.check(); err != nil {
		return err
	}
	v := issuer.Revocation{CertPath: c.CertPath, KeyPath: c.KeyPath, Reason: c.Reason, Default: s.server(), Hook: c.RevokeHook}
	if parsed.Given("server") || parsed.Given("test") {
		v.Server = s.server()
	}
	if err := c.passphrase(s, &v); err != nil {
		return err
	}
	if byAddress {
		return c.all(ctx, s, v)
	}
	done, err := s.issuer.Revoke(ctx, v)
	if done == nil {
		return err
	}
	c.tell(s, done)
	if s.JSON {
		return errors.Join(err, printJSON(done))
	}
	return err
}

// all revokes the certificates of an address. One that fails keeps none of the others.
func (c *revokeCmd) all(ctx context.Context, s *session, v issuer.Revocation) error {
	paths, err := s.issuer.InForce(c.Email, c.Kind)
	if err != nil {
		return err
	}
	var failed error
	results := []*issuer.Revoked{}
	for _, path := range paths {
		v.CertPath = path
		done, err := s.issuer.Revoke(ctx, v)
		if failed == nil {
			failed = err
		} else if err != nil {
			s.voice.say("postseal: " + cli.OneLine(err.Error()))
		}
		if done == nil {
			continue
		}
		results = append(results, done)
		c.tell(s, done)
	}
	if s.JSON {
		return errors.Join(failed, printJSON(revokedJSON{results}))
	}
	return failed
}

func (c *revokeCmd) tell(s *session, done *issuer.Revoked) {
	if strings.EqualFold(c.Reason, "keycompromise") {
		s.voice.say("postseal: hint: " + another(done))
	}
	word := "revoked"
	if done.Already {
		word = "was revoked already"
	}
	if !s.JSON {
		fmt.Printf("%s: certificate %s %s\n", whose(done.Emails, done.Kind), done.Serial, word)
	}
}

// another says how to get a certificate in place of one whose key is in other hands.
// Renewals leave revoked ones alone, so nobody gets one by waiting.
func another(r *issuer.Revoked) string {
	command := "postseal cert"
	if r.Stored {
		command = "postseal renew --force"
	}
	for _, email := range r.Emails {
		command += " -e " + printable.Word(email) // of a certificate that anybody may have written
	}
	if r.Kind != "" {
		command += " --kind " + r.Kind
	}
	return "for another with a new key: " + command
}

func (c *revokeCmd) passphrase(s *session, v *issuer.Revocation) (err error) {
	v.Passphrase, err = c.choose()
	if s.term != nil {
		v.AskPass = func() (string, error) { return s.term.secret("Passphrase of " + c.CertPath + ": ") }
	}
	return err
}
