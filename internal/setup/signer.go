package setup

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// signer is a program that signs mail with DKIM. Its recipe makes the signatures cover all
// fields of RFC 8823, Section 3.2, item 9.
type signer struct {
	name     string
	programs []string
	seen     func(*Machine) string // what shows that it sees replies
	filter   *regexp.Regexp        // matches it there
	recipe   recipe
}

var signers = []*signer{
	{
		name: "opendkim", programs: []string{"sbin/opendkim"}, seen: filters, filter: regexp.MustCompile(`dkim|:8891`),
		recipe: recipe{
			parts:    []part{signing("postfix-opendkim/opendkim.conf", `^(Sign|Oversign)Headers .*\n`, "/etc/opendkim.conf", AtEnd, "OversignHeaders")},
			commands: []string{"systemctl restart opendkim"},
		},
	},
	{
		name: "rspamd", programs: []string{"bin/rspamd"}, seen: filters, filter: regexp.MustCompile(`rspamd|:11332`),
		recipe: recipe{
			parts:    []part{signing("postfix-rspamd/dkim.conf", `^(.*\n)*`, "/etc/rspamd/local.d/dkim.conf", NewFile, "sign_headers")},
			commands: []string{"systemctl restart rspamd"},
		},
	},
	{name: "amavis", programs: []string{"sbin/amavisd", "sbin/amavisd-new"}, seen: filters, filter: regexp.MustCompile(`amavis`)},
	{
		name: "Exim", programs: []string{"sbin/exim4", "sbin/exim"}, seen: eximConfig, filter: eximSigns,
		recipe: recipe{
			parts: []part{signing("exim/main", `^DKIM_SIGN_HEADERS .*\n`, "/etc/exim4/conf.d/main/00_postseal", NewFile, "DKIM_SIGN_HEADERS")},
		},
	},
}

// signing is the lines of a recipe for a signer. They are in place if a setting already names
// more than the usual fields.
func signing(from, keep, to string, place Place, setting string) part {
	p := lines(from, to, place, `(?i)^\s*`+setting+`.*list-archive`)
	p.keep = regexp.MustCompile("(?m)" + keep)
	return p
}

var (
	itself = &signer{name: "postseal"}
	nobody = &signer{recipe: recipe{notes: []string{
		"no DKIM signer was found that sees replies: unless a relay signs them, let postseal: --dkim-key DOMAIN:SELECTOR:FILE",
	}}}
)

// signers returns the programs that sign replies, as far as files show, at least nobody.
func (m *Machine) signers(keys []DKIMKey) (found []*signer) {
	if len(keys) > 0 {
		return []*signer{itself}
	}
	for _, s := range signers {
		if m.has(s.programs...) && s.filter.MatchString(s.seen(m)) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return []*signer{nobody}
	}
	return found
}

// Signed returns the name of the program that signs replies, or "" if none is known.
func (m *Machine) Signed() string { return m.signers(nil)[0].name }

// Signs reports whether the address of a milter, or of a content filter, looks like that of a
// DKIM signer.
func Signs(address string) bool {
	return slices.ContainsFunc(signers, func(s *signer) bool { return s.filter.MatchString(address) })
}

var notMilter = regexp.MustCompile(`(?m)^[#d].*`) // dnl, define, divert

// filters returns what sees mail from SMTP, as replies are, in Postfix and in Sendmail.
func filters(m *Machine) string {
	return m.postfix.expanded("smtpd_milters") + " " + m.postfix.values["content_filter"] + " " + notMilter.ReplaceAllString(m.read(sendmailMC), "")
}

// eximSigns is the setting, or the macro that Debian's template takes it from.
var eximSigns = regexp.MustCompile(`(?m)^\s*(DKIM_PRIVATE_KEY\s*=|dkim_private_key\s*=\s*[^D\s])`)

// eximConfig returns the files of Exim's configuration, as far as they are readable.
func eximConfig(m *Machine) (text string) {
	single, _ := filepath.Glob(m.at("etc/exim4/*"))
	split, _ := filepath.Glob(m.at("etc/exim4/conf.d/*/*"))
	for _, path := range slices.Concat(single, split) {
		data, _ := os.ReadFile(path)
		text += string(data) + "\n"
	}
	return text
}
