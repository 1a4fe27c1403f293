package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Machine is what was found on a machine.
type Machine struct {
	Servers []*MailServer // that are there, preferred ones first
	Systemd bool          // units have a place
	Running bool          // and are run

	root    string
	postfix settings // of main.cf
}

// Find looks at the file system below root. It reads files and runs nothing, so
// that it can be used on a tree that is not a machine, and by everybody.
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

// at returns where a path of the machine is.
func (m *Machine) at(path string) string { return filepath.Join("/", m.root, path) }

// read returns the text of a file, "" for one that cannot be read.
func (m *Machine) read(path string) string {
	data, _ := os.ReadFile(m.at(path))
	return string(data)
}

// has reports whether one of the files is there, of the system or of a package.
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

// Choices returns the mail servers that come into question: those that see every mail
// before programs that only deliver, or those that a user can have hand over the own
// mail. One means that there is no choice.
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

// Wiring is what is there of the recipe of a mail server that runs postseal-pipe.
type Wiring struct {
	*MailServer
	There      []string // files with lines of ours
	Missing    []string // what else the recipe needs
	Unreadable []string // files that could not be looked at
}

// Wired returns the mail servers whose recipe has been followed at least in part. home
// is that of a user whose own files count too, "" for nobody's. A recipe in a form of
// the admin's own counts: what is looked for is the name of postseal.
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

// wiring looks at one recipe. Whether it was followed, the lines say that are for this
// mail server alone; a package may have brought the rest.
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
