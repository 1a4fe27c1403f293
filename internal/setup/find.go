package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	for _, s := range Servers {
		if m.has(s.programs) && m.has(s.files) {
			m.Servers = append(m.Servers, s)
		}
	}
	m.postfix = parseSettings(m.read(mainCF))
	m.Systemd = m.has([]string{"lib/systemd/system"})
	m.Running = exists(m.at("run/systemd/system"))
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
func (m *Machine) has(files []string) bool {
	for _, file := range files {
		for _, prefix := range []string{"", "usr", "usr/local"} {
			if exists(m.at(filepath.Join(prefix, file))) {
				return true
			}
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Choices returns the candidate mail servers: those that see every mail before programs that
// only deliver, or those from which a user can have his own mail handed over. A single one
// leaves no choice.
func (m *Machine) Choices(personal bool) (choices []*MailServer) {
	for _, s := range m.Servers {
		fits := s.delivers == m.Servers[0].delivers
		if personal {
			fits = s.ForUsers()
		}
		if fits {
			choices = append(choices, s)
		}
	}
	return choices
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
// counts: Wired looks for the name of postseal.
func (m *Machine) Wired(home string) (found []Wiring) {
	for _, s := range Servers {
		for _, personal := range []bool{false, true} {
			if w := m.wiring(s, personal, home); len(w.There) > 0 && !s.milter() {
				found = append(found, w)
			}
		}
	}
	return found
}

// wiring looks at one recipe. Only lines that are for this mail server alone show that the
// admin followed it; a package may have brought the rest.
func (m *Machine) wiring(s *MailServer, personal bool, home string) Wiring {
	w := Wiring{MailServer: s}
	for _, p := range s.parts(personal) {
		path := p.path(home)
		text, err := os.ReadFile(m.at(path))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			w.Unreadable = append(w.Unreadable, path)
		case !p.in(string(text)):
			w.Missing = append(w.Missing, p.what+path)
		case p.place != ours && !p.shared:
			w.There = append(w.There, path)
		}
		if p == sudoers && !m.has([]string{"bin/sudo"}) {
			w.Missing = append(w.Missing, "sudo")
		}
	}
	return w
}
