package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"postseal/internal/check"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
)

// checkCmd are the flags of "postseal check".
type checkCmd struct {
	Email            []string `short:"e" placeholder:"ADDR" help:"An address that a certificate is for (repeatable)."`
	Milter           string   `placeholder:"ADDR" help:"Where postseal-milter listens: unix:PATH or inet:PORT@HOST (default: its \"listen\" in the configuration file, else what smtpd_milters says)."`
	Listen           string   `hidden:""` // of postseal-milter, whose file this is too
	PostfixConfig    string   `placeholder:"DIR" help:"Directory of Postfix's configuration (default: its own)."`
	MailUser         string   `placeholder:"USER" help:"Who the mail half runs as (default: postseal)."`
	SMTP             string   `name:"smtp" placeholder:"URL" default:"smtp://localhost:25" help:"Where replies go, as for postseal-milter (default: ${default})."`
	SMTPCA           string   `name:"smtp-ca" placeholder:"FILE" help:"PEM roots for the SMTP server's certificate (default: the system's)."`
	SMTPPasswordFile string   `name:"smtp-password-file" placeholder:"FILE" help:"File that holds the password of the SMTP user (or: POSTSEAL_SMTP_PASSWORD)."`
	Helo             string   `placeholder:"NAME" help:"Name of this host in EHLO, as for postseal-milter (default: its fully qualified name, else its address)."`
	Resolver         string   `placeholder:"HOST:PORT" help:"DNS server (default: the system's)."`
	MailTo           string   `placeholder:"ADDR" help:"Send a message in the form of a reply there, from the address given with -e."`
	Mailbox          string   `placeholder:"PATH" help:"Maildir or mbox file where it arrives: wait for it and look at it."`
	Message          string   `placeholder:"FILE" help:"Look at this copy of one that arrived."`
}

const failureHint = "do what the hint below each failure says, then run the same command again"

// checkJSON is the JSON document of check. The names are stable.
type checkJSON struct {
	Checks   []check.Finding `json:"checks"`
	Skipped  int             `json:"skipped"` // not looked at
	Warnings int             `json:"warnings"`
	Failures int             `json:"failures"`
}

func (c *checkCmd) run(ctx context.Context, s *session, file *cli.File) error {
	o, err := c.options(s, file)
	if err != nil {
		return err
	}
	doc := checkJSON{Checks: []check.Finding{}}
	lookErr := look(ctx, o, func(f check.Finding) {
		f.Text, f.Hint = cli.OneLine(f.Text), cli.OneLine(f.Hint)
		doc.add(f)
		if !s.JSON {
			fmt.Print(findingLine(f, colours(os.Stdout)))
		}
	})
	if s.JSON && len(doc.Checks) > 0 {
		if err := printJSON(doc); err != nil {
			return err
		}
	}
	if lookErr != nil {
		return lookErr
	}
	return doc.err()
}

func (d *checkJSON) add(f check.Finding) {
	d.Checks = append(d.Checks, f)
	switch f.Status {
	case check.Skipped:
		d.Skipped++
	case check.Warning:
		d.Warnings++
	case check.Failure:
		d.Failures++
	}
}

func (d *checkJSON) err() error {
	switch d.Failures {
	case 0:
		return nil
	case 1:
		return failure.Failed(failureHint, "1 failure")
	}
	return failure.Failed(failureHint, "%d failures", d.Failures)
}

// findingLine is the line about a finding, and a second one with what to do.
func findingLine(f check.Finding, coloured bool) string {
	status := fmt.Sprintf("%-8s", f.Status)
	if coloured {
		status = statusColours[f.Status] + status + plainAgain
	}
	line := fmt.Sprintf("%s %s: %s\n", status, f.Check, f.Text)
	if f.Hint != "" {
		line += "         hint: " + f.Hint + "\n"
	}
	return line
}

func (c *checkCmd) options(s *session, file *cli.File) (check.Options, error) {
	emails, err := cert.ParseAddresses(c.Email)
	if err != nil {
		return check.Options{}, err
	}
	if c.MailTo != "" {
		if _, err := cert.ParseAddresses([]string{c.MailTo}); err != nil {
			return check.Options{}, err
		}
	}
	if err := cli.CheckResolver(c.Resolver); err != nil {
		return check.Options{}, err
	}
	if c.Helo != "" {
		if err := hostport.CheckName(c.Helo); err != nil {
			return check.Options{}, failure.Usage("for example: --helo mx1.example.org", "--helo: %v", err)
		}
	}
	password, _ := file.Password(c.SMTPPasswordFile) // an unreadable file is a finding of the check, not an error here
	return check.Options{
		Config: c.config(s, file), State: s.opts.Dir.Path(), Redis: s.redisURL(), MailUser: c.MailUser, Version: cli.Version(),
		Server: s.server(), Account: ca.KnownAccount(s.opts.Dir, s.server()), CABundle: s.CABundle, Emails: emails, Resolver: c.Resolver,
		PostfixConfig: c.PostfixConfig, Milter: cmp.Or(c.Milter, c.Listen),
		SMTP: c.SMTP, Helo: c.Helo, SMTPCA: c.SMTPCA, SMTPPassword: password,
		MailTo: c.MailTo, Mailbox: c.Mailbox, Message: c.Message,
	}, nil
}

func (c *checkCmd) config(s *session, file *cli.File) check.Config {
	conf := check.Config{Path: file.Path, SMIMERoots: file.SMIME.Roots, SMTPPasswordFile: c.SMTPPasswordFile, Passphrase: file.Has("passphrase")}
	for _, name := range []string{"*", s.server()} {
		if _, ok := file.CA[name]; ok {
			conf.CATable, conf.TrustedAuthservID = name, file.CA[name].TrustedAuthservID
		}
	}
	for _, k := range file.DKIM {
		key := check.DKIMKey{Domain: k.Domain, Selector: k.Selector, Path: k.Key}
		signer, err := k.Signer()
		if err == nil {
			key.Public, err = x509.MarshalPKIXPublicKey(signer.Public())
		}
		if err != nil && !errors.As(err, new(*fs.PathError)) { // postseal-check says if the file is unreadable
			key.Wrong = err.Error()
		}
		conf.DKIM = append(conf.DKIM, key)
	}
	return conf
}
