package setup

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Machine is what was found on a machine.
type Machine struct {
	Neighbours []*Neighbour // that are there, preferred ones first
	Signers    []Signer     // that may sign replies
	Systemd    bool         // units have a place
	Running    bool         // and are run

	root    string
	postfix settings // of main.cf; nil without Postfix
}

// Signer is a program that signs mail with DKIM.
type Signer struct {
	Name  string
	Wired bool // the mail server lets it see mail that comes over SMTP, as replies do
}

// Find looks at the file system below root. It reads files and runs nothing, so
// that it can be used on a tree that is not a machine, and by everybody.
func Find(root string) *Machine {
	m := &Machine{root: root}
	for _, n := range neighbours {
		if m.any(n.programs) && m.any(n.files) {
			m.Neighbours = append(m.Neighbours, n)
		}
	}
	if m.has("postfix") {
		m.postfix = readSettings(m.at(mainCF))
	}
	m.Signers = m.signers()
	m.Systemd = m.any([]string{"usr/lib/systemd/system", "lib/systemd/system"})
	m.Running = m.any([]string{"run/systemd/system"})
	return m
}

// at returns where a path of the machine is.
func (m *Machine) at(path string) string { return filepath.Join("/", m.root, path) }

func (m *Machine) any(paths []string) bool {
	return slices.ContainsFunc(paths, func(path string) bool { return exists(m.at(path)) })
}

func (m *Machine) has(name string) bool {
	return slices.ContainsFunc(m.Neighbours, func(n *Neighbour) bool { return n.Name == name })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Choices returns the neighbours that come into question: mail servers, which see
// every mail, before programs that only deliver. One means that there is no choice.
func (m *Machine) Choices() []*Neighbour {
	var servers []*Neighbour
	for _, n := range m.Neighbours {
		if n.mta {
			servers = append(servers, n)
		}
	}
	if len(servers) > 0 {
		return servers
	}
	return m.Neighbours
}

// Personal returns those that a user can have hand over the own mail.
func (m *Machine) Personal() []*Neighbour {
	var found []*Neighbour
	for _, n := range m.Neighbours {
		if n.own != nil {
			found = append(found, n)
		}
	}
	return found
}

// Titles returns the names for people.
func Titles(all []*Neighbour) (titles []string) {
	for _, n := range all {
		titles = append(titles, n.Title)
	}
	return titles
}

// eximSigns is the setting, or the macro that Debian's template takes it from.
var eximSigns = regexp.MustCompile(`(?m)^\s*(DKIM_PRIVATE_KEY\s*=|dkim_private_key\s*=\s*[^D\s])`)

// signers looks for who may sign replies.
func (m *Machine) signers() (found []Signer) {
	for _, s := range signers {
		if m.any([]string{s.program, strings.Replace(s.program, "usr/", "usr/local/", 1), "usr/sbin/" + s.name + "d-new"}) {
			found = append(found, Signer{s.name, m.wired(s.words)})
		}
	}
	if m.has("exim") && m.contains("etc/exim4", eximSigns) {
		found = append(found, Signer{"Exim", true})
	}
	return found
}

// wired reports whether a signer sees what comes over SMTP, as far as files tell.
func (m *Machine) wired(words []string) bool {
	switch {
	case m.postfix != nil:
		return hasOne(m.postfix.expanded("smtpd_milters")+" "+m.postfix["content_filter"], words)
	case m.has("sendmail"):
		return m.contains("etc/mail/sendmail.mc", regexp.MustCompile(`(?m)^[^#d].*(`+strings.Join(words, "|")+")"))
	}
	return false
}

// Signed tells who signs replies; "" if nobody is known to.
func (m *Machine) Signed() string {
	for _, s := range m.Signers {
		if s.Wired {
			return s.Name
		}
	}
	return ""
}

// contains reports whether a file, or one in a directory, has a line that matches.
func (m *Machine) contains(path string, line *regexp.Regexp) bool {
	found := false
	_ = filepath.WalkDir(m.at(path), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || found {
			return nil //nolint:nilerr // what cannot be read does not count
		}
		data, _ := os.ReadFile(path)
		found = line.Match(data)
		return nil
	})
	return found
}
