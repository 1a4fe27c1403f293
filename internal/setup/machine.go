package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Machine is the result of a look at a machine.
type Machine struct {
	Servers []*MailServer // installed, preferred ones first
	Systemd bool          // there is a place for units
	Running bool          // systemd is running

	root    string
	postfix settings // of main.cf
}

// Find looks at the file system below root. It reads files and runs nothing, so it works on a
// tree that is not a machine, and for every user.
func Find(root string) *Machine {
	m := &Machine{root: root}
	m.Servers = m.installed(Servers)
	m.Systemd = m.has("lib/systemd/system")
	m.Running = m.has("run/systemd/system")
	m.postfix = parseSettings(m.read(mainCF))
	return m
}

// at returns the real path of a path on the machine.
func (m *Machine) at(path string) string { return filepath.Join("/", m.root, path) }

// read returns the text of a file, "" if it cannot.
func (m *Machine) read(path string) string {
	data, _ := os.ReadFile(m.at(path))
	return string(data)
}

// has reports whether one of the files exists, from the system or a package.
func (m *Machine) has(files ...string) bool {
	for _, file := range files {
		for _, prefix := range []string{"", "usr", "usr/local"} {
			if _, err := os.Stat(m.at(filepath.Join(prefix, file))); err == nil {
				return true
			}
		}
	}
	return false
}

func (m *Machine) installed(of []*MailServer) (found []*MailServer) {
	for _, s := range of {
		if m.has(s.programs...) {
			found = append(found, s)
		}
	}
	return found
}

// Choices returns the candidates of Servers, those that see every mail before programs that
// only deliver, or of Own. A single one leaves no choice.
func (m *Machine) Choices(of []*MailServer) []*MailServer {
	found := m.installed(of)
	return slices.DeleteFunc(found, func(s *MailServer) bool { return s.delivers != found[0].delivers })
}

// Wiring is the part of the recipe that exists for a mail server that runs postseal-pipe.
type Wiring struct {
	*MailServer
	There      []string // files with lines of ours
	Missing    []string // what else the recipe needs
	Unreadable []string // files that could not be read
}

// Wired returns the mail servers whose recipe the admin has followed at least in part. home
// is the home of a user whose own files count too, or "". A recipe in the admin's own form
// counts. Only what is for this mail server alone shows that the admin followed its recipe; a
// package may have brought the rest.
func (m *Machine) Wired(home string) (found []Wiring) {
	for _, s := range slices.Concat(Servers, Own) {
		if w := m.wiring(s, home); len(w.There) > 0 {
			found = append(found, w)
		}
	}
	return found
}

func (m *Machine) wiring(s *MailServer, home string) Wiring {
	w := Wiring{MailServer: s}
	for _, p := range slices.Concat(s.recipe.parts, s.checked) {
		path := p.path(home)
		text, err := os.ReadFile(m.at(path))
		switch {
		case errors.Is(err, fs.ErrPermission):
			w.Unreadable = append(w.Unreadable, path)
		case !p.mark.Match(text):
			w.Missing = append(w.Missing, p.what+path)
		case !p.shared:
			w.There = append(w.There, path)
		}
		if p.to == sudoers.to && !m.has("bin/sudo") {
			w.Missing = append(w.Missing, "sudo")
		}
	}
	return w
}

// Listen returns the address for postseal-milter, in the form of --listen, or "" if no milter
// is needed.
func (m *Machine) Listen(s *MailServer) string {
	return strings.Replace(s.listen[m.Running], defaultQueue, m.postfix.queue(), 1)
}

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
