package setup

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// signer is a program that signs mail with DKIM, and the lines with which its signatures
// cover all fields of RFC 8823, Section 3.2, item 9.
type signer struct {
	name     string
	programs []string
	filter   *regexp.Regexp // matches its name in the mail server's files
	lines    part
	keep     *regexp.Regexp // of the lines
	setting  string         // names the fields
	restart  []string
}

var signers = []signer{
	{
		name: "opendkim", programs: []string{"sbin/opendkim"}, filter: regexp.MustCompile(`dkim|:8891`),
		lines: part{from: "postfix-opendkim/opendkim.conf", to: "/etc/opendkim.conf", place: AtEnd},
		keep:  regexp.MustCompile(`(?m)^(Sign|Oversign)Headers .*\n`), setting: "OversignHeaders",
		restart: []string{"systemctl restart opendkim"},
	},
	{
		name: "rspamd", programs: []string{"bin/rspamd"}, filter: regexp.MustCompile(`rspamd|:11332`),
		lines: part{from: "postfix-rspamd/dkim.conf", to: "/etc/rspamd/local.d/dkim.conf", place: NewFile},
		keep:  regexp.MustCompile(`(?s).*`), setting: "sign_headers",
		restart: []string{"systemctl restart rspamd"},
	},
	{name: "amavis", programs: []string{"sbin/amavisd", "sbin/amavisd-new"}, filter: regexp.MustCompile(`amavis`)},
	{
		name: "Exim", programs: []string{"sbin/exim4", "sbin/exim"}, filter: regexp.MustCompile(`^Exim$`),
		lines: part{from: "exim/main", to: "/etc/exim4/conf.d/main/00_postseal", place: NewFile},
		keep:  regexp.MustCompile(`(?m)^DKIM_SIGN_HEADERS .*\n`), setting: "DKIM_SIGN_HEADERS",
	},
}

// Signs reports whether the address of a milter, or of a content filter, looks like that of a
// DKIM signer.
func Signs(address string) bool {
	for _, s := range signers {
		if s.filter.MatchString(address) {
			return true
		}
	}
	return false
}

// signers returns the programs that sign replies, as far as files show.
func (m *Machine) signers() (found []signer) {
	filters := ""
	for _, s := range m.Servers {
		if filters == "" && s.filters != nil {
			filters = s.filters(m)
		}
	}
	for _, s := range signers {
		if m.has(s.programs) && s.filter.MatchString(filters) {
			found = append(found, s)
		}
	}
	return found
}

// Signed returns the name of the program that signs replies, or "" if none is known.
func (m *Machine) Signed() string {
	if found := m.signers(); len(found) > 0 {
		return found[0].name
	}
	return ""
}

func postfixFilters(m *Machine) string {
	return m.postfix.expanded("smtpd_milters") + " " + m.postfix.get("content_filter")
}

const sendmailMC = "/etc/mail/sendmail.mc"

var notMilter = regexp.MustCompile(`(?m)^[#d].*`) // dnl, define, divert

func sendmailFilters(m *Machine) string { return notMilter.ReplaceAllString(m.read(sendmailMC), "") }

// eximSigns is the setting, or the macro that Debian's template takes it from.
var eximSigns = regexp.MustCompile(`(?m)^\s*(DKIM_PRIVATE_KEY\s*=|dkim_private_key\s*=\s*[^D\s])`)

func eximSigner(m *Machine) string {
	var text strings.Builder
	_ = filepath.WalkDir(m.at("etc/exim4"), func(path string, _ fs.DirEntry, _ error) error {
		data, _ := os.ReadFile(path) // an unreadable file does not count
		text.Write(append(data, '\n'))
		return nil
	})
	if eximSigns.MatchString(text.String()) {
		return "Exim"
	}
	return ""
}
