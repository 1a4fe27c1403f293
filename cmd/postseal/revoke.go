package main

import (
	"context"
	"fmt"
	"strings"

	"postseal/issuer"
)

// revokeCmd are the flags of "postseal revoke".
type revokeCmd struct {
	CertPath string `required:"" placeholder:"FILE" help:"The certificate: PEM or PKCS#12."`
	KeyPath  string `placeholder:"FILE" help:"Sign with the certificate's key instead of the account's."`
	passFlags
	Reason     string `placeholder:"R" default:"unspecified" help:"unspecified (default), keycompromise, affiliationchanged, superseded, cessationofoperation."`
	RevokeHook string `placeholder:"CMD" help:"Run this after success."`
}

// revokeJSON is the JSON document of revoke. The names are stable.
type revokeJSON struct {
	Emails  []string `json:"emails"`
	Serial  string   `json:"serial"`
	Server  string   `json:"server"`
	Already bool     `json:"already"` // it was revoked before
}

func (c *revokeCmd) run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	v := issuer.Revocation{
		CertPath: c.CertPath, KeyPath: c.KeyPath, Reason: c.Reason,
		Server: s.Server, CABundle: s.CABundle, Default: s.server(),
		Hook: c.RevokeHook,
	}
	if s.Test {
		v.Server = s.server()
	}
	if err := c.passphrase(s, &v); err != nil {
		return err
	}
	done, err := s.issuer.Revoke(ctx, v)
	if done == nil {
		return err
	}
	if strings.EqualFold(c.Reason, "keycompromise") {
		s.voice.say("postseal: hint: " + another(done))
	}
	word := "revoked"
	if done.Already {
		word = "was revoked already"
	}
	if s.JSON {
		if jsonErr := printJSON(revokeJSON{done.Emails, done.Serial, done.Server, done.Already}); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	fmt.Printf("%s: certificate %s %s\n", join(done.Emails), done.Serial, word)
	return err
}

// another says how to get a certificate in place of one whose key is in other hands.
// Renewals leave revoked ones alone, so nobody gets one by waiting.
func another(r *issuer.Revoked) string {
	command := "postseal cert"
	if r.Stored {
		command = "postseal renew --force"
	}
	for _, email := range r.Emails {
		command += " -e " + email
	}
	return "for another with a new key: " + command
}

func (c *revokeCmd) passphrase(s *session, v *issuer.Revocation) error {
	switch {
	case c.NoPassphrase:
		v.Passphrase = new(string)
	case c.PassphraseFile != "":
		word, err := issuer.ReadPassphrase(c.PassphraseFile)
		if err != nil {
			return err
		}
		v.Passphrase = &word
	case c.Passphrase != "":
		v.Passphrase = &c.Passphrase
	case s.term != nil:
		v.AskPass = func() (string, error) { return s.term.secret("Passphrase of " + c.CertPath + ": ") }
	}
	return nil
}
