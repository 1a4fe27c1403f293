package main

import (
	"encoding/json"
	"fmt"
	"os"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer"
)

// exportCmd are the flags of "postseal export".
type exportCmd struct {
	Email  string   `short:"e" required:"" placeholder:"ADDR" help:"The address."`
	Kind   []string `env:"-" placeholder:"K" help:"Only certificates of this kind (repeatable)."`
	To     string   `required:"" placeholder:"FILE|DIR" help:"Where to write: a file, or a directory for a file of each certificate."`
	Format string   `default:"p12" placeholder:"FORMAT" help:"p12 (default), p12-legacy (3DES, for old phones and gpgsm), pem (not encrypted), mobileconfig (a profile for iOS and macOS)."`
	Former bool     `help:"The earlier keys too, which old mail needs."`
	passFlags
}

// exportJSON is the JSON of export: one line, so that the lines of many owners are a list.
type exportJSON struct {
	Email    string            `json:"email"`
	Format   string            `json:"format"`
	Exported []issuer.Exported `json:"exported"`
}

func (c *exportCmd) run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Format == "pem" && (s.given("passphrase") || s.given("passphrase-file")) { // the file's are for containers
		return failure.Usage("use another --format, or leave the passphrase out", "a PEM file has no passphrase")
	}
	lock, err := c.choose()
	if err != nil {
		return err
	}
	all, err := s.issuer.Export(issuer.Export{Email: c.Email, Kinds: c.Kind, To: c.To, Format: c.Format, Former: c.Former, Passphrase: lock})
	if err != nil {
		return err
	}
	if !s.JSON {
		for _, e := range all {
			fmt.Println(exportLine(e))
		}
		return nil
	}
	text, err := json.Marshal(exportJSON{c.Email, c.Format, all})
	if err == nil {
		_, err = os.Stdout.Write(append(printable.JSON(text), '\n'))
	}
	return err
}

func exportLine(e issuer.Exported) string {
	line := fmt.Sprintf("%s: certificate %s of %s, valid until %s", e.File, e.Serial, e.Name, day(e.NotAfter))
	if e.Former {
		line += ", an earlier one"
	}
	if e.PassphraseFile != "" {
		line += ", passphrase in " + e.PassphraseFile
	}
	return line
}
